"""Quantization intervals learned with the task loss.

Jung et al., Learning to Quantize Deep Networks by Optimizing Quantization Intervals with Task Loss, CVPR 2019.

Magnitudes below an interval become zero, those above it the largest code, and those inside are spread over all codes.
The paper's transformer ends at 1 and leaves the magnitude to the batch norm that follows. Here it ends at the upper end
of the interval: in front of a batch norm that is the same network, without one the magnitude is learned, and with the
lower end at 0 and gamma = 1 the quantizer is LSQ's, values and gradients.

The interval is held as its lower end and its width, both used by magnitude, so that neither vanishes nor changes sign.
How the paper starts the intervals is not known to us: here the upper end is that of the best step, and the lower one
0.3 steps: from 0, under Adam's rate for quantizers, it never comes away.

Source: the transformer from two re-implementations' documentation; starts and rates are our own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.config.run import QilConfig
from toolchain.train.methods.base import Granularity, Scale, activation
from toolchain.train.methods.injectors import act_injector, weight_injector
from toolchain.train.methods.lsq import Clamped, Lsq, in_one_pass
from toolchain.train.quantizers import ADAM_RATE, SMALLEST_SCALE, Levels, Quantizer, normal_step, round_clamped
from toolchain.train.structure import trained_weight, weight_quantizer_of

_PAPER_RATE = 0.01  # learning rate of the intervals over that of the weights, as others report the paper
_SMALLEST_GAMMA = 0.1
_SMALLEST_BASE = 1e-3  # t ** (gamma - 1) is bounded below it


class _Transform(torch.autograd.Function):
    """``high * t ** gamma * sign(w)`` with ``t = (|w| - low) / width`` clamped to 0..1 and ``high = low + width``."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, low: Tensor, width: Tensor, gamma: Tensor | None) -> Tensor:
        t = w.abs().sub_(low).div_(width).clamp_(0, 1)
        power = t if gamma is None else t.pow(gamma)
        sign = w.sign()
        ctx.save_for_backward(t, power, sign, low, width, gamma)
        return power * (low + width) * sign

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        t, power, sign, low, width, gamma = ctx.saved_tensors
        grad, high = grads[0] * sign, low + width
        slope = grad * ((t > 0) & (t < 1)) * (high / width)  # d / d|w|
        to_gamma = None
        if gamma is not None:
            base = t.clamp_min(_SMALLEST_BASE)
            slope = slope * gamma * base.pow(gamma - 1)
            to_gamma = (grad * power * high * base.log()).sum_to_size(gamma.shape)
        end = grad * power  # the gradient of the upper end
        to_low = (end - slope).sum_to_size(low.shape)
        to_width = (end - slope * t).sum_to_size(width.shape)
        return slope * sign, to_low, to_width, to_gamma


