"""Fully quantized convolutions: learned clips, batch norms removed, and training with the noise of the hardware.

Verhoef et al., FQ-Conv: Fully Quantized Convolution for Efficient and Accurate Inference, arXiv 1912.09356.

``Q(x) = e^s round(n clip(x / e^s, b, 1)) / n`` with b = -1 for weights and signed data and b = 0 behind a ReLU, which
the clip makes redundant; it stays in the file for readers that expect one in front of unsigned codes. The gradients are
those of the clip itself, times LSQ's gradient scale, which the paper does not have.

Source: the introduction, and two re-implementations of the quantizer; the order of bits, the noise and the removal of
batch norms are recalled.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toolchain.config.run import FqconvConfig
from toolchain.train.methods.base import Context, Granularity, QuantMethod, Scale, activation
from toolchain.train.methods.injectors import act_injector, weight_injector
from toolchain.train.methods.lsq import Clamped, in_one_pass
from toolchain.train.own.kinds import Norm
from toolchain.train.quantizers import LearnedStep, Levels, normal_step
from toolchain.train.shrink import normalized_layers
from toolchain.train.structure import Bias, Edit, Remove, apply_edits, trained_weight, weight_quantizer_of

_FADED = 0.8  # share of a stage after which fading offsets are gone


class Noise(nn.Module):
    """Gaussian noise in units of a quantizer's step, in training or where `noisy` turns it on.

    Args:
        level: standard deviation in steps; 0 leaves the input as it is, bit for bit.
    """

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level, self.on, self.always = level, True, False
        self._seed, self._generator = 0, torch.Generator()

    def switch(self, on: bool) -> None:
        """The quantizers go on or off, and the noise with them."""
        self.on = on

    def seed(self, seed: int) -> None:
        """Seed the noise: what follows depends on ``seed`` alone."""
        self._seed = seed
        self._generator.manual_seed(seed)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """``x`` and noise of ``level`` times ``step``, which gets no gradient."""
        if not self.level or not self.on or not (self.training or self.always):
            return x
        if self._generator.device != x.device:
            self._generator = torch.Generator(x.device).manual_seed(self._seed)
        noise = torch.empty_like(x).normal_(generator=self._generator)
        return x + noise.mul_(self.level * step.detach())


class LearnedClip(LearnedStep):
    """A quantizer that learns the logarithm s of its largest value; ``step`` holds s.

    Args:
        levels, shape, power_of_two, is_weight, initial: as for `LearnedStep`.
        noise: of what leaves it, in its steps.
    """

    def __init__(
        self,
        levels: Levels,
        shape: tuple[int, ...],
        power_of_two: bool,
        is_weight: bool,
        initial: Tensor | None = None,
        *,
        noise: float = 0.0,
    ) -> None:
        super().__init__(levels, shape, power_of_two, is_weight, initial)
        self.noise = Noise(noise)

    def set_step(self, step: Tensor) -> None:
        """Make ``step`` the scale."""
        self.step.copy_((step * self.levels.high).log())

    def positive_step(self) -> Tensor:
        """The clip over the largest code."""
        return self.step.exp() / self.levels.high

    @torch.no_grad()
    def adopt(self, before: nn.Module) -> None:
        """Change the clip as the one of the best step for normal values changes with the bits."""
        assert isinstance(before, LearnedClip)
        now, then = (normal_step(of.levels) * of.levels.high for of in (self, before))
        self.step.add_(math.log(now / then))

    def rate(self, optimizer: str) -> float:
        """A step in the logarithm is a relative change, so the rate is that of the weights."""
        return 1.0

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The quantized value, with its noise, and the scale."""
        y, scale = super().quantize(x)
        return self.noise(y, scale), scale


