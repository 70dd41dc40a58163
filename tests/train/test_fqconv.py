"""FQ-Conv: the learned clip, the noise, and networks without batch norms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from toolchain.config.run import FqconvConfig, RunConfig, StageConfig, parse_config
from toolchain.flow import training
from toolchain.flow.training import train
from toolchain.train.data import load
from toolchain.train.methods.base import Context
from toolchain.train.methods.fqconv import Fqconv, LearnedClip, Noise, fold, noisy
from toolchain.train.models import build, layers_of
from toolchain.train.quantizers import Levels, least_squares_step
from toolchain.train.runs import load_run
from toolchain.train.shrink import normalized_layers
from toolchain.train.structure import Bias, Remove, apply_edits, mask_weight

NOISE = {"weight_noise": 0.2, "act_noise": 0.3, "mac_noise": 0.4}


def _clip(levels: Levels, log_clip: float) -> LearnedClip:
    quantizer = LearnedClip(levels, (), False, is_weight=True).double().eval()
    nn.init.constant_(quantizer.step, log_clip)
    return quantizer


def _config(model: str = "cnn", *stages: dict[str, Any], **quant: Any) -> RunConfig:
    table: dict[str, Any] = {
        "name": "t",
        "model": {"name": model, "width": 0.5},
        "quant": {"method": "fqconv", "weight_bits": 3, "act_bits": 4, **quant},
        "train": {"epochs": 2, "pretrain_epochs": 1, "batch_size": 64, "lr": 5e-3, "accelerator": "cpu", "threads": 1},
    }
    if stages:
        table["train"].pop("pretrain_epochs")
        table["stage"] = list(stages)
    return parse_config(table, where="test")


def _warm(config: RunConfig, shape: tuple[int, int, int] = (1, 8, 8)) -> nn.Module:
    """A network whose batch norms and clips have seen two batches, with gammas of both signs."""
    torch.manual_seed(0)
    model = build(config, shape, 10).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            layer.momentum = None
    for _ in range(2):
        model(torch.rand(16, *shape))
    return model


@pytest.mark.parametrize(("bits", "clip"), [(2, 1.3039), (3, 1.9869), (4, 2.4867)])
def test_the_clip_of_a_normal_variable_settles_where_clipping_comes_before_rounding(bits: int, clip: float) -> None:
    """The straight-through gradient of the squared error changes sign there; rounding first would settle at 1.1401,
    1.9107, 2.4551, the least error itself is at 1.2240, 1.9523, 2.4739."""
    probabilities = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    x = torch.distributions.Normal(0.0, 1.0).icdf(probabilities)
    slopes = []
    for factor in (0.998, 1.002):
        quantizer = _clip(Levels.weight(bits), float(torch.tensor(clip * factor).log()))
        (quantizer(x)[0] - x).square().mean().backward()
        assert quantizer.step.grad is not None
        slopes.append(quantizer.step.grad.item())
    assert slopes[0] < 0 < slopes[1]


@pytest.mark.parametrize("signed", [True, False])
def test_gradients_are_those_of_the_clip(signed: bool) -> None:
    """dQ/dx = 1 inside; dQ/ds = a (q - r) inside, a where r >= 1, a b where r <= b; in float64, times LSQ's scale."""
    levels = Levels.weight(3) if signed else Levels.activation(3, signed=False)
    torch.manual_seed(1)
    x = (2 * torch.randn(400, dtype=torch.float64)).requires_grad_()
    upstream = torch.randn(400, dtype=torch.float64)
    quantizer = _clip(levels, 0.2)
    quantizer(x)[0].backward(upstream)
    a, n, low = torch.tensor(0.2, dtype=torch.float64).exp(), levels.high, levels.low / levels.high
    r = x.detach() / a
    q = (n * r.clamp(low, 1)).round() / n
    to_s = torch.where(r >= 1, a, torch.where(r <= low, a * low, a * (q - r)))
    assert x.grad is not None and quantizer.step.grad is not None
    assert torch.equal(x.grad, torch.where((r > low) & (r < 1), upstream, 0.0))
    scale = quantizer.gradient_scale(x)
    assert quantizer.step.grad.item() == pytest.approx((to_s * upstream).sum().item() * scale, rel=1e-6)


