"""The unit of a requantizer: comparators or multiply and shift, whichever is cheaper, proven equal to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array, QInt
from toolchain.lowering.exact_division import INT64
from toolchain.lowering.mul_shift import Factors, search_lines, shared_shift, to_mul_shift
from toolchain.lowering.requantize import Requantizer, definition, definitions, to_threshold
from toolchain.resources import multiplier_slices

MAX_STEPS = 1 << 23
"""Steps of a channel that a staircase is built and checked with."""
BLOCK_STEPS = 1 << 20
"""Steps of the channels that are searched and checked at once."""
MOST_COMPARATORS = (1 << 12) - 1
"""Most thresholds of a channel: Vitis HLS unrolls no loop further, and long before no device holds them."""
FEWER_BITS = (14, 12, 10)
COMPARED_BITS = 8
"""Bits that are tried in place of too many, and those whose codes comparators tell apart."""


class TooManyCodes(Exception):
    """A staircase that no unit computes: its steps are too many to compare, and no line goes through them all.

    ``bits``: codes of so many bits could be built.
    """

    def __init__(self, what: str, bits: int) -> None:
        super().__init__(what)
        self.bits = bits


def prove(node: Node, defined: Callable[[Array], Array], rows: tuple[Array, Array, Array], low: int, high: int) -> None:
    """Raise FlowError unless ``node`` is as ``defined`` at every integer of [low, high] in every channel.

    ``defined`` gives the codes of points (C, T). Both are monotone staircases, so equality at the two sides of every
    step and at both ends is equality everywhere.
    """
    channels = len(rows[0])
    ends = np.full((channels, 1), low), np.full((channels, 1), high)
    points = np.clip(np.concatenate([rows[0], rows[0] - 1, *ends], axis=1), low, high)
    codes = node.evaluate(points.T[None, None])[0, 0].T
    expected = defined(points)
    for channel, t in np.argwhere(expected != codes)[:1]:
        found = f"input {points[channel, t]} of channel {channel} gives {codes[channel, t]}"
        raise FlowError(f"{node.name}: {found}, not {expected[channel, t]}")


def threshold_cost(steps: int, channels: int, input_bits: int) -> int:
    """LUTs of a threshold lane: a comparator a step, and the table of the channels it serves."""
    table = -(-channels // 64) * steps * input_bits if channels > 1 else 0
    return steps * input_bits + table


def mul_shift_cost(mul: Array, input_bits: int, output_bits: int, lut_per_dsp: int) -> int:
    """LUT equivalent of a multiply-shift lane: its DSP slices, none for multipliers that are shifts, and its adders."""
    magnitudes = np.abs(mul)
    powers = len(np.unique(magnitudes)) == 1 and int(magnitudes[0]).bit_count() <= 1  # no multiplier at all
    bits = int(magnitudes.max()).bit_length() + 1
    slices = 0 if powers else multiplier_slices(input_bits, bits)
    return lut_per_dsp * slices + input_bits + bits + 2 * output_bits


def _reachable(requantizer: Requantizer, low: int, high: int) -> Requantizer:
    """Return ``requantizer`` with the codes that it reaches on [low, high] as its range."""
    ends = [definition(requantizer, c, (low, high)) for c in range(len(requantizer.slope))]
    least, most = min(min(pair) for pair in ends), max(max(pair) for pair in ends)
    floors = tuple(max(f, least) for f in requantizer.floor)
    ceilings = tuple(min(c, most) for c in requantizer.ceiling)
    return replace(requantizer, low=least, high=most, floor=floors, ceiling=ceilings)


def _integer_line(requantizer: Requantizer, reach: int, **common: object) -> Node:
    """The MulShift of integer slopes and offsets, which never round: equal to its definition as it stands.

    Raises:
        TooManyCodes: the slopes or offsets are no integers, or the limits differ by channel.
    """
    numbers = (*requantizer.slope, *requantizer.offset)
    uniform = len(set(requantizer.floor)) == len(set(requantizer.ceiling)) == 1
    largest = max(abs(s) for s in requantizer.slope) * reach + max(abs(o) for o in requantizer.offset)
    if requantizer.bends or not uniform or largest >= INT64 or any(n.denominator != 1 for n in numbers):
        raise TooManyCodes(f"a quantizer of {len(requantizer.codes) + 1} codes", 16)
    mul, add = (np.array([int(n) for n in v], dtype=np.int64) for v in (requantizer.slope, requantizer.offset))
    limits = {"low": requantizer.floor[0], "high": requantizer.ceiling[0]}
    return MulShift(mul=mul, add=add, shift=0, **limits, **common)  # type: ignore[arg-type]


def requantizer_node(
    requantizer: Requantizer, low: int, high: int, input_bits: int, *, lut_per_dsp: int, **common: object
) -> Node:
    """The cheaper exact node of ``requantizer`` for inputs of [low, high], proven equal to its definition.

    A DSP slice costs ``lut_per_dsp`` LUTs. ``common`` holds the node's name, inputs, outputs and origin.

    Raises:
        TooManyCodes: neither multiply and shift nor comparators can do it.
    """
    if len(requantizer.codes) > MAX_STEPS:
        requantizer = _reachable(requantizer, low, high)
    if len(requantizer.codes) > MAX_STEPS:
        return _integer_line(requantizer, max(-low, high), **common)
    if len(requantizer.codes) > MOST_COMPARATORS or len(requantizer.codes) * len(requantizer.slope) > MAX_STEPS:
        factors = _factors_by_block(requantizer, low, high, common)
        if factors is not None:
            return _mul_shift(requantizer, factors, common)
        requantizer = _reachable(requantizer, low, high)
        if len(requantizer.codes) > MOST_COMPARATORS:
            raise _refusal(requantizer, low, high, common)
    rows = to_threshold(requantizer, low, high)
    exact = partial(definitions, requantizer)
    return cheaper(requantizer, rows, low, high, input_bits, exact, lut_per_dsp=lut_per_dsp, **common)


def _factors_by_block(requantizer: Requantizer, low: int, high: int, common: Mapping[str, object]) -> Factors | None:
    """Factors found and proven some channels at a time: the steps of all of them would take gigabytes."""
    count = len(requantizer.slope)
    size = max(1, BLOCK_STEPS // len(requantizer.codes))
    found = []
    for first in range(0, count, size):
        block = requantizer.channels(slice(first, first + size))
        rows = to_threshold(block, low, high)
        searched = search_lines(block.slope, rows, low, high)
        factors = None if searched is None else shared_shift(*searched)
        if searched is None or factors is None:
            return None
        prove(_mul_shift(block, factors, common), lambda at, b=block: definitions(b, at), rows, low, high)  # type: ignore[misc]
        found.append(searched)
    return shared_shift(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _mul_shift(requantizer: Requantizer, factors: Factors, common: Mapping[str, object]) -> Node:
    limits = {"low": requantizer.low, "high": requantizer.high}
    found = {"mul": factors.mul, "add": factors.add, "shift": factors.shift, "base": factors.base}
    return MulShift(**found, **limits, **common)  # type: ignore[arg-type]


def _refusal(requantizer: Requantizer, low: int, high: int, common: Mapping[str, object]) -> TooManyCodes:
    """Return the refusal of a staircase, with the most bits, of those tried, at which its quantizer could be built."""
    bits = len(requantizer.codes).bit_length()
    coarser = [fewer for fewer in FEWER_BITS if fewer < bits]
    does = (f for f in coarser if _factors_by_block(requantizer.coarser(bits - f), low, high, common) is not None)
    why = f"behind sums of {QInt.holding(low, high).bits} bits"
    if requantizer.bends:
        why = "behind a leaky ReLU"
    elif _ties(requantizer, max(-low, high)):
        why = "whose scale meets ties that round to even, but is no power of two,"
    what = f"{bits} bits {why} take {len(requantizer.codes)} comparators a channel"
    return TooManyCodes(what, next(does, COMPARED_BITS))


def _ties(requantizer: Requantizer, reach: int) -> bool:
    """Return whether a channel has ties at several inputs: only its exact slope as the factor rounds them to even."""
    if requantizer.rounding is not Rounding.ROUND:
        return False
    periods = [(2 * slope).denominator for slope in requantizer.slope]
    return any(period & (period - 1) and 2 * period < reach for period in periods)


def cheaper(
    requantizer: Requantizer,
    rows: tuple[Array, Array, Array],
    low: int,
    high: int,
    input_bits: int,
    defined: Callable[[Array], Array],
    *,
    lut_per_dsp: int,
    **common: object,
) -> Node:
    """The cheaper node of the staircase ``rows``, proven equal to ``defined``; the requantizer gives slopes, limits.

    A DSP slice costs ``lut_per_dsp`` LUTs.

    Raises:
        TooManyCodes: the steps are too many to compare and lie on no line.
    """
    channels, steps = rows[0].shape
    factors = to_mul_shift(requantizer, rows, low, high)
    node: Node
    if factors is not None and (
        steps > MOST_COMPARATORS
        or mul_shift_cost(factors.mul, input_bits, (requantizer.high - requantizer.low).bit_length(), lut_per_dsp)
        < threshold_cost(steps, channels, input_bits)
    ):
        node = _mul_shift(requantizer, factors, common)
    elif steps > MOST_COMPARATORS:
        raise TooManyCodes(f"{steps} thresholds a channel that lie on no line take as many comparators", COMPARED_BITS)
    else:
        node = Threshold(thresholds=rows[0], start=rows[1], step=rows[2], **common)  # type: ignore[arg-type]
    prove(node, defined, rows, low, high)
    return node
