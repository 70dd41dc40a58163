"""The number format: an int8 mantissa in -127..127 and one exponent a tensor, value = mantissa * 2**exponent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.train.niti.rounding import Rounding

MANTISSA_BITS = 7
_ALL = 20  # a shift by more leaves nothing of a mantissa
LIMIT = 127  # mantissas are symmetric: -128 is not used


@dataclass(frozen=True)
class Block:
    """A tensor in block floating point: ``mantissa`` int8 in -127..127, the value is mantissa * 2**exponent."""

    mantissa: Tensor
    exponent: int


def ceil_log2(magnitude: int) -> int:
    """The smallest b with magnitude <= 2**b; 0 for 0. A power of two gives its own exponent, as in the paper's code."""
    return (magnitude - 1).bit_length() if magnitude > 0 else 0


def width(v: Tensor) -> int:
    """``ceil_log2`` of the largest magnitude of an integer tensor."""
    low, high = torch.aminmax(v)
    return ceil_log2(max(-int(low), int(high)))


def narrowed(v: Tensor) -> Tensor:
    """Integers clipped to the mantissa range, as int8; ``v`` is overwritten."""
    return v.clamp_(-LIMIT, LIMIT).to(torch.int8)


def add(a: Block, b: Block, rounding: Rounding, *, shift_of_one: int = 1) -> tuple[Block, int]:
    """The sum of two blocks of one shape: at the larger exponent, requantized; and the shift of that.

    Args:
        rounding, shift_of_one: as `requantize` takes them.
    """
    exponent = max(a.exponent, b.exponent)
    total = aligned(a, exponent, rounding) + aligned(b, exponent, rounding)
    mantissa, shift = requantize(total, rounding, shift_of_one=shift_of_one)
    return Block(mantissa, exponent + shift), shift


def aligned(x: Block, exponent: int, rounding: Rounding) -> Tensor:
    """The mantissas of ``x`` at an ``exponent`` that is not less, int32."""
    return rounding(x.mantissa.to(torch.int32), min(exponent - x.exponent, _ALL))


def requantize(accumulators: Tensor, rounding: Rounding, *, shift_of_one: int = 1) -> tuple[Tensor, int]:
    """Accumulators as a mantissa and the shift that was taken, the least for which they fit but for the clip of 2**7.

    Args:
        accumulators: integers of any shape; overwritten.
        rounding: one of `toolchain.train.niti.rounding`.
        shift_of_one: what a shift by one becomes; the code of 2020 shifts by two instead.
    """
    shift = max(width(accumulators) - MANTISSA_BITS, 0)
    if shift == 1:
        shift = shift_of_one
    return narrowed(rounding(accumulators, shift)), shift