@pytest.mark.parametrize(("first", "then"), [(8, 2), (3, 2), (5, 4), (2, 8)])
def test_a_clip_that_is_best_for_normal_weights_is_still_when_the_bits_change(first: int, then: int) -> None:
    """Within an eighth of an octave, the grid of the search; a scale a channel moves like one of a tensor."""
    weights = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0))
    for shape in ((), (4, 1)):
        before = LearnedClip(Levels.weight(first), shape, False, True, initial=weights)
        after = LearnedClip(Levels.weight(then), shape, False, True)
        after.load_state_dict(before.state_dict())
        after.adopt(before)
        octaves = (after.scale() / least_squares_step(weights, Levels.weight(then), shape)).log2()
        assert octaves.shape == shape and (octaves.abs() < 1.01 / 8).all()


def test_no_noise_is_bitwise_nothing_and_noise_is_off_outside_training() -> None:
    x, step = torch.randn(50), torch.tensor(0.1)
    assert Noise(0.0).train()(x, step) is x
    assert Noise(0.5).eval()(x, step) is x
    quiet, loud = _warm(_config()), _warm(_config(fqconv=NOISE))
    loud.load_state_dict(quiet.state_dict())
    images = torch.rand(8, 1, 8, 8)
    assert torch.equal(quiet.eval()(images), loud.eval()(images))
    assert not torch.equal(quiet.train()(images), loud.train()(images))


def test_noise_on_weights_has_the_variance_of_its_sum() -> None:
    """Var of a sum of K products whose weights are off by (sigma step) N(0, 1): K (sigma step)^2 E[x^2]."""
    torch.manual_seed(0)
    noise, step, sums = Noise(0.5), torch.tensor(0.2), 40_000
    noise.seed(3)
    x = torch.rand(64)
    found = (noise(torch.zeros(sums, 64), step) @ x).var().item()
    assert found == pytest.approx(64 * (0.5 * 0.2) ** 2 * x.square().mean().item(), rel=0.03)


def test_evaluation_under_noise_depends_on_the_seed_alone_and_leaves_the_network_as_it_was() -> None:
    model, images = _warm(_config()).eval(), torch.rand(8, 1, 8, 8)
    clean = model(images)
    found = []
    for seed in (1, 1, 2):
        with noisy(model, FqconvConfig(**NOISE), seed):
            found.append(model(images))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert torch.equal(model(images), clean)


def test_a_pruned_layer_takes_its_batch_norm_and_keeps_its_zeros() -> None:
    model = _warm(_config())
    mask = torch.rand(8, 1, 3, 3) < 0.5
    mask_weight(model.conv1, mask)  # type: ignore[arg-type]
    before = model.conv1.weight.detach().clone()  # type: ignore[union-attr,operator]
    fold(model.conv1, model.bn1)  # type: ignore[arg-type]
    assert not torch.equal(model.conv1.weight, before) and not _codes(model.conv1)[~mask].any()  # type: ignore[arg-type]


class _Kill(Callback):
    """Ends a run without warning in the middle of its second epoch."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.current_epoch == 2 and args[2] == 5:
            raise RuntimeError("killed")


def test_a_noisy_run_that_was_killed_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise follows from the seed and the step; edits of a stage without batch norms are made again on resume."""
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    first = {"name": "first", "epochs": 1, "weight_bits": 4}
    config = _config("cnn", first, {"name": "bare", "epochs": 3, "remove_batch_norm": True}, fqconv=NOISE)
    train(config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "parts", callbacks=[_Kill()])
    train(config, tmp_path / "parts", resume=True)
    models = [load_run(tmp_path / run)[0] for run in ("whole", "parts")]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not [layer for layer in models[0].modules() if isinstance(layer, nn.BatchNorm2d)]


def test_every_batch_norm_is_paired_with_the_layer_in_front_of_it() -> None:
    model = build(_config("resnet8"), (3, 16, 16), 10)
    names = {layer: name for name, layer in model.named_modules()}
    pairs = {name: names[layer] for layer, name, _ in normalized_layers(model, (3, 16, 16))}
    assert pairs["stage2_1.bn2"] == "stage2_1.conv2" and pairs["stage2_1.shortcut.bn"] == "stage2_1.shortcut.conv"
    lenet = build(_config("lenet5"), (1, 28, 28), 10)
    names = {layer: name for name, layer in lenet.named_modules()}
    assert {n: names[layer] for layer, n, _ in normalized_layers(lenet, (1, 28, 28))}["bn3"] == "fc1"


def _codes(layer: nn.Module) -> Tensor:
    weight = layer.quant_weight()  # type: ignore[operator]
    return (weight.value / weight.scale).round()


