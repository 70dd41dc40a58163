"""The multiplier, offset and shift that give a staircase's code at every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.ir.types import Array
from toolchain.lowering.requantize import Requantizer

MAX_SHIFT = 60
COARSE = 16
"""Steps between those that are tried first in the search for a multiplier."""
FREE = 1 << 62
NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Factors:
    """``mul``, ``add``, ``shift`` and ``base`` of a MulShift, the arrays one entry a channel."""

    mul: Array
    add: Array
    shift: int
    base: Array


def to_mul_shift(
    requantizer: Requantizer, rows: tuple[Array, Array, Array], low: int, high: int, below: Array | None = None
) -> Factors | None:
    """The equal MulShift with the smallest shift, or None when there is none.

    With round-half-even hardware, code k is reached where q * mul + add >= k * 2**s - 2**(s-1) + (k odd). Every step of
    the staircase bounds ``add`` from both sides; ``mul`` is the slope rounded to s fraction bits, or a neighbour of it.
    A solution for s doubles to one for s + 1, so the channels share the largest of their smallest shifts.

    The bounds are differences of numbers that may pass 64 bits. Codes are counted from an even ``base`` near the line's
    value at 0, which makes the bounds themselves smaller than 2**62, and so int64 right whatever wrapped before.
    ``below`` is the largest input under each step of a rising staircase, where there are gaps between inputs.
    """
    if requantizer.bipolar or requantizer.high == requantizer.low:
        return None
    found = search_lines(requantizer.slope, rows, low, high, below)
    return None if found is None else shared_shift(*found)


def search_lines(
    slopes: Sequence[Fraction],
    rows: tuple[Array, Array, Array],
    low: int | Array,
    high: int | Array,
    below: Array | None = None,
) -> tuple[Array, Array, Array, Array] | None:
    """``mul``, ``add``, ``base`` and the smallest shift of each channel; None where one has none.

    ``rows`` are thresholds (C, T), first codes (C,) and steps (C,) of +-1; the codes of inputs from ``low`` to
    ``high`` are to be right, numbers or one a channel (C, 1).
    """
    thresholds, start, step = rows
    slope = np.array([_float(s) for s in slopes])
    # Per step: inside is the input just within the code, outside the neighbour that must stay below it.
    order = np.arange(thresholds.shape[1])
    rising = (step > 0)[:, None]
    codes = np.where(rising, start[:, None] + 1 + order, start[:, None] - order)
    inside = np.where(rising, thresholds, thresholds - 1)
    outside = np.where(rising, thresholds - 1, thresholds) if below is None else below
    has_inside, has_outside = (inside >= low) & (inside <= high), (outside >= low) & (outside <= high)
    # Of several codes reached at once only the highest bounds from inside, and the lowest from outside.
    same = np.diff(thresholds, axis=1) == 0
    has_inside[:, :-1] &= ~(same & rising)
    has_inside[:, 1:] &= ~(same & ~rising)
    has_outside[:, 1:] &= ~(same & rising)
    has_outside[:, :-1] &= ~(same & ~rising)
    at_zero = codes - slope[:, None] * np.where(has_inside, inside, outside)
    base, error = _bases(np.where(has_inside | has_outside, at_zero, np.nan))
    if base is None:
        return None
    bands = _Bands(codes - base[:, None], np.where(has_inside, inside, NONE), np.where(has_outside, outside, NONE))
    filters = [bands.spread(len(order) // share) for share in (COARSE**2, COARSE)]
    mul, add = np.zeros(len(slope), dtype=np.int64), np.zeros(len(slope), dtype=np.int64)
    found = np.full(len(slope), -1)
    reach = max(int(np.abs(low).max()), int(np.abs(high).max()) + 1)
    for shift in range(MAX_SHIFT + 1):
        if np.abs(slope).max() * 2.0**shift >= 2.0**60 or error * 2.0**shift + 2.0 * reach >= 2.0**62:
            break
        for delta in (0, 1, -1):
            todo = np.flatnonzero(found < 0)
            if not len(todo):
                break
            m = _rounded_slopes(slopes, slope, todo, shift) + delta
            for some in filters:  # a line that fails on some steps fails on all
                possible = np.less_equal(*some.limits(todo, m, shift))
                todo, m = todo[possible], m[possible]
            if not len(todo):
                continue
            least, most = bands.limits(todo, m, shift)
            good = least <= most
            free = np.where(least == -FREE, most, np.where(most == FREE, least, (least + most) >> 1))
            mul[todo[good]], add[todo[good]], found[todo[good]] = m[good], free[good], shift
    return None if (found < 0).any() else (mul, add, base, found)


def _bases(at_zero: Array) -> tuple[Array | None, float]:
    """Return an even integer near each line's code at 0, and how far its codes are from the line; None beyond 2**50.

    ``at_zero`` (C, T): the code of each step less the slope times its input, NaN where none bounds the line.
    """
    least, most = np.nanmin(at_zero, axis=1), np.nanmax(at_zero, axis=1)
    middle = (least + most) / 2
    if not np.abs(middle).max() < 2.0**50:  # nor where float64 ends
        return None, 0.0
    base = 2 * np.rint(middle / 2).astype(np.int64)
    return base, float(np.maximum(most - base, base - least).max()) + 2.0


def _float(value: Fraction) -> float:
    """Return ``value`` in float64, infinite where it overflows."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _rounded_slopes(slopes: Sequence[Fraction], slope: Array, channels: Array, shift: int) -> Array:
    """The slopes of ``channels`` with ``shift`` fraction bits; float64 has 53 bits, wider ones are rounded exactly.

    ``slope``: ``slopes`` in float64.
    """
    scaled = slope[channels] * 2.0**shift
    if np.abs(scaled).max() < 2.0**50:
        return np.rint(scaled).astype(np.int64)
    return np.array([round(slopes[c] * (1 << shift)) for c in channels], dtype=np.int64)