class NoisyRelu(nn.Module):
    """ReLU of the sums of a layer and their noise, in steps of the quantizer that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = Noise(0.0)
        self._clip: tuple[LearnedClip, ...] = ()

    def serve(self, clip: LearnedClip) -> None:
        """Take the unit of the noise from this quantizer."""
        self._clip = (clip,)

    def forward(self, x: Tensor) -> Tensor:
        """The rectified sums, shaped like ``x``."""
        if self.noise.level:
            (clip,) = self._clip
            x = self.noise(x.float() if clip.widen else x, clip.scale())
        return torch.relu(x)


class Fqconv(QuantMethod):
    """Learned clips with noise; batch norms go in stages that say so.

    Args:
        config: the run file's ``[quant.fqconv]``.
    """

    def __init__(self, config: FqconvConfig) -> None:
        super().__init__()
        self.config, self._seed = config, 0
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))
        self.offset_left: Tensor  # factor of the biases that fade
        self.register_buffer("offset_left", torch.tensor(1.0, dtype=torch.float64))
        self._fading: list[str] = []

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas weight quantizer of 1..8 bits; one bit is the sign times the clip."""
        levels, pot, noise = Levels.weight(bits), scale == "pot", self.config.weight_noise

        def make(shape: tuple[int, ...], weight: Tensor) -> nn.Module:
            return LearnedClip(levels, shape, pot, True, initial=weight, noise=noise)

        return weight_injector(levels, granularity, make)

    def act_quantizer(self, bits: int, *, signed: bool, scale: Scale) -> type:
        """A Brevitas activation quantizer of 1..8 bits; signed codes are symmetric."""
        levels = Levels.weight(bits) if signed else Levels.activation(bits, signed=False)
        noise = self.config.act_noise
        return act_injector(levels, lambda: LearnedClip(levels, (), scale == "pot", False, noise=noise))

    def relu(self, bits: int, *, scale: Scale) -> nn.Module:
        """The sums with their noise, ReLU, and the unsigned quantizer."""
        layer = activation(NoisyRelu, self.act_quantizer(bits, signed=False, scale=scale))
        if not self.config.mac_noise:
            return in_one_pass(layer, Clamped)
        for part in layer.modules():
            if isinstance(part, NoisyRelu):
                part.noise.level = self.config.mac_noise
        return layer

    def restructure(self, model: nn.Module, context: Context) -> list[Edit]:
        """Fold the batch norms into the weights where the stage says so; new biases take the offsets."""
        if context.stage is None or not context.stage.remove_batch_norm:
            return []
        found = normalized_layers(model, context.data.shape)
        names = {layer: name for name, layer in model.named_modules()}
        biases = [Bias(names[layer]) for layer, _, _ in found if layer.bias is None]
        apply_edits(model, biases, context.make)
        for layer, _, norm in found:
            fold(layer, norm)
        removed = [Remove(name) for _, name, _ in found]
        apply_edits(model, removed, context.make)
        if self.config.offset == "kept":
            return [*biases, *removed]
        self._fading = [bias.layer for bias in biases]
        return list(removed)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Remember what the noise depends on."""
        self._seed = context.config.train.seed

    def start_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Seed the noise of the epoch's first step."""
        _seed_noise(model, self._seed, int(self.steps))

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Seed the noise of the next step, and let the offsets fade on a line."""
        self.steps += 1
        _seed_noise(model, self._seed, int(self.steps))
        left = max(0.0, 1 - progress / _FADED)
        for name in self._fading:
            model.get_submodule(name).bias.mul_(left / max(float(self.offset_left), 1e-12))  # type: ignore[operator,union-attr]
        self.offset_left.fill_(left)

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Leave no bias that has faded."""
        for name in self._fading:
            model.get_submodule(name).register_parameter("bias", None)
        return []


@torch.no_grad()
def fold(layer: nn.Module, norm: Norm) -> None:
    """Multiply a layer's filters by ``gamma / sigma`` of the batch norm behind it, in place; a bias takes its offset.

    A negative gamma flips its filter. With one scale a channel the scales take the factor and no code but its sign
    changes; one scale a tensor grows as the norm of the weights does.
    """
    assert norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, quantizer = trained_weight(layer), weight_quantizer_of(layer)
    assert isinstance(quantizer, LearnedClip)
    column = factor.reshape(-1, *(1,) * (weight.dim() - 1))
    before = weight.norm()
    weight.mul_(column)
    if layer.bias is not None:
        layer.bias.sub_(norm.running_mean).mul_(factor).add_(norm.bias)  # type: ignore[operator,union-attr,arg-type]
    if quantizer.shape:
        quantizer.step.add_(column.abs().clamp_min(torch.finfo(column.dtype).tiny).log())
    else:
        quantizer.step.add_((weight.norm() / before).clamp_min(torch.finfo(column.dtype).tiny).log())


@contextmanager
def noisy(model: nn.Module, levels: FqconvConfig, seed: int) -> Iterator[None]:
    """Evaluate a network of learned clips with noise of ``levels`` from ``seed``."""
    before = [(noise, noise.level) for noise in model.modules() if isinstance(noise, Noise)]
    for part in model.modules():
        if isinstance(part, NoisyRelu):
            part.noise.level = levels.mac_noise
        elif isinstance(part, LearnedClip):
            part.noise.level = levels.weight_noise if part.is_weight else levels.act_noise
    for noise, _ in before:
        noise.always = True
    _seed_noise(model, seed, 0)
    try:
        yield
    finally:
        for noise, level in before:
            noise.level, noise.always = level, False


def _seed_noise(model: nn.Module, seed: int, step: int) -> None:
    """Give each noise of a step its own stream."""
    for stream, noise in enumerate(part for part in model.modules() if isinstance(part, Noise)):
        if noise.level:
            noise.seed(zlib.crc32(f"{seed} {step} {stream}".encode()))  # generators keep 32 bits of a seed
