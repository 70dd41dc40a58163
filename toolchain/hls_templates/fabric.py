"""What a multiplier or a memory is built from: the generator binds by these rules, the cost model counts by them."""

from __future__ import annotations

LUT_MULTIPLIER_BITS = 10
"""Widest sum of operand widths whose multiplier is built from LUTs: 5 x 5 bits takes about 30 of them."""

LUTRAM_DEPTH = 64
"""A 64-deep memory is one RAM64M8 a 7 bits (AMD UG574); deeper ones fill block RAM better."""

LUTRAM_BITS = 1024
"""Memories of at most this many bits would leave a block RAM over 94 % empty."""


def use_dsp(weight_bits: int, act_bits: int) -> bool:
    """Whether a multiplier of these operand widths is bound to a DSP slice.

    Operands of one or two bits only select or negate, so they stay in LUTs at any width of the other.
    """
    return min(weight_bits, act_bits) > 2 and weight_bits + act_bits > LUT_MULTIPLIER_BITS


def use_lutram(depth: int, width: int) -> bool:
    """Whether a memory of ``depth`` words of ``width`` bits is bound to LUTRAM instead of block RAM."""
    return depth <= LUTRAM_DEPTH or depth * width <= LUTRAM_BITS
