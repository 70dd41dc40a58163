"""Requantizers: staircases from an integer to a code, in exact arithmetic.

A requantizer is defined as ``clamp(round(bend(slope * q + offset)))`` with rational numbers, where ``bend`` is a
leaky ReLU or nothing. Here are the definition and its steps, as thresholds; ``mul_shift.py`` looks for a multiplier
that gives the same steps, ``requantizer_node.py`` takes the cheaper of the two and proves it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Any

import numpy as np

from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array
from toolchain.lowering.exact_division import INT64, floor_divide

Line = tuple[int, int, int]


@dataclass(frozen=True)
class Requantizer:
    """code(q) = min(max(clamp(round(bend(slope[c] * q + offset[c])), low, high), floor[c]), ceiling[c]).

    One entry for all channels, or one a channel. ``rounding`` is a QONNX mode; ``bipolar`` means +1 where the bent
    value is >= 0, else -1. ``floor`` and ``ceiling`` are codes: what a ReLU in front leaves reachable. ``bends``, one
    a channel or empty, are (knee, leak): bend(v) = v from the knee upwards, knee + leak * (v - knee) below, leak > 0.
    """

    slope: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    low: int
    high: int
    rounding: Rounding
    bipolar: bool
    floor: tuple[int, ...]
    ceiling: tuple[int, ...]
    bends: tuple[tuple[Fraction, Fraction], ...] = ()

    @property
    def codes(self) -> range:
        """The codes above the lowest one, ascending: one a step of the staircase, one at least."""
        return range(1, 2) if self.bipolar else range(self.low + 1, max(self.high, self.low + 1) + 1)

    def channels(self, chosen: slice) -> Requantizer:
        """Return the requantizer of the ``chosen`` channels."""
        names = ("slope", "offset", "floor", "ceiling", "bends")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def coarser(self, bits: int) -> Requantizer:
        """The quantizer of the same range whose codes have ``bits`` bits less."""
        step = 1 << bits
        numbers: dict[str, Any] = {name: tuple(v / step for v in getattr(self, name)) for name in ("slope", "offset")}
        limits: dict[str, Any] = {name: tuple(v >> bits for v in getattr(self, name)) for name in ("floor", "ceiling")}
        bends = tuple((knee / step, leak) for knee, leak in self.bends)
        return replace(self, **numbers, **limits, low=self.low >> bits, high=self.high >> bits, bends=bends)

    def line(self, channel: int) -> Line:
        """Return integers (a, b, d), d > 0, with slope * q + offset = (a * q + b) / d."""
        return _line(self.slope[channel], self.offset[channel])

    def bent_line(self, channel: int) -> Line:
        """Return the integers (a, b, d) of the line below the knee, as ``line`` does above it."""
        slope, offset = self.slope[channel], self.offset[channel]
        knee, leak = self.bends[channel]
        return _line(leak * slope, knee + leak * (offset - knee))


def _line(slope: Fraction, offset: Fraction) -> Line:
    d = lcm(slope.denominator, offset.denominator)
    return slope.numerator * (d // slope.denominator), offset.numerator * (d // offset.denominator), d


def code_of(numerator: int, denominator: int, low: int, high: int, rounding: Rounding) -> int:
    """The QONNX code of ``numerator / denominator``: clamp to [low, high], then round."""
    clamped = min(max(numerator, low * denominator), high * denominator)
    return rounding.ratio(clamped, denominator)


def definition(requantizer: Requantizer, channel: int, inputs: Iterable[int]) -> list[int]:
    """The codes of ``inputs`` in ``channel``, straight from the definition."""
    slope, offset = requantizer.slope[channel], requantizer.offset[channel]
    floor, ceiling = requantizer.floor[channel], requantizer.ceiling[channel]
    codes = []
    for q in inputs:
        value = slope * q + offset
        if requantizer.bends:
            knee, leak = requantizer.bends[channel]
            value = value if value >= knee else knee + leak * (value - knee)
        if requantizer.bipolar:
            code = 1 if value >= 0 else -1
        else:
            code = code_of(*value.as_integer_ratio(), requantizer.low, requantizer.high, requantizer.rounding)
        codes.append(min(max(code, floor), ceiling))
    return codes


def definitions(requantizer: Requantizer, points: Array) -> Array:
    """The definition at ``points`` (C, T), one row a channel, in exact arithmetic on whole arrays."""
    channels = range(len(requantizer.slope))
    halves, whole = _halves([requantizer.line(c) for c in channels], points)
    if requantizer.bends:
        below, below_whole = _halves([requantizer.bent_line(c) for c in channels], points)
        upper = np.array([_above_knee(requantizer, c, points[c]) for c in channels])
        halves, whole = np.where(upper, halves, below), np.where(upper, whole, below_whole)
    if requantizer.bipolar:
        codes = np.where(halves >= 0, 1, -1)
    else:
        codes = np.clip(requantizer.rounding.halves(halves, whole), requantizer.low, requantizer.high)
    return np.clip(codes, np.array(requantizer.floor)[:, None], np.array(requantizer.ceiling)[:, None])


def _halves(lines: list[Line], points: Array) -> tuple[Array, Array]:
    """floor(2 * v) of v = (a * q + b) / d at the points q, and whether 2 * v is that integer."""
    return floor_divide([2 * a for a, _, _ in lines], points, [2 * b for _, b, _ in lines], [d for _, _, d in lines])


def _above_knee(requantizer: Requantizer, channel: int, points: Array) -> Array:
    """Return at which of ``points`` slope * q + offset reaches the knee (bool)."""
    slope, (knee, _) = requantizer.slope[channel], requantizer.bends[channel]
    rest = knee - requantizer.offset[channel]
    if slope == 0:
        return np.full(len(points), rest <= 0)
    switch = min(max(ceil(rest / slope) if slope > 0 else floor(rest / slope), -INT64), INT64)
    return points >= switch if slope > 0 else points <= switch


def to_threshold(requantizer: Requantizer, low: int, high: int) -> tuple[Array, Array, Array]:
    """``thresholds``, ``start`` and ``step`` of the Threshold node for inputs of [low, high].

    A threshold of ``low`` always holds, one of ``high + 1`` never does.
    """
    channels = len(requantizer.slope)
    codes = np.array(requantizer.codes, dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)
    bounds, strict = zero if requantizer.bipolar else requantizer.rounding.steps(codes)
    rows = _first_inputs([requantizer.line(c) for c in range(channels)], bounds, strict)
    if requantizer.bends:
        below = _first_inputs([requantizer.bent_line(c) for c in range(channels)], bounds, strict)
        knees = np.array([min(max(floor(2 * knee), -INT64), INT64) for knee, _ in requantizer.bends])
        rows = np.where(bounds > knees[:, None], rows, below)
    falling = np.array([s < 0 for s in requantizer.slope])
    never, always = np.where(falling, low, high + 1)[:, None], np.where(falling, high + 1, low)[:, None]
    rows = np.where(codes <= np.array(requantizer.floor)[:, None], always, rows)
    rows = np.where(codes > np.array(requantizer.ceiling)[:, None], never, np.clip(rows, low, high + 1))
    rows[falling] = rows[falling, ::-1]
    size = 2 if requantizer.bipolar else 1
    lowest = -1 if requantizer.bipolar else requantizer.low
    start = np.where(falling, lowest + size * len(codes), lowest).astype(np.int64)
    step = np.where(falling, -size, size).astype(np.int64)
    for c in range(channels):
        if requantizer.slope[c] == 0:
            rows[c], start[c], step[c] = high + 1, definition(requantizer, c, [0])[0], size
    return rows, start, step


def _first_inputs(lines: list[Line], bounds: Array, strict: Array) -> Array:
    """Return the integer (C, T) at which each line first reaches each bound.

    On a rising line it is the smallest q with 2 * (a * q + b) / d >= bound (> bound when strict), on a falling one the
    smallest q for which that no longer holds, on a level line any number.
    """
    sign = [1 if a > 0 else -1 for a, _, _ in lines]
    quotient, whole = floor_divide(
        [d * s for (_, _, d), s in zip(lines, sign, strict=True)],
        np.broadcast_to(bounds, (len(lines), len(bounds))),
        [-2 * b * s for (_, b, _), s in zip(lines, sign, strict=True)],
        [2 * abs(a) or 1 for a, _, _ in lines],
    )
    rising = np.array(sign)[:, None] > 0
    return np.where(rising, quotient + (~whole | strict), quotient + ~(whole & strict))
