"""The levels of a quantizer, and the quantizer whose step is learned.

It clamps first and rounds second: the order of QONNX ``Quant``. The forward value does not depend on the order, the
gradient does: a value outside the range gets none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn

from toolchain.train import kernels

SMALLEST_SCALE = 2.0**-24  # a scale cannot vanish or change sign
_INIT_SAMPLES = 1 << 16  # elements an initial scale is searched on
_QUANTILES = 1 << 12  # of the normal distribution
_INIT_STEPS = 48  # candidates, eight per octave: from max|x| / levels down to 1/60 of it
ADAM_RATE = 0.1  # learning rate of steps over that of weights: Adam undoes LSQ's gradient scale


@dataclass(frozen=True)
class Levels:
    """The integer codes of a quantizer: ``low..high``, or only -1 and +1 when ``bipolar``.

    Unsigned ones with some below zero are stored above ``zero_point``.
    """

    bits: int
    signed: bool
    low: int
    high: int
    bipolar: bool = False

    @staticmethod
    def weight(bits: int) -> Levels:
        """Symmetric codes; one bit is bipolar."""
        if bits == 1:
            return Levels(1, True, -1, 1, bipolar=True)
        high = 2 ** (bits - 1) - 1
        return Levels(bits, True, -high, high)

    @staticmethod
    def activation(bits: int, *, signed: bool) -> Levels:
        """The full two's complement or unsigned range; one bit is {0, 1}, so that zero padding keeps its meaning.

        A one-bit signed activation is bipolar.
        """
        if signed and bits == 1:
            return Levels(1, True, -1, 1, bipolar=True)
        return (
            Levels(bits, True, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            if signed
            else Levels(bits, False, 0, 2**bits - 1)
        )

    def about(self, zero_point: float) -> Levels:
        """As many unsigned codes about the next even zero point, at most half of them below zero.

        An engine has the means of codes with even ones alone without a rounding of its own.
        """
        below = min(2 * math.floor(zero_point / 2 + 0.5), 2 ** (self.bits - 1) // 2 * 2)
        return Levels(self.bits, False, -below, 2**self.bits - 1 - below)

    @property
    def zero_point(self) -> int:
        """The stored code that stands for zero."""
        return 0 if self.signed else -self.low

    @property
    def narrow(self) -> bool:
        """Whether the most negative code is left out."""
        return self.signed and self.low == -self.high


class _RoundClamped(torch.autograd.Function):
    """``round(clamp(x / s, low, high)) * s`` with LSQ's gradients, of ``x * slope - offset`` with a ``line``.

    To the scale: Esser et al., Learned Step Size Quantization, eq. 3. To x: 1 strictly inside the range, else 0, eq. 5.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, line: Tensor | None, levels: Levels, grad_scale: float, result: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(x, scale, line)
        low, high = float(levels.low), float(levels.high)
        ctx.range, ctx.grad_scale = (low, high), grad_scale
        ctx.work = torch.promote_types(x.dtype, result)
        ctx.kernel = kernels.kernel_for(x, scale, low, high, result)
        if ctx.kernel is not None:
            return ctx.kernel.quantize(x, scale, line)  # type: ignore[no-any-return]
        return (_on_line(x.to(ctx.work), line) / scale).clamp_(low, high).round_().mul_(scale).to(result)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        x, scale, line = ctx.saved_tensors
        if ctx.kernel is not None:
            to_x, to_scale, to_line = ctx.kernel.gradients(grads[0], x, scale, line)
            return to_x, to_scale * ctx.grad_scale, to_line, None, None, None
        x, grad = x.to(ctx.work), grads[0].to(ctx.work)
        scaled = _on_line(x, line) / scale
        to_x = torch.ops.aten.hardtanh_backward(grad, scaled, *ctx.range)
        codes = scaled.clamp(*ctx.range).round_()
        to_scale = (grad * codes).sum_to_size(scale.shape) - scaled.mul_(to_x).sum_to_size(scale.shape)
        to_line = None
        if line is not None:
            to_line = torch.stack([(to_x * x).sum(), -to_x.sum()])
            to_x = to_x * line[0]
        return to_x, to_scale * ctx.grad_scale, to_line, None, None, None


def _on_line(x: Tensor, line: Tensor | None) -> Tensor:
    """``x * slope - offset``; ``x`` itself without a line."""
    return x if line is None else x * line[0] - line[1]