def test_a_channels_scale_takes_its_batch_norm_and_a_negative_gamma_flips_its_filter() -> None:
    """Codes change by their sign alone, and the layer is the old one with its batch norm, less the offset."""
    model = _warm(_config(weight_granularity="channel")).eval()
    layer, norm = model.conv1, model.bn1
    x = torch.rand(4, 1, 8, 8)
    codes, offset = _codes(layer), norm(torch.zeros(1, 8, 1, 1)) - 0  # type: ignore[operator,arg-type]
    before = norm(layer(x)) - offset  # type: ignore[operator]
    fold(layer, norm)  # type: ignore[arg-type]
    signs = norm.weight.sign().reshape(-1, 1, 1, 1)  # type: ignore[union-attr,operator]
    assert (signs < 0).any() and torch.equal(_codes(layer), codes * signs)
    assert torch.allclose(layer(x), before, atol=1e-5)  # type: ignore[operator]


def test_without_batch_norms_a_layer_is_one_multiplier_on_integers_and_its_relu_changes_nothing() -> None:
    """y = clip(round(M sum w x), 0, n), M = e^(s_w + s_x - s_y) n_y / (n_w n_x), for the codes of conv2."""
    config = _config("cnn", {"name": "q", "epochs": 1}, {"name": "bare", "epochs": 1, "remove_batch_norm": True})
    model, data = _warm(config).eval(), load("digits")
    stage: StageConfig = config.stage[1]
    method = Fqconv(FqconvConfig(offset="faded"))
    edits = method.restructure(model, Context(config, data, None, layers_of(config), Path(), stage))
    assert edits == [Remove("bn1"), Remove("bn2")] and model.conv1.bias.abs().max() > 0  # type: ignore[union-attr,operator]
    for progress in (0.2, 0.4, 0.9):
        method.after_step(model, progress)
    assert not model.conv1.bias.any() and method.finalize(model) == []  # type: ignore[union-attr,operator]
    seen: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, i, o, name=name: seen.update({name: o.detach()}))
        for name in ("pool1", "conv2", "act2")
    ]
    model(torch.from_numpy(data.test_x[:32]).float() / 16)
    for handle in handles:
        handle.remove()
    step_x, step_y = (model.get_submodule(a).act_quant.scale() for a in ("act1", "act2"))  # type: ignore[union-attr,operator]
    weight = model.conv2.quant_weight()  # type: ignore[union-attr,operator]
    x, w = (seen["pool1"] / step_x).round().double(), _codes(model.conv2).double()
    sums = nn.functional.conv2d(x, w, padding=1)
    multiplier = weight.scale.double() * step_x.double() / step_y.double()
    codes = (multiplier * sums).round().clamp(0, 15)
    found = (seen["act2"] / step_y).round()
    on_tie = ((multiplier * sums).frac().abs() - 0.5).abs() < 1e-4
    assert torch.equal(codes[~on_tie], found.double()[~on_tie]) and codes.unique().numel() > 4
    quantizer = model.act2.act_quant.fused_activation_quant_proxy.tensor_quant  # type: ignore[union-attr]
    assert torch.equal(quantizer(seen["conv2"])[0], seen["act2"])


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_a_network_without_its_batch_norms_is_the_one_with_them_but_for_the_weights_codes(granularity: str) -> None:
    """With a scale a channel the logits stay; with one a tensor its clip has followed the weights, so they are near."""
    quant = {"weight_granularity": granularity, "weight_bits": 8}
    config = _config(
        "cnn", {"name": "q", "epochs": 1}, {"name": "bare", "epochs": 1, "remove_batch_norm": True}, **quant
    )
    model, data = _warm(config).eval(), load("digits")
    x = torch.from_numpy(data.test_x[:64]).float() / 16
    before = model(x).detach()
    edits = Fqconv(FqconvConfig()).restructure(
        model, Context(config, data, None, layers_of(config), Path(), config.stage[1])
    )
    assert edits == [Bias("conv1"), Bias("conv2"), Remove("bn1"), Remove("bn2")]
    far = (model(x) - before).norm() / before.norm()
    assert far < (1e-2 if granularity == "channel" else 0.2), far  # codes on ties move; 8 bits are shared by channels
    again = build(config, data.shape, data.classes)
    apply_edits(again, edits, layers_of(config))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))


def test_an_edit_of_removed_batch_norms_rebuilds_the_network() -> None:
    model = _warm(_config())
    apply_edits(model, [Remove(name) for _, name, _ in normalized_layers(model, (1, 8, 8))], layers_of(_config()))
    assert normalized_layers(model, (1, 8, 8)) == []
