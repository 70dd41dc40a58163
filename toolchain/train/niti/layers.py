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
from toolchain.train.niti.numbers import LIMIT, MANTISSA_BITS, Block, add, narrowed, requantize, width
from toolchain.train.niti.rounding import Rounding, nearest, pseudo_stochastic

FRACTION_BITS = 8
_LEFT = 15  # a bias is at most 127 * 2**15 steps of the accumulators, so that sums stay int32


@dataclass(frozen=True)
class Variant:
    """Rounding of activations and errors, in which the published versions differ, and of gradients."""

    rounding: Rounding
    shift_of_one: int
    gradient: Rounding = pseudo_stochastic

    def requantized(self, sums: Block) -> tuple[Block, int]:
        """Sums, int32, by the largest of them as a block, and the shift that was taken."""
        mantissa, shift = requantize(sums.mantissa, self.rounding, shift_of_one=self.shift_of_one)
        return Block(mantissa, sums.exponent + shift), shift

    def added(self, a: Block, b: Block) -> tuple[Block, int]:
        """The sum of two blocks, and the shift that was taken."""
        return add(a, b, self.rounding, shift_of_one=self.shift_of_one)


VARIANTS = {"2020": Variant(pseudo_stochastic, 2), "2021": Variant(nearest, 1)}


class Linear(nn.Module):
    """A fully connected layer: weights (outputs, inputs) in int8 with an exponent that never changes.

    With ``fraction_bits`` the weights are kept in int16 with 8 more bits, and rounded pseudo-stochastically for use.
    A ``bias`` has the exponent of the weights, begins with zeros, and is to the layer the weights of an input of 1.
    """

    weight: Tensor
    master: Tensor | None
    bias: Tensor | None
    gradient: Tensor  # of the last backward pass
    bias_gradient: Tensor
    shift: int  # of the last forward pass
    error_shift: int  # of the last backward pass

    def __init__(
        self,
        inputs: int,
        outputs: int,
        variant: Variant,
        generator: torch.Generator,
        *,
        fraction_bits: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.variant, self.first = variant, False
        mantissa = torch.randint(-LIMIT, LIMIT + 1, (outputs, inputs), generator=generator, dtype=torch.int8)
        self.register_buffer("weight", mantissa)
        self.register_buffer("master", mantissa.to(torch.int16) << FRACTION_BITS if fraction_bits else None)
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.int8) if bias else None)
        self.exponent = self._initial_exponent()

    def fans(self) -> tuple[int, int]:
        """Inputs of an output and outputs of an input."""
        return self.weight.shape[1], self.weight.shape[0]

    def _initial_exponent(self) -> int:
        """e with 127 * 2**e next to the bound of Xavier's uniform distribution: ceil(log2 sqrt(6 / fans)) - 7."""
        fans = sum(self.fans())
        e = next(e for e in range(-32, 3) if fans * Fraction(4) ** e >= 6)
        return e - MANTISSA_BITS

    def accumulate(self, x: Block) -> Block:
        """Return accumulators (..., outputs), int32, with the bias rounded to their step."""
        sums, exponent = self._products(x.mantissa), x.exponent + self.exponent
        if self.bias is not None:
            sums += self.aligned_bias(x.exponent)
        return Block(sums, exponent)

    def aligned_bias(self, exponent: int) -> Tensor:
        """Return the bias in the accumulators of an input of ``exponent``, int32."""
        assert self.bias is not None
        bias = self.bias.to(torch.int32)
        return bias << min(-exponent, _LEFT) if exponent < 0 else nearest(bias, min(exponent, MANTISSA_BITS + 1))

    def _products(self, x: Tensor) -> Tensor:
        return int_mm(x, self.weight.t())

    def forward(self, x: Block) -> Block:
        """The output, requantized by the largest accumulator."""
        self.x = x.mantissa
        y, self.shift = self.variant.requantized(self.accumulate(x))
        return y

    def backward(self, error: Tensor) -> Tensor:
        """The error at the input; the gradients stay in the layer."""
        self.gradient = self._weight_gradient(error)
        if self.bias is not None:
            self.bias_gradient = error.flatten(0, -2).sum(0, dtype=torch.int32)
        if self.first:
            return error
        back, self.error_shift = self.variant.requantized(Block(self._input_error(error), 0))
        return back.mantissa

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
        if self.bias is not None:
            self.bias.copy_(narrowed(self.bias - self._step(self.bias_gradient, mu)))
        step = self._step(gradient, mu)
        if self.master is None:
            self.weight.copy_(narrowed(self.weight - step))
        else:
            limit = LIMIT << FRACTION_BITS
            self.master.copy_((self.master - step).clamp(-limit, limit))
            self.weight.copy_(narrowed(pseudo_stochastic(self.master, FRACTION_BITS)))

    def _step(self, gradient: Tensor, mu: int) -> Tensor:
        return self.variant.gradient(gradient, max(width(gradient) - mu, 0))


