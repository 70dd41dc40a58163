"""The average of the weights is evaluated and kept, and survives a kill."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from toolchain.config.run import RunConfig, parse_config
from toolchain.flow.training import train
from toolchain.train.data import load_for
from toolchain.train.ema import WeightAverage
from toolchain.train.methods.symog import Symog
from toolchain.train.runs import load_run


def _config(**train: Any) -> RunConfig:
    settings = {"epochs": 2, "float": True, "lr": 5e-3, "accelerator": "cpu", "threads": 1, "ema": 0.9, **train}
    return parse_config({"name": "t", "model": {"name": "cnn", "width": 0.25}, "train": settings}, where="test")


class _Watch(Callback):
    """Notes the last bias of every step, and that and the last weights of what is evaluated."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self.evaluated: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.steps.append(pl_module.model.fc.bias.detach().clone())

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.evaluated.append(pl_module.model.fc.bias.detach().clone())
        self.averages.append(pl_module.model.fc.weight.detach().clone())


class _Kill(Callback):
    """Ends a run without warning in the middle of its second epoch."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.current_epoch == 1 and args[2] == 5:
            raise RuntimeError("killed")


def test_what_is_evaluated_and_kept_is_the_average_while_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    """Decay min(0.9, (1 + t) / (10 + t)) over the weights after every step, by hand."""
    watch = _Watch()
    out = train(_config(), tmp_path / "run", callbacks=[watch])
    average = watch.steps[0]
    averages = [average]
    for t, weights in enumerate(watch.steps[1:], 1):
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weights
        averages.append(average)
    per_epoch = len(watch.steps) // 2
    torch.testing.assert_close(watch.evaluated[0], averages[per_epoch - 1])
    torch.testing.assert_close(load_run(out)[0].fc.bias.detach(), averages[-1])
    assert (watch.steps[per_epoch] - watch.steps[per_epoch - 1]).abs().max() < 0.02, "a step of Adam, no jump"


def test_a_run_killed_between_two_epochs_ends_with_the_average_of_an_uninterrupted_one(tmp_path: Path) -> None:
    train(_config(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        train(_config(), tmp_path / "parts", callbacks=[_Kill()])
    train(_config(), tmp_path / "parts", resume=True)
    states = [load_run(tmp_path / run)[0].state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_average_takes_in_what_a_method_leaves_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SYMOG draws and clips weights after the optimizer's step."""
    left: list[tuple[float, torch.Tensor]] = []
    draw = Symog.after_step

    def after_step(method: Symog, model: Any, progress: float) -> None:
        draw(method, model, progress)
        left.append((progress, model.fc.weight.detach().clone()))

    monkeypatch.setattr(Symog, "after_step", after_step)
    config = _config(float=False, epochs=1, ema=0.9)
    quant = config.quant.model_copy(update={"method": "symog", "weight_bits": 2})
    watch = _Watch()
    train(config.model_copy(update={"quant": quant}), tmp_path / "run", callbacks=[watch])
    assert [progress for progress, _ in left] == [(step + 1) / len(left) for step in range(len(left))]
    average = left[0][1]
    for t, (_, weights) in enumerate(left[1:], 1):
        average = average.lerp(weights, 1 - min(0.9, (1 + t) / (10 + t)))
    assert torch.equal(watch.averages[0], average)


def test_the_average_begins_anew_when_the_quantizers_go_on(tmp_path: Path) -> None:
    """Scales that nothing had set have no part in it: SYMOG's are powers of two."""
    config = _config(float=False, epochs=3, pretrain_epochs=1, ema=0.9)
    quant = config.quant.model_copy(update={"method": "symog", "weight_bits": 2})
    model, _, _ = load_run(train(config.model_copy(update={"quant": quant}), tmp_path / "run"))
    state = model.state_dict()
    steps = [float(state[name]) for name in state if name.endswith("weight_quant.tensor_quant.step")]
    assert len(steps) == 3 and all(math.frexp(step)[0] == 0.5 for step in steps)


def test_the_average_holds_the_network_alone() -> None:
    """No images: what a checkpoint grows by is a second set of weights."""
    module = L.LightningModule()
    module.model, module.train_x = torch.nn.Linear(3, 2), torch.zeros(1000)  # type: ignore[assignment]
    average = WeightAverage(0.5)
    average.on_train_batch_end(None, module)  # type: ignore[arg-type]
    assert set(average.state_dict()["average"]) == {"weight", "bias"}


def test_images_that_are_held_back_are_neither_trained_on_nor_tests_and_the_same_for_every_seed() -> None:
    plain = load_for(_config().data)
    data = load_for(_config(seed=5).data.model_copy(update={"validation": 0.1}))
    again = load_for(_config(seed=6).data.model_copy(update={"validation": 0.1}))
    assert data.held is not None and again.held is not None
    held, kept = ({x.tobytes() for x in part} for part in (data.held[0], data.train_x))
    assert len(data.held[0]) == 144 and len(data.train_x) == 1293 and not held & kept
    assert held | kept == {x.tobytes() for x in plain.train_x} and (data.held[0] == again.held[0]).all()
    assert (data.test_x == plain.test_x).all()


def test_epochs_are_judged_by_what_is_held_back_and_the_finished_network_by_the_test_images(tmp_path: Path) -> None:
    """Test images whose labels are all wrong show which is which."""
    config = _config(epochs=4, ema=0.0, batch_size=16)
    config = config.model_copy(update={"data": config.data.model_copy(update={"validation": 0.2})})
    data = load_for(config.data)
    data.test_y[:] = (data.test_y + 1) % 10
    out = train(config, tmp_path / "run", data=data)
    metrics = json.loads((out / "metrics.json").read_text())
    (stage,) = metrics["stages"]
    with next((out / "logs").glob("*/metrics.csv")).open() as log:
        judged = [float(row["top1"]) for row in csv.DictReader(log) if row["top1"]]
    assert max(judged) > 0.7 and metrics["top1"] == stage["top1"] == stage["trained_top1"] < 0.2
    assert metrics["float_top1"] == pytest.approx(metrics["top1"], abs=1e-4)
