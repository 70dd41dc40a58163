"""Networks of others' making, from plain PyTorch to a C simulation without a mismatch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from toolchain.config.run import RunConfig, load_config, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.flow.training import train
from toolchain.train.models import build
from toolchain.train.runs import load_run
from toolchain.train.statistics import macs, parameters

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLASSES = 3


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _data(prefix: Path, shape: tuple[int, ...]) -> str:
    """Noise around a mean a class, which a network learns in a few steps."""
    rng = np.random.default_rng(0)
    means = rng.integers(60, 196, (CLASSES, *shape))
    for part, count in (("train", 192), ("test", 48)):
        y = rng.integers(0, CLASSES, count)
        x = np.clip(means[y] + rng.normal(0, 20, (count, *shape)), 0, 255).astype(np.uint8)
        np.save(f"{prefix}_{part}_x.npy", x)
        np.save(f"{prefix}_{part}_y.npy", y)
    return f"npy:{prefix}"


def _config(name: str, data: str, *overrides: str) -> RunConfig:
    epochs = [f"stage.{index}.epochs={count}" for index, count in enumerate((3, 1, 3))]
    few = ["train.batch_size=16", "train.lr=5e-3", "train.accelerator=cpu", "data.augment=false", *epochs]
    return load_config(EXAMPLES / f"{name}.toml", [f"data.name={data}", *few, *overrides])


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    ("name", "shape", "overrides", "share"),
    [
        ("mobilenet", (3, 8, 8), ["model.options.width=8", "stage.1.magnitude.macs=0.6"], 0.6),
        ("csp", (3, 8, 8), ["model.options.width=8", "stage.1.magnitude.macs=0.8"], 0.8),
        ("audio", (1, 1, 96), ["model.options.channels=8"], 0.5),
        ("tabular", (1, 1, 24), ["model.options.hidden=[32, 16]"], 0.5),
    ],
)
def test_an_example_is_trained_pruned_quantized_and_exported_without_a_mismatch(
    name: str, shape: tuple[int, ...], overrides: list[str], share: float, tmp_path: Path
) -> None:
    config = _config(name, _data(tmp_path / "data", shape), *overrides)
    run = train(config, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    whole = build(config, shape, CLASSES).eval()
    kind, count = ("params", parameters(whole)) if name == "tabular" else ("macs", macs(whole, shape))
    assert metrics[kind] <= share * count and metrics["top1"] > 0.8
    assert metrics["model"] == f"{name}.py:{config.model.name.rpartition(':')[2]}"
    report = export(run / "model.onnx", tmp_path / "build", Search(), Check(data=config.data.name, qonnx_images=16))
    assert report.verification.images == 48 and report.verification.vectors > 100
    assert (report.verification.csim_mismatches, report.verification.vector_mismatches) == (0, 0)
    assert report.verification.qonnx_unexplained == 0


SHUFFLES = """
import torch
import torch.nn.functional as F
from torch import nn


