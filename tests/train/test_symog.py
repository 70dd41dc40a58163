"""SYMOG and SGM: the modes, how weights come to them, and what is left behind."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from toolchain.config.run import RunConfig, SymogConfig, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.flow.training import train
from toolchain.train.batches import Batches
from toolchain.train.data import load
from toolchain.train.methods.base import Context
from toolchain.train.methods.symog import FixedStep, Symog, power_of_two_step
from toolchain.train.models import build, layers_of
from toolchain.train.module import set_quantized
from toolchain.train.quantizers import Levels
from toolchain.train.runs import load_run
from toolchain.train.structure import Tucker, apply_edits, mask_weight

WANTED = torch.tensor([0.02, 0.11, 0.13, 0.20, 0.40, -0.13])
"""Optima of a quadratic task; with a step of 1/4 and two bits the nearest modes are 0, 0, 1/4, 1/4, 1/4, -1/4."""
NEAREST = torch.tensor([0.0, 0.0, 0.25, 0.25, 0.25, -0.25])


def _config(method: str = "symog", **quant: Any) -> RunConfig:
    table = {
        "name": "t",
        "model": {"name": "cnn", "width": 0.5},
        "quant": {"method": method, "weight_bits": 2, "act_bits": 8, **quant},
        "train": {"epochs": 2, "pretrain_epochs": 1, "batch_size": 64, "lr": 5e-3, "accelerator": "cpu", "threads": 1},
    }
    return parse_config(table, where="test")


def _toy(config: SymogConfig, *, clip: bool = True) -> tuple[nn.Sequential, Symog]:
    """One layer of six weights in its quantized stage, with a step of 1/4."""
    torch.manual_seed(0)
    method = Symog(config, clip=clip)
    layer = qnn.QuantLinear(
        6, 1, bias=False, weight_quant=method.weight_quantizer(2, scale="float", granularity="tensor")
    )
    with torch.no_grad():
        layer.weight.copy_(WANTED)
    quantizer = layer.weight_quant.tensor_quant
    quantizer.step.fill_(0.25)
    quantizer.chosen.fill_(True)
    model = nn.Sequential(layer)
    method.prepare(model, Context(_config(), load("digits"), None, layers_of(_config()), Path()))
    method.start_epoch(model, 1, 2)
    return model, method


@pytest.mark.parametrize("proximal", [False, True])
def test_weights_end_at_the_nearest_mode_with_the_residual_of_the_formula(proximal: bool) -> None:
    """At the minimum of 0.5 (w - w*)^2 + s (w - Q)^2: w = (w* + 2 s Q) / (1 + 2 s); the clip cuts off the rest."""
    strength = 10.97
    model, method = _toy(SymogConfig(strength=strength, growth=0.0, proximal=proximal))
    lr = 0.04
    method._pull = 2 * lr
    weight: torch.Tensor = model[0].weight  # type: ignore[assignment]
    for _ in range(1500):
        loss = 0.5 * (weight - WANTED).square().sum()
        penalty = method.penalty(model)
        weight.grad = None
        (loss if penalty is None else loss + penalty).backward()
        with torch.no_grad():
            weight -= lr * weight.grad  # type: ignore[operator]
        method.after_step(model, 0.5)
    expected = ((WANTED + 2 * strength * NEAREST) / (1 + 2 * strength)).clamp(-0.25, 0.25)
    assert torch.allclose(weight.detach()[0], expected, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_steps_are_powers_of_two_and_modes_symmetric(bits: int) -> None:
    quantizer = FixedStep(Levels.weight(bits))
    torch.manual_seed(bits)
    weight = 0.07 * torch.randn(2000)
    quantizer.choose(weight)
    mantissa, _ = torch.frexp(quantizer.step)
    codes = (quantizer(weight)[0] / quantizer.step).unique()
    high = 2 ** (bits - 1) - 1
    assert mantissa == 0.5 and codes.abs().max() <= high and torch.equal(codes, codes.round())


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_the_line_search_finds_the_best_power_of_two(bits: int) -> None:
    torch.manual_seed(bits)
    weight, levels = 3.0 * torch.randn(300, dtype=torch.float64), Levels.weight(bits)
    errors = {}
    for exponent in range(-20, 8):
        step = 2.0**exponent
        errors[step] = (weight - (weight / step).clamp(levels.low, levels.high).round() * step).square().sum().item()
    assert power_of_two_step(weight, levels).item() == min(errors, key=errors.__getitem__)


def test_the_strength_grows_exponentially_over_the_quantized_epochs() -> None:
    model, method = _toy(SymogConfig(strength=0.5, growth=2.0))
    found = []
    for progress in (0.5, 0.75, 1.0):  # the first half of the stage is in float
        method.after_step(model, progress)
        found.append(method.strength())
    assert found == pytest.approx([0.5, 0.5 * 2.718281828, 0.5 * 7.389056099])


@pytest.mark.parametrize(("epochs", "lr"), [(2, 1e-3), (6, 5e-3)])
def test_weights_are_at_their_modes_before_they_are_rounded_whatever_the_stage_is_like(
    epochs: int, lr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under Adam, drawn after its step; the penalty of the loss, which Adam undoes, leaves weights between modes."""
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    found = {}
    for proximal in (True, False):
        config = _config(act_bits=32, symog={"proximal": proximal})
        train_config = config.train.model_copy(update={"epochs": epochs, "pretrain_epochs": epochs // 2, "lr": lr})
        out = train(config.model_copy(update={"train": train_config}), tmp_path / f"{proximal}")
        (stage,) = json.loads((out / "metrics.json").read_text())["stages"]
        found[proximal] = stage["observed"]["symog_distance"]
    assert found[True] < 0.02 < 0.2 < found[False]


def test_symog_clips_to_the_outermost_modes_and_sgm_does_not() -> None:
    for clip, largest in ((True, 0.25), (False, 0.4)):
        model, method = _toy(SymogConfig(strength=0.0), clip=clip)
        method.after_step(model, 0.6)
        assert model[0].weight.max().item() == pytest.approx(largest)  # type: ignore[operator,union-attr]


def test_a_pruned_layer_is_clipped_and_keeps_its_zeros() -> None:
    model, method = _toy(SymogConfig(strength=0.0))
    mask = torch.tensor([[True, True, True, False, True, True]])
    mask_weight(model[0], mask)
    method.after_step(model, 0.6)
    assert model[0].weight[0].tolist() == pytest.approx([0.02, 0.11, 0.13, 0.0, 0.25, -0.13])  # type: ignore[index]


def test_without_a_pull_sgm_trains_the_float_network_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    monkeypatch.setattr(Symog, "finalize", lambda *_: [])
    monkeypatch.setattr(Symog, "moves_weights", False)
    base = _config("sgm", act_bits=32, symog={"strength": 0.0})
    train(base, tmp_path / "sgm")
    train(base.model_copy(update={"train": base.train.model_copy(update={"float": True})}), tmp_path / "float")
    states = [torch.load(tmp_path / run / "model.pt", weights_only=True)["state_dict"] for run in ("sgm", "float")]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_a_run_leaves_rounded_weights_and_a_figure_with_a_panel_for_each_layer(tmp_path: Path) -> None:
    """The file is exported through the gate; weights and their quantized values are the same."""
    out = train(_config(), tmp_path / "run")
    model, _, _ = load_run(out)
    for name in ("conv1", "conv2", "fc"):
        layer = model.get_submodule(name)
        assert torch.equal(layer.weight, layer.quant_weight().value)  # type: ignore[operator]
    figure = ElementTree.parse(out / "modes.svg").getroot()
    texts = [element.text for element in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert {"conv1", "conv2", "fc"} <= set(texts)
    groups = {group.get("id") for group in figure.iter("{http://www.w3.org/2000/svg}g")}
    assert groups >= {
        f"{name}-{moment}" for name in ("conv1", "conv2", "fc") for moment in (0, 1)
    }  # about its one epoch


@pytest.mark.parametrize("method", ["symog", "sgm"])
def test_layers_that_a_factorization_made_are_rounded_too_and_the_figure_has_those_that_stayed(
    method: str, tmp_path: Path
) -> None:
    config = _config(method)
    model = build(config, (1, 8, 8), 10)
    soft = Symog(SymogConfig(), clip=method == "symog")
    soft.prepare(model, Context(config, load("digits"), None, layers_of(config), tmp_path))
    soft.start_epoch(model, 1, 2)
    apply_edits(model, [Tucker("conv2", 3, 4)], layers_of(config))
    soft.finalize(model)
    set_quantized(model, True)
    for name in ("conv1", "conv2.reduce", "conv2.core", "conv2.restore", "fc"):
        layer = model.get_submodule(name)
        assert torch.equal(layer.weight, layer.quant_weight().value) and layer.weight.any()  # type: ignore[operator]
    figure = ElementTree.parse(tmp_path / "modes.svg").getroot()
    groups = {group.get("id") for group in figure.iter("{http://www.w3.org/2000/svg}g")}
    assert groups >= {"conv1-1", "fc-1"} and "conv2-1" not in groups


@pytest.mark.parametrize("method", ["lsq", "symog", "sgm"])
def test_factors_that_were_rounded_as_they_came_are_trained_in_the_stage_behind(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels are what the first stage draws; their factors have modes of their own, which cost it accuracy."""
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    table = _config(method, act_bits=4).model_dump(exclude_none=True)
    table["train"]["pretrain_epochs"] = 0
    table["stage"] = [{"name": "rank", "epochs": 3, "nrmf": {"energy": 0.9}}, {"name": "last", "epochs": 3}]
    out = train(parse_config(table, where="test"), tmp_path / "run")
    rank, last = json.loads((out / "metrics.json").read_text())["stages"]
    assert rank["top1"] < rank["trained_top1"] - 0.1 < last["top1"]
    assert last["observed"].get("symog_distance", 0.0) < 0.01


def test_batch_norms_of_the_rounded_network_have_its_own_statistics(tmp_path: Path) -> None:
    """The first one's are those of what the rounded first layer gives for the images of one more epoch."""
    config = _config(act_bits=32)
    model, _, data = load_run(train(config, tmp_path / "run"))
    batches = Batches(torch.from_numpy(data.train_x), torch.from_numpy(data.train_y), 64, seed=0, epoch=lambda: 2)
    layer, norm = model.get_submodule("conv1"), model.get_submodule("bn1")
    with torch.no_grad():
        found = [layer(pixels.float() / data.pixel_levels) for pixels, _ in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in found]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in found]).mean(0)
    assert torch.allclose(norm.running_mean, mean, atol=1e-6)  # type: ignore[arg-type] # another order of the sums
    assert torch.allclose(norm.running_var, variance, rtol=1e-5)  # type: ignore[arg-type]
    assert norm.num_batches_tracked == len(found)


@pytest.mark.parametrize("method", ["symog", "sgm"])
def test_frozen_weights_are_quantized_where_they_are_and_not_drawn(method: str, tmp_path: Path) -> None:
    table = _config(method).model_dump(exclude_none=True)
    table["train"]["pretrain_epochs"] = 0
    table["stage"] = [
        {"name": "float", "epochs": 1, "quantized": False},
        {"name": "frozen", "epochs": 1, "freeze_weights": True},
    ]
    out = train(parse_config(table, where="test"), tmp_path / "run")
    before, after = (
        torch.load(out / "checkpoints" / stage / "finished.pt", weights_only=True)["state_dict"]
        for stage in ("float", "frozen")
    )
    for layer in ("conv1", "conv2", "fc"):
        assert torch.equal(after[f"{layer}.weight"], before[f"{layer}.weight"])
        assert after[f"{layer}.weight_quant.tensor_quant.chosen"]
    stage = json.loads((out / "metrics.json").read_text())["stages"][1]
    assert stage["trained_top1"] == stage["top1"]


class _Kill(Callback):
    """Ends a run without warning when its last epoch is over."""

    def on_fit_end(self, *_: Any) -> None:
        raise RuntimeError("killed")


def test_a_run_killed_before_its_weights_were_rounded_rounds_them_when_resumed(tmp_path: Path) -> None:
    train(_config(act_bits=32), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        train(_config(act_bits=32), tmp_path / "parts", callbacks=[_Kill()])
    train(_config(act_bits=32), tmp_path / "parts", resume=True)
    states = [torch.load(tmp_path / run / "model.pt", weights_only=True)["state_dict"] for run in ("whole", "parts")]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    assert (tmp_path / "parts" / "modes.svg").read_text() == (tmp_path / "whole" / "modes.svg").read_text()


def test_a_run_that_has_finished_goes_on_with_more_epochs_and_a_panel_for_each(tmp_path: Path) -> None:
    train(_config(act_bits=32), tmp_path / "run")
    config = _config(act_bits=32)
    longer = config.model_copy(update={"train": config.train.model_copy(update={"epochs": config.train.epochs + 1})})
    train(longer, tmp_path / "run", resume=True)
    moments = longer.train.epochs - longer.train.pretrain_epochs + 1
    assert f'id="conv1-{moments - 1}"' in (tmp_path / "run" / "modes.svg").read_text()


def test_a_channel_cannot_have_a_step_of_its_own() -> None:
    with pytest.raises(
        UserError, match=r"'symog' has one step a layer; set quant.weight_granularity = 'tensor' \[layer"
    ):
        build(_config(weight_granularity="channel"), (1, 8, 8), 10)