class Interval(Quantizer):
    """The quantizer behind a transformer, and the interval that both share.

    Args:
        levels: the integer codes.
        shape: of the interval's ends: () for one per tensor, (out, 1, ...) for one per output channel.
        is_weight: the tensor has no batch axis.
        config: what is learned, and how fast.
    """

    def __init__(self, levels: Levels, shape: tuple[int, ...], is_weight: bool, config: QilConfig) -> None:
        super().__init__(levels, is_weight)
        self.paper, self.first = config.gradient == "paper", config.start
        self.low, self.width = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.full(shape, float(levels.high)))
        learned = is_weight and config.gamma == "learned"
        self.gamma = nn.Parameter(torch.ones(shape)) if learned else None

    def set_step(self, step: Tensor) -> None:
        """Begin with the upper end that this step has in LSQ."""
        self.low.copy_(step * self.first)
        self.width.copy_(step * self.levels.high - self.low)

    @torch.no_grad()
    def adopt(self, before: nn.Module) -> None:
        """Change the ends as the best step for normal values does; the lower one is not below where it would begin."""
        assert isinstance(before, Interval)
        ratio = normal_step(self.levels) * self.levels.high / (normal_step(before.levels) * before.levels.high)
        high = (self.low.abs() + self.width.abs()) * ratio
        low = torch.maximum(self.low.abs() * ratio, high / self.levels.high * self.first)
        self.low.copy_(low)
        self.width.copy_(high - low)

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The lower end and the width for ``x``, with LSQ's gradient scale or the paper's."""
        scale = 1.0 if self.paper else self.gradient_scale(x)
        low = torch.where(self.low < 0, -self.low, self.low)  # unlike abs() it has a gradient at 0
        width = self.width.abs().clamp_min(SMALLEST_SCALE)
        return tuple(_ScaledGradient.apply(end, scale) for end in (low, width))  # type: ignore[return-value,no-untyped-call]

    def rate(self, optimizer: str) -> float:
        """The interval's learning rate over that of the weights."""
        if self.paper:
            return _PAPER_RATE
        return ADAM_RATE if optimizer == "adam" else 1.0

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` is what the transformer gives."""
        low, width = self.ends(x)
        scale = (low + width) / self.levels.high
        return round_clamped(x, scale, self.levels, 1.0, result=self.result(x)), scale

    def behind(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what `forward` gives for activations behind `ActTransform`, in one pass."""
        low, width = self.ends(x)
        scale, line = (low + width) / self.levels.high, _line(low, width)
        return round_clamped(x, scale, self.levels, 1.0, line=line, result=self.result(x)), scale, self.zero, self.bits


class WeightTransform(nn.Module):
    """The transformer in front of a weight's quantizer; the weight itself while the quantizers are off."""

    def __init__(self, interval: Interval) -> None:
        super().__init__()
        self._interval = (interval,)  # a reference: its parameters are saved with the quantizer
        self.on = True

    def switch(self, on: bool) -> None:
        """The quantizers go on or off."""
        self.on = on

    def forward(self, w: Tensor) -> Tensor:
        """The transformed weight, shaped like ``w``."""
        if not self.on:
            return w
        (interval,) = self._interval
        interval.start(w)
        gamma = interval.gamma if interval.gamma is None else interval.gamma.abs().clamp_min(_SMALLEST_GAMMA)
        return _Transform.apply(w, *interval.ends(w), gamma)  # type: ignore[no-any-return,no-untyped-call]


class ActTransform(nn.Module):
    """ReLU of the line that maps an activation interval's lower end to 0 and keeps its upper end.

    An affine map before the ReLU is the ReLU of an affine map, since the lower end is never negative. While the
    quantizers are off it is the ReLU alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interval: tuple[Interval, ...] = ()
        self.on = True

    def serve(self, interval: Interval) -> None:
        """Transform for this quantizer."""
        self._interval = (interval,)

    def switch(self, on: bool) -> None:
        """The quantizers go on or off."""
        self.on = on

    def forward(self, x: Tensor) -> Tensor:
        """The transformed activations, shaped like ``x``."""
        if not self.on:
            return torch.relu(x)
        (interval,) = self._interval
        interval.start(torch.relu(x))
        slope, offset = _line(*interval.ends(x))
        return torch.relu(x * slope - offset)


class _Transformed(Clamped):
    """The transformer and the quantizer of activations, which clamps what the ReLU would."""

    def at_once(self, x: Tensor) -> tuple[Tensor, ...]:
        interval = self.tensor_quant
        assert isinstance(interval, Interval)
        if not interval.started:
            interval.start(torch.relu(x))
        return interval.behind(x)


class Qil(Lsq):
    """Intervals for weights and for activations after a ReLU; signed activations take LSQ's quantizer.

    Args:
        config: the run file's ``[quant.qil]``.
    """

    def __init__(self, config: QilConfig) -> None:
        super().__init__()
        self.config = config

    def refusal(self, bits: int, *, scale: Scale, granularity: Granularity) -> str | None:
        """Intervals have no power-of-two form, and one bit has no code inside the interval."""
        if scale == "pot":
            return "learns its scales freely; set quant.scale = 'float'"
        return "needs 2 weight bits or more" if bits < 2 else None

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas quantizer for weights that `attach` transforms."""
        levels, config = Levels.weight(bits), self.config
        return weight_injector(levels, granularity, lambda shape, weight: Interval(levels, shape, True, config))

    def relu(self, bits: int, *, scale: Scale) -> nn.Module:
        """The activation transformer, then the unsigned quantizer."""
        levels, config = Levels.activation(bits, signed=False), self.config
        layer = activation(ActTransform, act_injector(levels, lambda: Interval(levels, (), False, config)))
        return in_one_pass(layer, _Transformed)

    def attach(self, layer: nn.Module, bits: int) -> None:
        """Put the transformer in front of the weight's quantizer."""
        interval = weight_quantizer_of(layer)
        assert isinstance(interval, Interval)
        interval.initialise(trained_weight(layer))
        transform = WeightTransform(interval)
        transform.switch(False)  # registering calls it, and the first call in training sets the interval
        parametrize.register_parametrization(layer, "weight", transform)
        transform.switch(True)


def _line(low: Tensor, width: Tensor) -> Tensor:
    """The slope and the offset that map the lower end of an interval to 0 and keep the upper one."""
    slope = (low + width) / width
    return torch.stack([slope, low * slope])


class _ScaledGradient(torch.autograd.Function):
    """``x`` itself; its gradient is multiplied by ``scale``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.scale, None
