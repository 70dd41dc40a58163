"""Rules for the fabric of multipliers and memories: the generator binds by them, the cost model counts by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Parallelism, QInt
from toolchain.resources import DSP_NARROW, DSP_WIDE
from toolchain.units.cost_model import parts

LUT_MULTIPLIER_BITS = 10
"""Widest sum of operand widths whose multiplier is built from LUTs: 5 x 5 bits takes about 30 of them."""

LUTRAM_DEPTH = 64
"""A 64-deep memory is one RAM64M8 a 7 bits (AMD UG574); deeper ones fill block RAM better."""

LUTRAM_BITS = 1024
"""Memories of at most this many bits would leave a block RAM over 94 % empty."""


def use_dsp(weight_bits: int, act_bits: int) -> bool:
    """Return whether a multiplier of these operand widths is bound to a DSP slice.

    Operands of one or two bits only select or negate, so they stay in LUTs at any width of the other.
    """
    return min(weight_bits, act_bits) > 2 and weight_bits + act_bits > LUT_MULTIPLIER_BITS


def products_per_dsp(lanes: Parallelism, weight: QInt, act: QInt) -> int:
    """Return the products a slice that ``lanes`` choose, 0 for LUTs; if they choose none, the choice of ``use_dsp``."""
    chosen = lanes.products_per_dsp
    return int(use_dsp(weight.bits, act.bits)) if chosen is None else chosen


def use_lutram(depth: int, width: int) -> bool:
    """Return whether a memory of ``depth`` words of ``width`` bits is bound to LUTRAM instead of block RAM."""
    return depth <= LUTRAM_DEPTH or depth * width <= LUTRAM_BITS


def use_uram(depth: int, width: int) -> bool:
    """Return whether a unit that may use UltraRAM keeps this memory there: where each takes two block RAMs' place.

    Only memories that are written before they are read: those of UltraScale+ begin as zeros (AMD UG901).
    """
    return not use_lutram(depth, width) and parts.bram18(depth, width) >= 2 * parts.uram(depth, width)


def counts_bits(weight: QInt, act: QInt) -> bool:
    """Return whether products in LUTs are built by counting the bits that planes of both operands share.

    At 2 x 2 bits published multipliers take no more, and weights of -1 and +1 choose wider inputs for less.
    """
    return act.bits == 1 and weight.bits <= 2


def stored_weight(node: MatVec | GroupedMatVec, products: int) -> QInt:
    """Type of the weights in the memory of ``node`` that multiplies with ``products`` a DSP slice.

    Weights of -1 and +1 are one bit for LUTs; a slice multiplies by the numbers themselves.
    """
    return QInt(1, False) if node.signs and products == 0 else node.weight_type


MAX_PACKED = 5
"""Most products a slice: operands so narrow that more would fit take fewer LUTs as LUT products than to unpack."""

Number = TypeVar("Number", int, np.ndarray)


def product_range(weight: QInt, act: QInt) -> tuple[int, int]:
    """The least and the greatest product of a weight and an activation."""
    corners = [w * x for w in (weight.min, weight.max) for x in (act.min, act.max)]
    return min(corners), max(corners)


def product_type(weight: QInt, act: QInt) -> QInt:
    """The narrowest type of every product of a weight and an activation."""
    return QInt.holding(*product_range(weight, act))


def lane_bits(weight: QInt, act: QInt) -> int:
    """Bits of a signed number that holds every product, and what a borrow leaves of it: a lane of a packed product."""
    low, high = product_range(weight, act)
    return QInt.holding(low - 1, high).bits


@cache
def packing(weight: QInt, act: QInt) -> Mapping[int, tuple[int, ...]]:
    """Offsets o of the weights in the word sum(w_i << o_i), by the number of products that one DSP slice gives.

    The word times an activation is sum(p_i << o_i), from which ``unpack`` recovers every product exactly. Lanes are
    ``lane_bits`` apart; where that does not fit the multiplier, as many upper lanes as need be begin one bit early (the
    spacing {0, 8, 15, 22} of four 4 x 4 bit products; the missing bit follows from the next product's lowest one).
    Empty: the operands do not fit, or only once.
    """
    if act.bits + (not act.signed) > DSP_NARROW:
        return {}
    width = lane_bits(weight, act)
    found: dict[int, tuple[int, ...]] = {}
    for count in range(2, MAX_PACKED + 1):
        for early in range(count):
            offsets = tuple(i * width - max(0, early - (count - 1 - i)) for i in range(count))
            if _fits_word(weight, offsets):
                found[count] = offsets
                break
    return found


def _fits_word(weight: QInt, offsets: Sequence[int]) -> bool:
    """Return whether every packed word is a signed number that the multiplier's wide operand holds."""
    return word_type((weight.min, weight.max), offsets).bits <= DSP_WIDE


def word_type(ends: tuple[int, int], offsets: Sequence[int]) -> QInt:
    """The signed type of every word sum(n_i << o_i) of numbers between ``ends``: packed weights, or their products."""
    low, high = (sum(n << o for o in offsets) for n in ends)
    return QInt.holding(min(low, -1), high)


def pack(weights: Sequence[Number], offsets: Sequence[int]) -> Number:
    """The word sum(w_i << o_i)."""
    word = weights[0]
    for weight, offset in zip(weights[1:], offsets[1:], strict=True):
        word = word + (weight << offset)
    return word


def unpack(word: Number, offsets: Sequence[int], width: int, odd: Sequence[Number]) -> list[Number]:
    """The products p_i of ``word`` = sum(p_i << o_i), each a signed number of ``width`` bits: what the unit computes.

    Lane i holds p_i less the borrow that a negative sum of the lanes below took from it: its sign, the bit below lane
    i. Where lane i begins one bit early, the sign falls on the lowest bit of p_i, from which it follows.

    Args:
        odd: the lowest bit of each product, w_i & x & 1.
    """
    products: list[Number] = []
    borrow = 0 * word
    for i, offset in enumerate(offsets):
        lane = word >> offset
        if i + 1 < len(offsets):
            space = offsets[i + 1] - offset
            below = ((lane >> (width - 1)) ^ (odd[i + 1] if space < width else 0)) & 1
            lane = (lane & ((1 << (width - 1)) - 1)) - (below << (width - 1))
        products.append(lane + borrow)
        borrow = below
    return products


DSP_SUM = 48
"""Bits of a DSP48E2's accumulator (AMD UG579)."""

MAX_CHAIN = 8
"""Most slices that add up: each one more delays its operands by a clock cycle."""


@dataclass(frozen=True)
class TapPacking:
    """Fields ``spacing`` bits apart, in which ``chain`` slices of operands ``word`` and ``value`` add up exactly."""

    spacing: int
    chain: int
    word: QInt
    value: QInt


@cache
def tap_packing(weight: QInt, act: QInt, taps: int, columns: int, longest: int = MAX_CHAIN) -> TapPacking | None:
    """Return how a DSP slice multiplies ``taps`` of a row filter by ``columns`` neighbouring inputs, or None.

    The product of sum(w_t << (taps - 1 - t) * s) and sum(x_m << m * s) is a polynomial one: field i holds the sum of
    all w_t * x_m with taps - 1 - t + m = i, a part of one output column (HiKonv, Liu et al.). The spacing s is the
    least at which the longest chain of slices, at most ``longest``, neither leaves a field nor the slice's operands and
    accumulator.
    """
    low, high = product_range(weight, act)
    most = min(taps, columns)  # products that meet in a field
    for chain in range(longest, 0, -1):
        spacing = QInt.holding(min(most * chain * low, -1), most * chain * high).bits
        word = word_type((weight.min, weight.max), [t * spacing for t in range(taps)])
        value = word_type((act.min, act.max), [m * spacing for m in range(columns)])
        narrow, wide = sorted((word.bits, value.bits))
        if wide <= DSP_WIDE and narrow <= DSP_NARROW and (taps + columns - 1) * spacing <= DSP_SUM:
            return TapPacking(spacing, chain, word, value)
    return None


def tap_digits(weight: np.ndarray) -> np.ndarray:
    """Row filters (..., taps) as the fields of their packed words, the lowest first.

    Side by side, each cut to its field, they are the word sum(w_t << (taps - 1 - t) * s): a digit is a weight less the
    borrow that a negative digit below takes from it, so that no adder packs the word.
    """
    digits = np.empty_like(weight)
    borrow = np.zeros_like(weight[..., 0])
    for field, tap in enumerate(reversed(range(weight.shape[-1]))):
        digits[..., field] = weight[..., tap] - borrow
        borrow = (digits[..., field] < 0).astype(weight.dtype)
    return digits


def digit_type(weight: np.ndarray) -> QInt:
    """A type that holds the digits of ``weight`` (N, taps, K): its own unless the least weight cannot lend."""
    return QInt.holding(int(weight.min()) - (weight.shape[1] > 1), int(weight.max()))
