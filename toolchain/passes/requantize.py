"""Requantizers: staircases from an integer to a code, in exact arithmetic.

A requantizer is defined as ``clamp(round(slope * q + offset))`` with rational slope and offset. It becomes a
``Threshold`` or a ``MulShift`` node, whichever is cheaper, and the node is proven equal to the definition over every
integer its input can take.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from toolchain.ir.evaluate import evaluate_node
from toolchain.ir.ops import Array, MulShift, Node, Threshold

LUT_PER_DSP = 196
"""70,560 LUT / 360 DSP of a ZU3EG: what a DSP is worth when the two ways are compared."""
MAX_SHIFT = 44


@dataclass(frozen=True)
class Requantizer:
    """code(q) = min(max(clamp(round(slope[c] * q + offset[c]), low, high), floor[c]), ceiling[c]).

    One entry for all channels, or one a channel. ``rounding`` is a QONNX mode; ``bipolar`` means +1 where
    slope * q + offset >= 0, else -1. ``floor`` and ``ceiling`` are codes: what a ReLU in front leaves reachable.
    """

    slope: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    low: int
    high: int
    rounding: str
    bipolar: bool
    floor: tuple[int, ...]
    ceiling: tuple[int, ...]

    @property
    def codes(self) -> list[int]:
        """The codes above the lowest one, ascending: one a step of the staircase."""
        return [1] if self.bipolar else list(range(self.low + 1, self.high + 1))

    def line(self, channel: int) -> tuple[int, int, int]:
        """Integers (a, b, d), d > 0, with slope * q + offset = (a * q + b) / d."""
        slope, offset = self.slope[channel], self.offset[channel]
        d = lcm(slope.denominator, offset.denominator)
        return slope.numerator * (d // slope.denominator), offset.numerator * (d // offset.denominator), d


def round_ratio(numerator: int, denominator: int, rounding: str) -> int:
    """``numerator / denominator`` (positive denominator) rounded by a QONNX mode; ValueError for an unknown mode."""
    down, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if rounding in ("ROUND", "HALF_EVEN"):
        return down + int(twice > denominator or (twice == denominator and down % 2 == 1))
    positive = numerator >= 0
    rules = {
        "FLOOR": False,
        "CEIL": rest > 0,
        "UP": rest > 0 and positive,
        "DOWN": rest > 0 and not positive,
        "ROUND_TO_ZERO": rest > 0 and not positive,
        "HALF_UP": twice > denominator or (twice == denominator and positive),
        "HALF_DOWN": twice > denominator or (twice == denominator and not positive),
    }
    if rounding not in rules:
        raise ValueError(f"unknown rounding mode '{rounding}'")
    return down + int(rules[rounding])


def code_of(numerator: int, denominator: int, low: int, high: int, rounding: str) -> int:
    """The QONNX code of ``numerator / denominator``: clamp to [low, high], then round."""
    clamped = min(max(numerator, low * denominator), high * denominator)
    return round_ratio(clamped, denominator, rounding)


def definition(requantizer: Requantizer, channel: int, inputs: Iterable[int]) -> list[int]:
    """The codes of ``inputs`` in ``channel``, straight from the definition."""
    a, b, d = requantizer.line(channel)
    floor, ceiling = requantizer.floor[channel], requantizer.ceiling[channel]
    codes = []
    for q in inputs:
        value = a * q + b
        if requantizer.bipolar:
            code = 1 if value >= 0 else -1
        else:
            code = code_of(value, d, requantizer.low, requantizer.high, requantizer.rounding)
        codes.append(min(max(code, floor), ceiling))
    return codes


def step_boundary(code: int, rounding: str) -> tuple[int, bool]:
    """Where ``round(v)`` reaches ``code``: at 2 * v >= bound, or > bound when the flag (strict) is set.

    Halves go to the even neighbour under ROUND, so the half below an odd code still belongs to the code beneath it.
    """
    half, whole = 2 * code - 1, 2 * code
    positive = code > 0
    return {
        "ROUND": (half, code % 2 == 1),
        "HALF_EVEN": (half, code % 2 == 1),
        "FLOOR": (whole, False),
        "CEIL": (whole - 2, True),
        "UP": (whole - 2, True) if positive else (whole, False),
        "DOWN": (whole, False) if positive else (whole - 2, True),
        "ROUND_TO_ZERO": (whole, False) if positive else (whole - 2, True),
        "HALF_UP": (half, not positive),
        "HALF_DOWN": (half, positive),
    }[rounding]


def _row(requantizer: Requantizer, channel: int, low: int, high: int) -> tuple[list[int], int, int]:
    """Ascending thresholds, start code and step of one channel for inputs of [low, high].

    A threshold of ``low`` always holds, one of ``high + 1`` never does.
    """
    a, b, d = requantizer.line(channel)
    codes = requantizer.codes
    size = 2 if requantizer.bipolar else 1
    if a == 0:
        return [high + 1] * len(codes), definition(requantizer, channel, [0])[0], size
    floor, ceiling = requantizer.floor[channel], requantizer.ceiling[channel]
    row = []
    for code in codes:
        if code <= floor:
            row.append(low if a > 0 else high + 1)
        elif code > ceiling:
            row.append(high + 1 if a > 0 else low)
        else:
            bound, strict = (0, False) if requantizer.bipolar else step_boundary(code, requantizer.rounding)
            # (a * q + b) / d reaches the code where 2 * a * q >= bound * d - 2 * b
            target = bound * d - 2 * b
            first = _first_above(target, 2 * a, strict) if a > 0 else 1 + _last_above(target, 2 * a, strict)
            row.append(min(max(first, low), high + 1))
    lowest = -1 if requantizer.bipolar else requantizer.low
    if a > 0:
        return row, lowest, size
    return row[::-1], lowest + size * len(codes), -size


def _first_above(bound: int, factor: int, strict: bool) -> int:
    """Smallest integer q with factor * q >= bound (> bound when strict), for a positive factor."""
    quotient, rest = divmod(bound, factor)
    return quotient + int(rest > 0 or strict)


def _last_above(bound: int, factor: int, strict: bool) -> int:
    """Largest integer q with factor * q >= bound (> bound when strict), for a negative factor."""
    quotient, rest = divmod(-bound, -factor)
    return quotient - int(strict and rest == 0)


def to_threshold(requantizer: Requantizer, low: int, high: int) -> tuple[Array, Array, Array]:
    """``thresholds``, ``start`` and ``step`` of the Threshold node for inputs of [low, high]."""
    rows = [_row(requantizer, c, low, high) for c in range(len(requantizer.slope))]
    thresholds = np.array([row for row, _, _ in rows], dtype=np.int64).reshape(len(rows), -1)
    start = np.array([s for _, s, _ in rows], dtype=np.int64)
    return thresholds, start, np.array([s for _, _, s in rows], dtype=np.int64)


def to_mul_shift(
    requantizer: Requantizer, rows: tuple[Array, Array, Array], low: int, high: int
) -> tuple[Array, Array, int] | None:
    """``mul``, ``add`` and ``shift`` of the equal MulShift with the smallest shift, or None when there is none.

    With round-half-even hardware, code k is reached where q * mul + add >= k * 2**s - 2**(s-1) + (k odd). Every step of
    the staircase bounds ``add`` from both sides; ``mul`` is the slope rounded to s fraction bits, or a neighbour of it.
    A solution for s doubles to one for s + 1, so the channels share the largest of their smallest shifts.
    """
    if requantizer.bipolar or requantizer.high == requantizer.low:
        return None
    thresholds, start, step = rows
    slope = np.array([float(s) for s in requantizer.slope])
    # Per step: inside is the input just within the code, outside the neighbour that must stay below it.
    order = np.arange(thresholds.shape[1])
    rising = (step > 0)[:, None]
    codes = np.where(rising, start[:, None] + 1 + order, start[:, None] - order)
    inside = np.where(rising, thresholds, thresholds - 1)
    outside = np.where(rising, thresholds - 1, thresholds)
    has_inside, has_outside = (inside >= low) & (inside <= high), (outside >= low) & (outside <= high)
    mul, add = np.zeros(len(slope), dtype=np.int64), np.zeros(len(slope), dtype=np.int64)
    found = np.full(len(slope), -1)
    reach = max(abs(low), abs(high) + 1)
    limit = max(abs(requantizer.low), abs(requantizer.high))
    for shift in range(MAX_SHIFT + 1):
        if float(np.abs(slope).max()) * 2.0**shift * reach >= 2.0**60 or limit * 2.0**shift >= 2.0**60:
            break
        half = (1 << shift) >> 1
        bound = (codes << shift) - half + (codes & 1 if shift else 0)
        for delta in (0, 1, -1):
            todo = np.flatnonzero(found < 0)
            if not len(todo):
                break
            m = np.rint(slope[todo] * 2.0**shift).astype(np.int64)[:, None] + delta
            least = np.where(has_inside[todo], bound[todo] - m * inside[todo], -(1 << 62)).max(axis=1)
            most = np.where(has_outside[todo], bound[todo] - 1 - m * outside[todo], 1 << 62).min(axis=1)
            good = least <= most
            free = np.where(least == -(1 << 62), most, np.where(most == 1 << 62, least, (least + most) >> 1))
            mul[todo[good]], add[todo[good]], found[todo[good]] = m[good, 0], free[good], shift
    if (found < 0).any():
        return None
    shared = int(found.max())
    return mul << (shared - found), add << (shared - found), shared


def prove(node: Node, requantizer: Requantizer, rows: tuple[Array, Array, Array], low: int, high: int) -> None:
    """Raise ArithmeticError unless ``node`` equals the definition for every integer of [low, high] in every channel.

    Both are monotone staircases, so equality at the two sides of every step and at both ends is equality everywhere.
    """
    channels = len(requantizer.slope)
    ends = np.full((channels, 1), low), np.full((channels, 1), high)
    points = np.clip(np.concatenate([rows[0], rows[0] - 1, *ends], axis=1), low, high)
    codes = evaluate_node(node, points.T[None, None])[0, 0].T
    for channel in range(channels):
        expected = np.array(definition(requantizer, channel, points[channel].tolist()))
        wrong = np.flatnonzero(expected != codes[channel])
        if len(wrong):
            q, code = points[channel][wrong[0]], codes[channel][wrong[0]]
            raise ArithmeticError(f"{node.name}: input {q} of channel {channel} gives {code}, not {expected[wrong[0]]}")


def threshold_cost(steps: int, channels: int, input_bits: int) -> int:
    """LUTs of a threshold lane: a comparator a step, and the table of the channels it serves."""
    table = -(-channels // 64) * steps * input_bits if channels > 1 else 0
    return steps * input_bits + table


def mul_shift_cost(mul: Array, input_bits: int, output_bits: int) -> int:
    """LUT equivalent of a multiply-shift lane: DSP tiles of 27 x 18 bits, none for multipliers that are shifts."""
    magnitudes = np.abs(mul)
    powers = len(np.unique(magnitudes)) == 1 and int(magnitudes[0]).bit_count() <= 1  # no multiplier at all
    bits = int(magnitudes.max()).bit_length() + 1
    tiles = 0 if powers else -(-max(input_bits, bits) // 27) * -(-min(input_bits, bits) // 18)
    return LUT_PER_DSP * tiles + input_bits + bits + 2 * output_bits


def requantizer_node(requantizer: Requantizer, low: int, high: int, input_bits: int, **common: object) -> Node:
    """The cheaper exact node of ``requantizer`` for inputs of [low, high], proven equal to its definition.

    ``common`` holds the node's name, inputs, outputs and origin.
    """
    rows = to_threshold(requantizer, low, high)
    node: Node = Threshold(thresholds=rows[0], start=rows[1], step=rows[2], **common)  # type: ignore[arg-type]
    channels = len(requantizer.slope)
    steps = rows[0].shape[1]
    found = to_mul_shift(requantizer, rows, low, high)
    if found is not None:
        mul, add, shift = found
        bits = (requantizer.high - requantizer.low).bit_length()
        if mul_shift_cost(mul, input_bits, bits) < threshold_cost(steps, channels, input_bits):
            limits = {"low": requantizer.low, "high": requantizer.high}
            node = MulShift(mul=mul, add=add, shift=shift, **limits, **common)  # type: ignore[arg-type]
    prove(node, requantizer, rows, low, high)
    return node