class _Bipolar(torch.autograd.Function):
    """``s`` where ``x >= 0``, ``-s`` elsewhere; straight-through to ``x``, exact to ``s``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grad_scale: float) -> Tensor:
        sign = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        ctx.save_for_backward(sign)
        ctx.scale_shape, ctx.grad_scale = scale.shape, grad_scale
        return sign * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (sign,) = ctx.saved_tensors
        return grads[0], (grads[0] * sign).sum_to_size(ctx.scale_shape) * ctx.grad_scale, None


def round_clamped(
    x: Tensor,
    scale: Tensor,
    levels: Levels,
    grad_scale: float,
    *,
    line: Tensor | None = None,
    result: torch.dtype | None = None,
) -> Tensor:
    """``x`` on the grid of ``levels`` times ``scale``, with LSQ's gradients.

    Args:
        x, scale, levels: the values, the step or one a channel, and the codes.
        grad_scale: factor of the scale's gradient.
        line: a slope and an offset: ``x * slope - offset`` is quantized, with their gradients.
        result: its type; it is computed in the wider one of it and that of ``x``, which it is by default.
    """
    result = result or torch.result_type(x, scale)
    if levels.bipolar:
        wider = x.to(torch.promote_types(x.dtype, result))
        return _Bipolar.apply(wider, scale, grad_scale).to(result)  # type: ignore[no-any-return,no-untyped-call]
    return _RoundClamped.apply(x, scale, line, levels, grad_scale, result)  # type: ignore[no-any-return,no-untyped-call]


class Quantizer(nn.Module):
    """A quantizer for Brevitas proxies whose scale is set from the first training tensor and learned from there.

    Args:
        levels: the integer codes.
        is_weight: the tensor has no batch axis.

    Attributes:
        widen: give float32 for bfloat16.
    """

    def __init__(self, levels: Levels, is_weight: bool) -> None:
        super().__init__()
        self.levels, self.is_weight, self.widen = levels, is_weight, False
        self._started = False  # what `ready` says, once it has been asked: an accelerator must be waited for
        self.ready: Tensor
        self.zero: Tensor
        self.bits: Tensor
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("zero", torch.tensor(0.0), persistent=False)
        self.register_buffer("bits", torch.tensor(float(levels.bits)), persistent=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the scale, () or (out, 1, ...), from the parameters, which shrink with the channels."""
        return tuple(next(self.parameters(recurse=False)).shape)

    def set_step(self, step: Tensor) -> None:
        """Make ``step`` the scale; gradients are off."""
        raise NotImplementedError

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The quantized value and the scale."""
        raise NotImplementedError

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the scale where the squared error on ``x`` is least (on a grid of 1/8 octave).

        Processes that train together take their mean.
        """
        step = least_squares_step(x, self.levels, self.shape)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(step)
            step /= distributed.get_world_size()
        self.set_step(step)

    def result(self, x: Tensor) -> torch.dtype | None:
        """The type of the quantized ``x`` where something asks for one: what reads codes casts them otherwise."""
        if self.widen:
            return torch.promote_types(torch.float32, x.dtype)
        kind = x.device.type
        return torch.get_autocast_dtype(kind) if not self.is_weight and torch.is_autocast_enabled(kind) else None

    @property
    def started(self) -> bool:
        """Whether a tensor in training has set the scale."""
        self._started = self._started or bool(self.ready)
        return self._started

    def start(self, x: Tensor) -> None:
        """Set the scale from ``x`` if it is the first in training."""
        asked = not self.is_weight and x.numel() == 1  # Brevitas asks for an activation's scale with a single zero
        if self.training and not self.started and not asked:
            self.initialise(x)
            self.ready.fill_(True)

    def gradient_scale(self, x: Tensor) -> float:
        """LSQ's 1 / sqrt(N * high), N the weights or the features that share the scale (Esser et al., section 2.2)."""
        shared = math.prod(self.shape) if self.is_weight else max(1, x.shape[0] if x.dim() else 1)
        return (x.numel() / shared * self.levels.high) ** -0.5

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantize; returns (value, scale, zero point, bits) as Brevitas proxies expect."""
        self.start(x)
        value, scale = self.quantize(x)
        return value, scale, self.zero, self.bits


class LearnedStep(Quantizer):
    """A quantizer whose step is learned with LSQ's gradients.

    ``power_of_two`` rounds the exponent in the forward pass, straight through.

    Args:
        levels, is_weight: as for `Quantizer`.
        shape: of the scale: () for one per tensor, (out, 1, ...) for one per output channel.
        power_of_two: restrict scales to powers of two.
        initial: tensor the scale is first set from; None starts at one code per unit.
    """

    def __init__(
        self, levels: Levels, shape: tuple[int, ...], power_of_two: bool, is_weight: bool, initial: Tensor | None = None
    ) -> None:
        super().__init__(levels, is_weight)
        self.power_of_two = power_of_two
        self.step = nn.Parameter(torch.ones(shape))
        if initial is not None:
            self.initialise(initial)

    def set_step(self, step: Tensor) -> None:
        """Make ``step`` the scale."""
        self.step.copy_(step)

    def positive_step(self) -> Tensor:
        """The step, kept away from zero."""
        return self.step.abs().clamp_min(SMALLEST_SCALE)

    def scale(self) -> Tensor:
        """The positive scale in use, shaped like the step."""
        scale = self.positive_step()
        if self.power_of_two:
            rounded = torch.exp2(torch.round(torch.log2(scale.detach())))
            scale = rounded + (scale - scale.detach())
        return scale

    @torch.no_grad()
    def adopt(self, before: nn.Module) -> None:
        """Change the step as the best one for normal values changes with the bits."""
        assert isinstance(before, LearnedStep)
        self.step.mul_(normal_step(self.levels) / normal_step(before.levels))

    def rate(self, optimizer: str) -> float:
        """The step's learning rate over that of the weights."""
        return ADAM_RATE if optimizer == "adam" else 1.0

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The quantized value and the scale."""
        scale = self.scale()
        return round_clamped(x, scale, self.levels, self.gradient_scale(x), result=self.result(x)), scale


class LeaningStep(LearnedStep):
    """A quantizer of values that reach much further above zero than below, as SiLU's results do.

    Its unsigned codes stand about an even zero point, which is set with the step and stays.
    """

    def __init__(self, levels: Levels, power_of_two: bool) -> None:
        super().__init__(levels, (), power_of_two, is_weight=False)
        self.below: Tensor
        self.register_buffer("below", torch.tensor(0))

    def shift(self, levels: Levels) -> None:
        """Take codes about another zero point."""
        self.levels = levels
        self.below.fill_(levels.zero_point)
        self.register_buffer("zero", torch.full_like(self.zero, levels.zero_point), persistent=False)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set zero point and scale where the squared error on ``x`` is least; of processes the largest zero point."""
        levels = leaning_levels(
            sample(x.flatten().float(), _INIT_SAMPLES, torch.Generator().manual_seed(0)), self.levels
        )
        self.below.fill_(levels.zero_point)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.below, distributed.ReduceOp.MAX)
        self.shift(levels.about(int(self.below)))
        super().initialise(x)

    @torch.no_grad()
    def adopt(self, before: nn.Module) -> None:
        """Change zero point and step as the bits."""
        assert isinstance(before, LeaningStep)
        self.shift(self.levels.about(before.levels.zero_point * 2.0 ** (self.levels.bits - before.levels.bits)))
        super().adopt(before)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.shift(self.levels.about(int(self.below)))