def shared_shift(mul: Array, add: Array, base: Array, found: Array) -> Factors | None:
    """Bring all channels to the largest shift, and the base into offsets that stay below 2**60; None: too wide."""
    shift = int(found.max())
    raised = [shift - s for s in found.tolist()]
    factors = [m << r for m, r in zip(mul.tolist(), raised, strict=True)]
    offsets = [a << r for a, r in zip(add.tolist(), raised, strict=True)]
    whole = [a + (b << shift) for a, b in zip(offsets, base.tolist(), strict=True)]
    if max(map(abs, whole)) < 1 << 60:
        offsets, base = whole, np.zeros(1, dtype=np.int64)
    if max(map(abs, (*factors, *offsets))) >= FREE:
        return None
    return Factors(np.array(factors, dtype=np.int64), np.array(offsets, dtype=np.int64), shift, base)


@dataclass(frozen=True)
class _Bands:
    """A staircase as steps (C, T): ``inside`` has the code, ``outside`` must stay below it; NONE is out of range."""

    codes: Array
    inside: Array
    outside: Array

    def spread(self, count: int) -> _Bands:
        """Return ``count`` steps, at least two, evenly spread."""
        columns = np.unique(np.linspace(0, self.codes.shape[1] - 1, max(count, 2)).astype(np.int64))
        return _Bands(self.codes[:, columns], self.inside[:, columns], self.outside[:, columns])

    def limits(self, rows: Array, mul: Array, shift: int) -> tuple[Array, Array]:
        """Return the least and the greatest ``add``, one a row of ``rows``, for which ``mul`` gives every code."""
        half = (1 << shift) >> 1
        codes, inside, outside = self.codes[rows], self.inside[rows], self.outside[rows]
        bound = (codes << shift) - half + (codes & 1 if shift else 0)
        least = np.where(inside != NONE, bound - mul[:, None] * inside, -FREE)
        most = np.where(outside != NONE, bound - 1 - mul[:, None] * outside, FREE)
        return least.max(axis=1, initial=-FREE), most.min(axis=1, initial=FREE)
