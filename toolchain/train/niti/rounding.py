"""Right shifts of integers that round: to nearest, at random, and pseudo-stochastically without a generator.

Shift s of v: q = |v| >> s is what stays, f = |v| mod 2**s what is lost; the result is sign(v) * (q + up). Working on
sign and magnitude keeps the rules symmetric; an arithmetic shift of a negative number would measure f from below.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rounding = Callable[[Tensor, int], Tensor]
_INT32_SHIFT = 30  # an int32 cannot be shifted by its width or more


def nearest(v: Tensor, shift: int) -> Tensor:
    """Halves away from zero: up where f >= 2**(s-1). ``|v| + 2**(s-1)`` must fit the type of ``v``."""
    if shift == 0:
        return v
    v = _wide(v, shift)
    rounded = v >> _sign_shift(v)  # -1 for a negative v: its halves then fall to the lower neighbour
    rounded += v
    rounded += 1 << (shift - 1)
    rounded >>= shift
    return rounded


def pseudo_stochastic(v: Tensor, shift: int) -> Tensor:
    """Round up where the upper half of f's bits is greater than the lower half, which stands for the random number.

    For an odd s the lower half has a bit less and is doubled.
    """
    if shift == 0:
        return v
    v = _wide(v, shift)
    low_bits = shift // 2
    magnitude = v.abs()
    high = magnitude >> low_bits
    high &= (1 << (shift - low_bits)) - 1
    low = magnitude & ((1 << low_bits) - 1)
    if shift % 2:
        low <<= 1
    low -= high
    low >>= _sign_shift(v)  # -1 where high > low
    magnitude >>= shift
    magnitude -= low
    return _signed(magnitude, v)


def stochastic(v: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Round up with probability f / 2**s; the random integers come from ``generator``, which lives on the CPU."""
    if shift == 0:
        return v
    v = _wide(v, shift)
    magnitude = v.abs()
    drawn = torch.randint(0, 1 << shift, v.shape, generator=generator, dtype=v.dtype).to(v.device)
    rounded = (magnitude >> shift) + (drawn < (magnitude & ((1 << shift) - 1)))
    return _signed(rounded, v)


def _signed(magnitude: Tensor, v: Tensor) -> Tensor:
    """``magnitude``, which is overwritten, with the signs of ``v``: integer arithmetic is far faster than a choice."""
    sign = v >> _sign_shift(v)
    magnitude ^= sign
    magnitude -= sign
    return magnitude


def _sign_shift(v: Tensor) -> int:
    """Return the shift that leaves -1 of a negative number and 0 of another."""
    return 8 * v.element_size() - 1


def _wide(v: Tensor, shift: int) -> Tensor:
    return v.long() if shift > _INT32_SHIFT and v.dtype != torch.int64 else v
