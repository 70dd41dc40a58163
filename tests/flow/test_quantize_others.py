"""Networks that were trained elsewhere, quantized without training: float ONNX files and modules with their weights."""

from __future__ import annotations

import json
import re
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from typer.testing import CliRunner

from toolchain.cli import app
from toolchain.errors import UserError
from toolchain.flow.options import Check, Search
from toolchain.flow.quantize import default_folder, quantize
from toolchain.flow.stages import export
from toolchain.frontend.read import read_qonnx
from toolchain.train.ptq.quantize import Bits
from toolchain.train.ptq.source import Sample, find_source
from toolchain.train.summary import summary

SOURCE = """
from torch import nn
from tests.flow.test_quantize_others import Residual

def build(classes, width=6):
    return Residual(classes, width)
"""


class Residual(nn.Module):
    """A stem, a block with a shortcut, and a classifier, as people write them."""

    def __init__(self, classes: int = 4, width: int = 6) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return self.fc(F.relu(x + y).mean((2, 3)))


@pytest.fixture(scope="module")
def trained() -> tuple[Residual, np.ndarray, np.ndarray]:
    """A network that has learned four patterns, with pictures of them in uint8 and their classes, sorted."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = np.sort(rng.integers(0, 4, 240))
    x = np.clip(rng.integers(40, 216, (4, 1, 6, 6))[y] + rng.normal(0, 25, (240, 1, 6, 6)), 0, 255).astype(np.uint8)
    model, values, classes = Residual(), torch.from_numpy(x) / 255, torch.from_numpy(y)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(model(values), classes).backward()
        optimizer.step()
    return model.eval(), x, y


def _metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.needs_gxx
def test_a_float_onnx_file_of_pytorchs_exporter_is_quantized_and_exported_without_a_mismatch(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Images and labels are arrays; float and quantized network are judged on the same 140 of them."""
    model, x, y = trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.rand(1, 1, 6, 6),), str(tmp_path / "net.onnx"), dynamo=True, verbose=False)
    out = quantize(str(tmp_path / "net.onnx"), tmp_path / "q", Bits(6, 6), images=x, labels=y, count=100)
    metrics = _metrics(out)
    assert (metrics["calibration_images"], metrics["agreement_images"], metrics["judged_on"]) == (100, 140, "test")
    assert metrics["agreement"] > 0.97 and abs(metrics["float_top1"] - metrics["top1"]) < 0.03 and metrics["top1"] > 0.9
    report = export(out / "model.onnx", tmp_path / "build", Search(), Check(images=x, labels=y, qonnx_images=64))
    found = report.verification
    assert (found.images, found.csim_mismatches, found.vector_mismatches, found.qonnx_unexplained) == (240, 0, 0, 0)
    assert report.accuracy is not None and report.accuracy.top1 > 0.9


