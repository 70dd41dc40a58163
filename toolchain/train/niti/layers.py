"""Layers with explicit forward and backward on int8; maps are (N, H, W, C).

``forward`` keeps what ``backward`` reads; ``backward`` takes the error at the output as int8, leaves the gradient of
the weights in the layer and returns the error at the input. Errors need no exponent: the width of a gradient sets its
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from toolchain.train.niti.matmul import Windows, int_mm
from toolchain.train.niti.numbers import LIMIT, MANTISSA_BITS, Block, narrowed, requantize, width
from toolchain.train.niti.rounding import Rounding, nearest, pseudo_stochastic

FRACTION_BITS = 8


@dataclass(frozen=True)
class Variant:
    """What the published versions round differently, activations and errors; and how gradients are rounded."""

    rounding: Rounding
    shift_of_one: int
    gradient: Rounding = pseudo_stochastic


VARIANTS = {"2020": Variant(pseudo_stochastic, 2), "2021": Variant(nearest, 1)}


class Linear(nn.Module):
    """A fully connected layer without bias: weights (outputs, inputs) in int8 with an exponent that never changes.

    With ``fraction_bits`` the weights are kept in int16 with 8 more bits, and rounded pseudo-stochastically for use.
    """

    weight: Tensor
    master: Tensor | None
    gradient: Tensor  # of the last backward pass
    shift: int  # of the last forward pass

    def __init__(
        self, inputs: int, outputs: int, variant: Variant, generator: torch.Generator, *, fraction_bits: int = 0
    ) -> None:
        super().__init__()
        self.variant, self.first = variant, False
        mantissa = torch.randint(-LIMIT, LIMIT + 1, (outputs, inputs), generator=generator, dtype=torch.int8)
        self.register_buffer("weight", mantissa)
        self.register_buffer("master", mantissa.to(torch.int16) << FRACTION_BITS if fraction_bits else None)
        self.exponent = self._initial_exponent()

    def fans(self) -> tuple[int, int]:
        """Inputs of an output and outputs of an input."""
        return self.weight.shape[1], self.weight.shape[0]

    def _initial_exponent(self) -> int:
        """e with 127 * 2**e next to the bound of Xavier's uniform distribution: ceil(log2 sqrt(6 / fans)) - 7."""
        fans = sum(self.fans())
        e = next(e for e in range(-32, 3) if fans * Fraction(4) ** e >= 6)
        return e - MANTISSA_BITS

    def accumulate(self, x: Tensor) -> Tensor:
        """Accumulators (..., outputs) of the mantissas ``x``."""
        return int_mm(x, self.weight.t())

    def forward(self, x: Block) -> Block:
        """The output, requantized by the largest accumulator."""
        self.x = x.mantissa
        variant = self.variant
        mantissa, self.shift = requantize(
            self.accumulate(x.mantissa), variant.rounding, shift_of_one=variant.shift_of_one
        )
        return Block(mantissa, x.exponent + self.exponent + self.shift)

    def backward(self, error: Tensor) -> Tensor:
        """The error at the input; the gradient stays in the layer."""
        self.gradient = self._weight_gradient(error)
        if self.first:
            return error
        variant = self.variant
        return requantize(self._input_error(error), variant.rounding, shift_of_one=variant.shift_of_one)[0]

    def _weight_gradient(self, error: Tensor) -> Tensor:
        return int_mm(error.t(), self.x)

    def _input_error(self, error: Tensor) -> Tensor:
        return int_mm(error, self.weight)

    def update(self, mu: int, decay_bits: int | None) -> None:
        """Subtract the gradient, scaled so that its largest magnitude is 2**mu, and clip.

        Args:
            mu: the learning rate; 0 or less leaves most weights alone and moves some by one.
            decay_bits: None, or adds 2**-decay_bits of the gradient's range times the weight to the gradient first.
        """
        gradient = self.gradient
        if decay_bits is not None:
            shift = width(gradient) - decay_bits
            weight = self.weight.to(gradient.dtype)
            gradient = gradient + (weight << shift if shift >= 0 else nearest(weight, -shift))
        step = self.variant.gradient(gradient, max(width(gradient) - mu, 0))
        if self.master is None:
            self.weight.copy_(narrowed(self.weight - step))
        else:
            limit = LIMIT << FRACTION_BITS
            self.master.copy_((self.master - step).clamp(-limit, limit))
            self.weight.copy_(narrowed(pseudo_stochastic(self.master, FRACTION_BITS)))


class Conv(Linear):
    """A k x k convolution of stride 1 without bias; a weight's row is in (row, column, channel) order."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: int,
        variant: Variant,
        generator: torch.Generator,
        *,
        fraction_bits: int = 0,
    ) -> None:
        self.inputs, self.kernel, self.padding = inputs, kernel, padding
        super().__init__(kernel * kernel * inputs, outputs, variant, generator, fraction_bits=fraction_bits)

    def fans(self) -> tuple[int, int]:
        """Inputs of an output and outputs of an input."""
        return self.weight.shape[1], self.weight.shape[0] * self.kernel**2

    def accumulate(self, x: Tensor) -> Tensor:
        """Accumulators (N, H', W', outputs) of the mantissas ``x``."""
        return Windows(x, self.kernel, self.padding).times(self.weight)

    def _weight_gradient(self, error: Tensor) -> Tensor:
        return Windows(self.x, self.kernel, self.padding).weight_gradient(error)

    def _input_error(self, error: Tensor) -> Tensor:
        """The transposed convolution: a convolution of the padded error with the mirrored kernel."""
        taps = self.weight.view(-1, self.kernel, self.kernel, self.inputs)
        mirrored = taps.flip(1, 2).permute(3, 1, 2, 0).reshape(self.inputs, -1)
        return Windows(error, self.kernel, self.kernel - 1 - self.padding).times(mirrored)


class ReLU(nn.Module):
    """max(x, 0)."""

    def forward(self, x: Block) -> Block:
        """The positive part."""
        self.y = x.mantissa.clamp(min=0)
        return Block(self.y, x.exponent)

    def backward(self, error: Tensor) -> Tensor:
        """The error where the output is positive."""
        return error * self.y.clamp(max=1)


class MaxPool(nn.Module):
    """The largest of each 2 x 2 window; an odd last row or column is left out."""

    def forward(self, x: Block) -> Block:
        """(N, H, W, C) to (N, H // 2, W // 2, C)."""
        self.x = x.mantissa
        a, b, c, d = self._corners(self.x)
        self.y = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
        return Block(self.y, x.exponent)

    def backward(self, error: Tensor) -> Tensor:
        """The error goes to the first largest element of each window, row by row."""
        passed = torch.zeros_like(self.x)
        for corner, target in zip(self._corners(self.x), self._corners(passed), strict=True):
            other = (corner ^ self.y).view(torch.uint8).clamp(max=1).view(torch.int8)  # 0 at the largest, else 1
            rest = error * other
            torch.sub(error, rest, out=target)
            error = rest
        return passed

    @staticmethod
    def _corners(x: Tensor) -> list[Tensor]:
        rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        return [x[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]


class Flatten(nn.Module):
    """(N, H, W, C) to (N, H * W * C)."""

    def forward(self, x: Block) -> Block:
        """Flat rows."""
        self.shape = x.mantissa.shape
        return Block(x.mantissa.flatten(1), x.exponent)

    def backward(self, error: Tensor) -> Tensor:
        """The map's shape again."""
        return error.view(self.shape)


Layer = Linear | ReLU | MaxPool | Flatten
