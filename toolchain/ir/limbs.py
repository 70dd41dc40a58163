"""Multiply, add and shift of integers whose products pass 64 bits, on whole arrays of int64."""

from __future__ import annotations

import numpy as np

from toolchain.ir.types import Array

LIMB = 31
_LIMB_MASK, _LOW_MASK = (1 << LIMB) - 1, (1 << 2 * LIMB) - 1


def mul_add_shift(x: Array, mul: Array, add: Array, shift: int) -> Array:
    """round_half_even((x * mul + add) / 2**shift), quotients below -2**62 as -2**62, those above 2**62 as any such.

    ``x``, ``mul`` and ``add`` are int64 below 2**62 in magnitude, ``shift`` is 0 to 62. Operands are two limbs of 31
    bits, the upper one signed: no product of limbs and no sum of two such reaches 2**63. The numerator, of up to 125
    bits, is high * 2**62 + low with 0 <= low < 2**62.
    """
    a, b = x >> LIMB, x & _LIMB_MASK
    c, d = mul >> LIMB, mul & _LIMB_MASK
    middle = a * d + b * c
    # three numbers below 2**62: their sum fits 64 bits without a sign
    sums = (b * d).view(np.uint64) + ((middle & _LIMB_MASK) << LIMB).view(np.uint64)
    sums = sums + (add & _LOW_MASK).view(np.uint64)
    high = a * c + (middle >> LIMB) + (add >> 2 * LIMB) + (sums >> np.uint64(2 * LIMB)).view(np.int64)
    low = (sums & np.uint64(_LOW_MASK)).view(np.int64)
    quotient = (np.clip(high, -(1 << shift), 1 << shift) << (2 * LIMB - shift)) + (low >> shift)
    if shift:
        rest, half = low & ((1 << shift) - 1), 1 << (shift - 1)
        quotient = quotient + ((rest > half) | ((rest == half) & ((quotient & 1) == 1)))
    return np.where(high < -(1 << shift), -(1 << 2 * LIMB), quotient)