class Excited(nn.Module):
    """Smooth functions and a squeeze-and-excite block, with a Sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.down, self.up = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)
        self.conv, self.fc = nn.Conv2d(6, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.stem(x)))
        x = x * F.hardsigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))
        return torch.sigmoid(self.fc(F.gelu(self.conv(x)).mean((2, 3))))


@pytest.mark.needs_gxx
def test_smooth_functions_and_products_are_quantized_and_exported_without_a_mismatch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Excited().eval()
    x = np.random.default_rng(0).integers(0, 256, (48, 1, 6, 6), dtype=np.uint8)
    out = quantize(model, tmp_path / "q", Bits(6, 6), images=x, count=32)
    report = export(out / "model.onnx", tmp_path / "build", Search(), Check(images=x, qonnx_images=48))
    found = report.verification
    assert (found.images, found.csim_mismatches, found.vector_mismatches, found.qonnx_unexplained) == (48, 0, 0, 0)
    assert any("Sigmoid" in note and "the host applies it" in note for note in report.notes)


def test_a_module_with_its_state_dict_and_a_network_itself_give_the_same_file(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, y = trained
    (tmp_path / "net.py").write_text(SOURCE)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "net.pt")
    files = [
        quantize(network, tmp_path / str(index), Bits(4, 4), images=x, labels=y, count=100, **more) / "model.onnx"
        for index, (network, more) in enumerate(
            [(f"{tmp_path}/net.py:build", {"weights": tmp_path / "net.pt", "options": {"width": 6}}), (model, {})]
        )
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    names = [_metrics(tmp_path / str(index))["model"] for index in (0, 1)]
    assert names == ["net.py:build", "Residual"]
    assert default_folder(f"{tmp_path}/net.py:build", Bits(4, 4)) == Path("runs/build-w4a4")


def test_without_further_images_the_calibration_images_judge_and_are_said(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, y = trained
    metrics = _metrics(quantize(model, tmp_path / "q", Bits(8, 8), images=x, labels=y, count=1000))
    counts = [metrics[key] for key in ("agreement_images", "calibration_images")]
    assert metrics["judged_on"] == "calibration" and counts == [240, 240]
    console = Console(width=200, file=StringIO())
    console.print(summary(tmp_path / "q"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "of 240 images it was calibrated on, there being no others: lower --count" in text
    assert re.search(r"Cost +[+-]\d\.\d\d points of top-1, both on these 240 images", text)
    assert metrics["float_top1"] > 0.9


def test_images_of_a_file_are_no_data_set_that_the_export_would_look_for(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, _ = trained
    for part in ("train", "test"):
        np.save(tmp_path / f"d_{part}_x.npy", x)
        np.save(tmp_path / f"d_{part}_y.npy", np.arange(len(x)) % 4)
    of_data = quantize(model, tmp_path / "data", Bits(8, 8), data=f"npy:{tmp_path / 'd'}", count=16)
    of_file = quantize(model, tmp_path / "file", Bits(8, 8), images=tmp_path / "d_test_x.npy", count=16)
    named = [read_qonnx(out / "model.onnx").data for out in (of_data, of_file)]
    assert named == [f"npy:{tmp_path / 'd'}", None]


def test_input_values_in_float_pass_a_quantizer_of_the_networks_own(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, y = trained
    values = x.astype(np.float32) / 255 - 0.5
    metrics = _metrics(quantize(model, tmp_path / "q", Bits(8, 8), images=values, labels=y, count=100))
    assert metrics["agreement"] > 0.97


class _Everything:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_weights_that_do_not_fit_or_are_no_tensors_are_refused_and_nothing_in_them_runs(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, x, _ = trained
    (tmp_path / "net.py").write_text(SOURCE.replace("(classes, width)", "(4, width)").replace("classes, ", ""))
    saved = {
        "other.pt": (model.state_dict() | {"extra": torch.zeros(1)}, "other.pt has besides 'extra' (1 tensors)"),
        "less.pt": ({"fc.bias": torch.zeros(4)}, "less.pt lacks 'conv1.weight', 'conv2.weight', 'fc.weight' (19 "),
        "shape.pt": (model.state_dict() | {"fc.bias": torch.zeros(5)}, "'fc.bias' is (5,), the network's (4,)"),
        "code.pt": (_Everything(), "code.pt holds more than tensors, or is no PyTorch file; write it with torch.save("),
        "number.pt": (3, "number.pt is no state dict"),
    }  # fmt: skip
    for name, (value, message) in saved.items():
        torch.save(value, tmp_path / name)
        with pytest.raises(UserError) as caught:
            quantize(f"{tmp_path}/net.py:build", tmp_path / "q", Bits(), images=x, weights=tmp_path / name)
        assert message in str(caught.value)
    assert "executed" not in capsys.readouterr().out and not (tmp_path / "q").exists()


def test_a_network_without_a_file_of_weights_is_said_to_have_those_of_its_code(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, _ = trained
    (tmp_path / "net.py").write_text(SOURCE)
    np.save(tmp_path / "x.npy", x[:32])
    torch.save(model.state_dict(), tmp_path / "net.pt")
    arguments = ["quantize", f"{tmp_path}/net.py:build", "--images", str(tmp_path / "x.npy"), "--option", "classes=4"]
    for name, more in (("own", []), ("given", ["--weights-file", str(tmp_path / "net.pt")])):
        done = CliRunner().invoke(app, [*arguments, *more, "--count", "16", "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert ("--weights-file names trained ones" in done.output) == (name == "own")


class _Mask(nn.Module):
    """A network that its layers do not tell: it asks for shapes, shuffles and parts channels, and puts out a map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part, self.up = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(8, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 1:
            raise ValueError
        x = F.relu(self.stem((x - 0.5) / 0.25))
        n, c, h, w = x.shape
        a, b = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w).chunk(2, dim=1)
        return self.up(torch.cat([F.relu(self.part(a)), b], 1))


def test_a_network_that_its_layers_do_not_tell_is_read_from_its_onnx_file() -> None:
    torch.manual_seed(0)
    model = _Mask()
    source = find_source(model, Sample((1, 6, 6), None, None))
    x = torch.rand(2, 1, 6, 6)
    with torch.no_grad():
        assert torch.allclose(source.model(x), model(x), atol=1e-5)  # float32 sums in another order
    assert (source.name, source.shape) == ("_Mask", (1, 6, 6)) and model.training
    assert {"stem", "part", "up"} <= {name for name, _ in source.model.named_modules()}
    with pytest.raises(UserError, match=r"it gives a tensor of the shape \(2, 2, 6, 6\); it is called with"):
        find_source(model, Sample((1, 6, 6), 2, None))


def test_what_a_network_of_ones_own_needs_is_said(
    trained: tuple[Residual, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, x, _ = trained
    (tmp_path / "net.py").write_text(SOURCE)
    for arguments, message in (
        ({"network": f"{tmp_path}/net.py:build", "images": x}, "build needs 'classes'; set the option classes"),
        ({"network": model}, "no calibration images; give --images FILE.npy or --data NAME"),
        ({"network": "efficientnet-lite0", "options": {"width": 2}}, "weights and options belong to"),
        ({"network": f"{tmp_path}/none.onnx", "images": x}, "cannot read the model: No such file or directory"),
        ({"network": nn.Sequential(nn.Flatten(), nn.Softsign(), nn.Linear(36, 2)), "images": x}, "a Softsign cannot"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            quantize(out=tmp_path / "q", bits=Bits(), **arguments)  # type: ignore[arg-type]
        assert message in str(caught.value)