class Conv(Linear):
    """A k x k convolution; a weight's row is in (row, column, channel) order."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: int,
        variant: Variant,
        generator: torch.Generator,
        *,
        stride: int = 1,
        fraction_bits: int = 0,
        bias: bool = False,
    ) -> None:
        self.inputs, self.kernel, self.padding, self.stride = inputs, kernel, padding, stride
        taps = kernel * kernel * inputs
        super().__init__(taps, outputs, variant, generator, fraction_bits=fraction_bits, bias=bias)

    def fans(self) -> tuple[int, int]:
        """Inputs of an output and outputs of an input."""
        return self.weight.shape[1], self.weight.shape[0] * self.kernel**2

    def _products(self, x: Tensor) -> Tensor:
        return Windows(x, self.kernel, self.padding, self.stride).times(self.weight)

    def _weight_gradient(self, error: Tensor) -> Tensor:
        return Windows(self.x, self.kernel, self.padding, self.stride).weight_gradient(error)

    def _input_error(self, error: Tensor) -> Tensor:
        """The transposed convolution: one of the padded error, spread by the stride, with the mirrored kernel."""
        error = self._spread(error)
        taps = self.weight.view(-1, self.kernel, self.kernel, self.inputs)
        mirrored = taps.flip(1, 2).permute(3, 1, 2, 0).reshape(self.inputs, -1)
        return Windows(error, self.kernel, self.kernel - 1 - self.padding).times(mirrored)

    def _spread(self, error: Tensor) -> Tensor:
        """The error with zeros between its elements, and behind them for what no window reached."""
        if self.stride == 1:
            return error
        images, height, width, channels = error.shape
        rows, columns = (size + 2 * self.padding - self.kernel + 1 for size in self.x.shape[1:3])
        spread = error.new_zeros(images, rows, columns, channels)
        spread[:, :: self.stride, :: self.stride][:, :height, :width] = error
        return spread


class ReLU(nn.Module):
    """max(x, 0)."""

    def forward(self, x: Block) -> Block:
        """Return max(x, 0); the exponent stays."""
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
        """Return the samples as flat rows; the exponent stays."""
        self.shape = x.mantissa.shape
        return Block(x.mantissa.flatten(1), x.exponent)

    def backward(self, error: Tensor) -> Tensor:
        """The map's shape again."""
        return error.view(self.shape)


class AvgPool(nn.Module):
    """The mean of each channel of a map of 2^k positions: its sum, whose exponent is k less, requantized."""

    shift: int  # of the last forward pass

    def __init__(self, positions: int, variant: Variant) -> None:
        super().__init__()
        self.variant, self.halvings = variant, (positions - 1).bit_length()

    def forward(self, x: Block) -> Block:
        """(N, H, W, C) to (N, 1, 1, C)."""
        self.shape = x.mantissa.shape
        y, self.shift = self.variant.requantized(self.accumulate(x))
        return y

    def accumulate(self, x: Block) -> Block:
        """Return the sums over all positions, int32."""
        return Block(x.mantissa.sum((1, 2), keepdim=True, dtype=torch.int32), x.exponent - self.halvings)

    def backward(self, error: Tensor) -> Tensor:
        """Give every position its channel's error; a common factor does not matter, for no weights come before it."""
        return error.expand(self.shape).contiguous()


class Residual(nn.Module):
    """Two convolutions beside a shortcut, a convolution or nothing, and the ReLU of their sum: a sum of two blocks.

    Errors that meet where the block begins have exponents as well: those of the weights and shifts on their ways.
    """

    shift: int  # of the sum in the last forward pass

    def __init__(self, conv1: Conv, conv2: Conv, shortcut: Conv | None, variant: Variant) -> None:
        super().__init__()
        self.conv1, self.act1, self.conv2, self.act2 = conv1, ReLU(), conv2, ReLU()
        self.shortcut, self.variant = shortcut, variant

    def forward(self, x: Block) -> Block:
        """(N, H, W, C) to (N, H', W', C')."""
        branch = self.conv2(self.act1(self.conv1(x)))
        total, self.shift = self.variant.added(branch, x if self.shortcut is None else self.shortcut(x))
        found: Block = self.act2(total)
        return found

    def backward(self, error: Tensor) -> Tensor:
        """The error at the input, of both ways."""
        error = self.act2.backward(error)
        branch = self.conv1.backward(self.act1.backward(self.conv2.backward(error)))
        way = (self.conv1, self.conv2)
        left = Block(branch, sum(conv.exponent + conv.error_shift for conv in way))
        right = Block(error, 0)
        if self.shortcut is not None:
            back = self.shortcut.backward(error)
            right = Block(back, self.shortcut.exponent + self.shortcut.error_shift)
        return self.variant.added(left, right)[0].mantissa

    def weighted(self) -> list[tuple[str, Linear]]:
        """The convolutions by name."""
        found = (("conv1", self.conv1), ("conv2", self.conv2), ("shortcut", self.shortcut))
        return [(name, conv) for name, conv in found if conv is not None]


Layer = Linear | ReLU | MaxPool | AvgPool | Flatten | Residual
