"""Runs of several stages: what one hands to the next, what a resume repeats, and edits of the structure."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from toolchain.config.run import QuantConfig, RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.flow.training import train
from toolchain.train.batches import Batches
from toolchain.train.data import load
from toolchain.train.layers import Layers
from toolchain.train.methods.base import Context
from toolchain.train.methods.lsq import Lsq
from toolchain.train.quantizers import LearnedStep, Levels, least_squares_step
from toolchain.train.runs import load_run
from toolchain.train.stages import run_stages
from toolchain.train.structure import Remove, apply_edits, from_json, mask_weight, to_json

FLOAT = {"name": "float", "epochs": 2, "quantized": False}
WIDE = {"name": "wide", "epochs": 1, "weight_bits": 6, "act_bits": 6}
NARROW = {"name": "narrow", "epochs": 1, "lr": 1e-3}
MAKE = Layers(QuantConfig(), Lsq(), True, first="conv1", last="fc")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers wait for each other's threads; the export is tested elsewhere."""
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)


def _config(*stages: dict[str, Any]) -> RunConfig:
    table = {
        "name": "t",
        "model": {"name": "cnn", "width": 0.5},
        "quant": {"weight_bits": 3, "act_bits": 3},
        "train": {"batch_size": 64, "lr": 5e-3, "accelerator": "cpu"},
        "stage": list(stages),
    }
    return parse_config(table, where="test")