def block(inputs, outputs, groups=1, kind=nn.ReLU):
    conv = nn.Conv2d(inputs, outputs, 1 if groups == 1 else 3, padding=int(groups > 1), groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), kind())


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.up, self.fc = block(12, 8, kind=nn.SiLU), nn.Conv2d(8, 16, 1), nn.Linear(12, classes)
        self.unit = nn.Sequential(block(4, 8), block(8, 8, groups=8), block(8, 4))
        self.down, self.back, self.last = block(8, 8), nn.ConvTranspose2d(8, 4, 2, stride=2), block(24, 12)

    def forward(self, x):
        x = self.stem(torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1))
        one, two = x.chunk(2, dim=1)
        y = torch.cat([one, self.unit(two)], 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        small = self.down(F.max_pool2d(y, 2))
        y = torch.cat([y, F.interpolate(small, size=y.shape[2:], mode="bilinear")], 1)
        fine = F.relu(F.pixel_shuffle(self.up(small), 2))
        return self.fc(self.last(torch.cat([y, fine, self.back(small)], 1)).mean((2, 3)))
"""


@pytest.mark.needs_gxx
def test_a_network_that_cuts_shuffles_and_enlarges_is_trained_pruned_and_exported_without_a_mismatch(
    tmp_path: Path,
) -> None:
    (tmp_path / "net.py").write_text(SHUFFLES)
    float_stage = {"quantized": False, "epochs": 2}
    table = {
        "name": "shuffles", "data": {"name": _data(tmp_path / "data", (3, 8, 8))}, "model": {"name": "net.py:Net"},
        "train": {"batch_size": 16, "lr": 1e-2, "accelerator": "cpu"}, "quant": {"weight_bits": 4, "act_bits": 5},
        "stage": [
            {"name": "float", **float_stage}, {"name": "cut", **float_stage, "magnitude": {"macs": 0.95}},
            {"name": "last", "epochs": 2},
        ],
    }  # fmt: skip
    run = train(parse_config(table, where="", base=tmp_path), tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["top1"] > 0.8 and metrics["qonnx_top1"] == metrics["top1"]
    report = export(
        run / "model.onnx", tmp_path / "build", Search(), Check(data=table["data"]["name"], qonnx_images=16)
    )  # type: ignore[index]
    assert (report.verification.images, report.verification.csim_mismatches) == (48, 0)
    assert (report.verification.vector_mismatches, report.verification.qonnx_unexplained) == (0, 0)


@pytest.mark.parametrize("method", ["qil", "fqconv", "symog", "brevitas"])
def test_every_quantizer_trains_an_own_network_through_the_gate(method: str, tmp_path: Path) -> None:
    small = ["stage.1.transport.macs=0.6", "model.options.channels=8", "stage.0.epochs=1", "stage.2.epochs=1"]
    config = _config("audio", _data(tmp_path / "data", (1, 1, 96)), *small)
    quant = config.quant.model_copy(update={"method": method})
    metrics = json.loads(
        (train(config.model_copy(update={"quant": quant}), tmp_path / "run") / "metrics.json").read_text()
    )
    assert metrics["methods"] == [method, "transport"] and metrics["qonnx_top1"] is not None


def test_outputs_that_the_data_name_no_class_for_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 12))\n"
    )
    table = {"name": "t", "model": {"name": "net.py:net"}, "train": {"epochs": 1, "accelerator": "cpu"}}
    with pytest.raises(UserError) as refusal:
        train(parse_config({**table, "data": {"name": "digits"}}, where="", base=tmp_path), tmp_path / "run")
    assert str(refusal.value) == (
        "net.py:net has 12 outputs, and data set 'digits' names 10 classes; "
        "let it take the argument classes, or set it in [model.options]"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_whose_file_has_changed_is_not_resumed_and_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    for suffix in (".py", ".toml"):
        shutil.copy(EXAMPLES / f"tabular{suffix}", tmp_path)
    data = _data(tmp_path / "data", (1, 1, 24))
    config = load_config(tmp_path / "tabular.toml", [f"data.name={data}", "train.accelerator=cpu"])
    config = config.model_copy(update={"stage": (config.stage[2].model_copy(update={"epochs": 1}),)})
    run = train(config, tmp_path / "run")
    record = json.loads((run / "network.json").read_text())
    assert record["file"] == str(tmp_path / "tabular.py") and record["options"] == {"hidden": [64, 32]}
    load_run(run)
    train(config, run, resume=True)
    source = tmp_path / "tabular.py"
    source.write_text(source.read_text().replace("0.125", "0.25"))
    with pytest.raises(UserError, match=r"tabular.py, which makes the network of .*run, has changed since; put the"):
        train(config, run, resume=True)
    with pytest.raises(UserError, match="has changed since"):
        load_run(run)
    (run / "network.json").write_text("{")
    with pytest.raises(
        UserError, match=r"run/network.json is damaged; put the file back as it was, or train anew with"
    ):
        load_run(run)
    train(config, run, overwrite=True)
    load_run(run)