def nearest(x: Tensor, step: Tensor, levels: Levels) -> Tensor:
    """The values on the grid of ``step`` that are closest to ``x``."""
    if levels.bipolar:
        return torch.where(x >= 0, step, -step)
    return (x / step).clamp(levels.low, levels.high).round() * step


def leaning_levels(values: Tensor, levels: Levels) -> Levels:
    """The unsigned ``levels`` about the zero point that suits ``values`` best: 0 where none is negative."""
    least = float(values.min())
    if least >= 0:
        return levels
    tried: dict[Levels, float] = {}
    step = max(float(values.max()) - least, -least) / 2**levels.bits  # above 0 where all values are one
    while (shifted := levels.about(2 * math.ceil(-least / step / 2))) not in tried:
        found = least_squares_step(values, shifted, ())
        step, tried[shifted] = float(found), float((values - nearest(values, found, shifted)).square().sum())
    return min(tried, key=tried.__getitem__)


def sample(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw at most ``count`` of the elements along the last axis at random.

    At regular distances, those of an image might all lie in one column.
    """
    size = x.shape[-1]
    if size <= count:
        return x
    return x[..., torch.randint(size, (count,), generator=generator).to(x.device)]


@cache
def normal_step(levels: Levels) -> float:
    """The step with the least squared error on a standard normal variable, on its magnitude without negative codes.

    Fewer codes reach less far: with the codes -7 to 7 to 2.4, with -1, 0 and 1 to 1.2.
    """
    quantiles = torch.special.ndtri((torch.arange(_QUANTILES) + 0.5) / _QUANTILES)
    return float(least_squares_step(quantiles if levels.signed else quantiles.abs(), levels, ()))


def least_squares_step(
    x: Tensor,
    levels: Levels,
    shape: torch.Size | tuple[int, ...],
    seen: Callable[[Tensor], Tensor] = lambda values: values,
) -> Tensor:
    """The step with the least squared quantization error on ``x``, of the given shape.

    Args:
        x: the tensor; the first axis is the output channel when ``shape`` has more than one element.
        levels: the integer codes.
        shape: () or (out, 1, ...).
        seen: the error is that of this function of the values.
    """
    rows = x.detach().reshape(shape[0] if len(shape) else 1, -1)
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))  # in bfloat16 many candidates have equal errors
    if levels.bipolar:
        return rows.abs().mean(1).clamp_min(SMALLEST_SCALE).reshape(shape)
    rows = sample(rows, _INIT_SAMPLES, torch.Generator().manual_seed(0))
    rows = rows if levels.low < 0 else rows.clamp_min(0)
    largest = (rows.abs() if levels.signed else rows).amax(1)
    if levels.zero_point:
        largest = torch.maximum(largest, rows.amin(1) * (levels.high / levels.low))
    largest = largest.clamp_min(SMALLEST_SCALE)
    best_step = largest / levels.high
    best_error, wanted = torch.full_like(largest, torch.inf), seen(rows)
    for k in range(_INIT_STEPS):
        step = (largest / levels.high * 2 ** (-k / 8)).unsqueeze(1)
        error = (wanted - seen((rows / step).clamp(levels.low, levels.high).round() * step)).square().sum(1)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_step = torch.where(better, step.squeeze(1), best_step)
    return best_step.reshape(shape)