@pytest.mark.parametrize("devices", [1, 2, 5, 100])
def test_methods_are_told_as_many_steps_as_the_optimizer_takes_in_each_of_several_processes(
    devices: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pull of symog, the entropy of transport and the gates of hfp would go a part of their ways."""
    told: list[int] = []

    def prepare(self: Lsq, model: nn.Module, context: Context) -> None:
        told.append(context.steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(Lsq, "prepare", prepare)
    config, data = _config(FLOAT, NARROW), load("digits")
    config = config.model_copy(update={"train": config.train.model_copy(update={"devices": devices})})
    with pytest.raises(KeyboardInterrupt):
        run_stages(config, data, tmp_path)

    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    assert told == [2 * len(Batches(x, y, 64, seed=0, share=(0, devices)))]


class _Kill(Callback):
    """Ends a run without warning at the start of one stage's second batch."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, index: int) -> None:
        if trainer.optimizers[0].param_groups[0]["initial_lr"] == self.lr and index == 1:
            raise RuntimeError("killed")


def test_a_run_of_stages_killed_in_its_last_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    config = _config(FLOAT, WIDE, NARROW)
    train(config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "parts", callbacks=[_Kill(1e-3)])
    assert len(list((tmp_path / "parts" / "checkpoints").glob("*/finished.pt"))) == 2
    train(config, tmp_path / "parts", resume=True)
    assert len(list((tmp_path / "parts" / "logs").glob("part_*"))) == 4, "finished stages are not run again"
    states = [load_run(tmp_path / run)[0].state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert [(stage["name"], stage["epochs"]) for stage in metrics["stages"]] == [
        ("float", 2),
        ("wide", 1),
        ("narrow", 1),
    ]
    assert (metrics["epochs"], metrics["weight_bits"], metrics["float_top1"]) == (4, 3, metrics["stages"][0]["top1"])


def test_a_resume_goes_on_behind_the_last_stage_that_ended_whatever_is_left_of_those_before(tmp_path: Path) -> None:
    out, config = tmp_path / "run", _config(FLOAT, WIDE, NARROW)
    train(config, out)
    whole = (out / "model.pt").read_bytes()
    (out / "model.pt").unlink()
    for stage in ("float", "wide"):
        shutil.rmtree(out / "checkpoints" / stage)
    train(config, out, resume=True, callbacks=[_Kill(5e-3), _Kill(1e-3)])
    assert (out / "model.pt").read_bytes() == whole


@pytest.mark.parametrize("method", ["lsq", "qil", "fqconv", "symog", "brevitas"])
def test_float_activations_are_quantized_by_a_later_stage(tmp_path: Path, method: str) -> None:
    """What learns their steps is new there; weights, and theirs, go on."""
    config = _config({**WIDE, "act_bits": 32, "weight_bits": 3}, NARROW)
    config = config.model_copy(update={"quant": config.quant.model_copy(update={"method": method})})
    out = train(config, tmp_path / "run")
    first, last = (
        torch.load(out / "checkpoints" / name / "finished.pt", weights_only=True)["state_dict"]
        for name in ("wide", "narrow")
    )
    assert first.keys() < last.keys() and all(".act_quant." in name for name in last.keys() - first.keys())
    assert json.loads((out / "metrics.json").read_text())["top1"] > 0.3


class _KillBehind(Callback):
    """Ends a run without warning when a stage of a quantized one's bits has saved its last epoch."""

    def __init__(self, quantized: bool) -> None:
        self.quantized = quantized

    def on_fit_end(self, trainer: L.Trainer, module: Any) -> None:
        if (module.config.train.pretrain_epochs == 0) == self.quantized:
            raise RuntimeError("killed")


@pytest.mark.parametrize("quantized", [False, True])
def test_a_stage_resumed_behind_its_last_epoch_tells_the_accuracy_before_its_end(
    tmp_path: Path, quantized: bool
) -> None:
    """Of the float network, or of SYMOG's weights before they are rounded; on the test images, others being held."""
    config = _config(FLOAT, {"name": "soft", "epochs": 1})
    quant = {"method": "symog", "weight_bits": 2, "act_bits": 3, "symog": {"strength": 0.0}}
    tables = config.model_dump(exclude_none=True) | {"quant": quant, "data": {"validation": 0.2}}
    config = parse_config(tables, where="test")
    train(config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "parts", callbacks=[_KillBehind(quantized)])
    train(config, tmp_path / "parts", resume=True)
    whole, parts = (json.loads((tmp_path / run / "metrics.json").read_text())["stages"] for run in ("whole", "parts"))
    assert whole == parts and whole[1]["trained_top1"] != whole[1]["top1"]


class _Rounding(Callback):
    """Notes whether convolutions may round what they multiply, by the model's mode."""

    def __init__(self) -> None:
        self.seen: set[tuple[bool, bool]] = set()

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        assert isinstance(module.model, nn.Module)
        self.hook = module.model.register_forward_pre_hook(
            lambda model, _: self.seen.add((model.training, torch.backends.cudnn.allow_tf32))
        )

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self.hook.remove()


def test_accuracy_is_measured_in_float32_where_training_may_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    rounding = _Rounding()
    train(_config(NARROW), tmp_path / "run", callbacks=[rounding])
    assert rounding.seen == {(True, True), (False, False)}
    assert torch.backends.cudnn.allow_tf32


def test_a_mask_comes_to_the_device_of_its_weight() -> None:
    """ "meta" stands for a GPU: both refuse products of tensors on two devices."""
    layer = nn.Linear(3, 2, device="meta")
    mask_weight(layer, torch.ones(2, 3, dtype=torch.bool))
    assert layer.weight.device.type == "meta" and layer.weight.shape == (2, 3)


def test_a_stage_tells_the_device_that_it_was_trained_on(tmp_path: Path) -> None:
    train(_config(FLOAT, NARROW), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [stage["device"] for stage in metrics["stages"]] == ["cpu", "cpu"]


@pytest.mark.parametrize(("first", "then"), [(8, 2), (3, 2), (5, 4), (2, 8)])
def test_a_step_that_is_best_for_normal_weights_is_still_when_the_bits_change(first: int, then: int) -> None:
    """Within an eighth of an octave, the grid of the search."""
    weights = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    before = LearnedStep(Levels.weight(first), (), False, True, initial=weights)
    after = LearnedStep(Levels.weight(then), (), False, True)
    after.load_state_dict(before.state_dict())
    after.adopt(before)
    best = least_squares_step(weights, Levels.weight(then), ())
    assert abs(math.log2(after.scale().item() / best.item())) < 1.01 / 8


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([WIDE, WIDE], "two stages have one name: wide, wide [test]"),
        ([WIDE, FLOAT], "the last stage 'float' is not quantized [test]; or set train.float = true"),
    ],
)
def test_a_chain_of_stages_that_makes_no_sense_is_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _config(*stages)
    assert str(caught.value) == message


def test_edits_survive_being_saved_and_change_the_network_the_same_way() -> None:
    edits = from_json(json.loads(json.dumps(to_json([Remove("0.1")]))))
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    apply_edits(model, edits, MAKE)
    assert edits == [Remove("0.1")] and isinstance(model.get_submodule("0.1"), nn.Identity)


@pytest.mark.parametrize("value", [{"edit": "paint", "layer": "fc"}, {"edit": "remove"}, {"layer": "fc"}])
def test_an_edit_that_is_none_is_refused(value: dict[str, str]) -> None:
    with pytest.raises(UserError, match="not a change of structure"):
        from_json([value])


def test_an_edit_of_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="a layer that its model has not: bn9"):
        apply_edits(nn.Sequential(nn.Linear(2, 2)), [Remove("bn9")], MAKE)
