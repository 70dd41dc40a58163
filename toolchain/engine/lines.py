"""Thresholds as the engine's requantizers compute them: one line a channel, or one on either side of a knee.

A quantizer of equal steps is a line rounded, whatever unit was cheapest for it in a pipeline; behind a leaky ReLU it is
two. Every step bounds a line from both sides, so the steps alone tell whether there is one and how steep it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.ir.ops.requantizers import Threshold
from toolchain.ir.types import Array
from toolchain.lowering.mul_shift import search_lines, shared_shift


@dataclass(frozen=True, eq=False)
class Lines:
    """code = clip(round_half_even((mul * x + add) / 2**shift), low, high), on either side of a knee.

    ``mul`` and ``add`` are (2, C), ``knee`` (C,): the least input of the second line. Both lines are the same, and
    ``knee`` is None, where one will do.
    """

    mul: Array
    add: Array
    shift: int
    low: int
    high: int
    knee: Array | None


def lines_of(node: Threshold, low: int, high: int) -> Lines | None:
    """The lines that give the codes of ``node`` at every input of [low, high]; None where two do not.

    Those of a node with one row of thresholds are of one channel.
    """
    if node.step.ndim != 1 or not np.isin(node.step, (-1, 1)).all():
        return None
    count = max(len(node.thresholds), len(node.start), len(node.step))
    start, step = (np.broadcast_to(v, (count,)) for v in (node.start, node.step))
    falls = step < 0
    # Codes that fall with x rise with -x.
    thresholds = np.broadcast_to(node.thresholds, (count, node.thresholds.shape[1]))
    steps = thresholds.shape[1]
    rising = np.where(falls[:, None], 1 - thresholds[:, ::-1], thresholds)
    least = np.where(falls, start - steps, start)
    ends = np.where(falls, -high, low)[:, None], np.where(falls, -low, high)[:, None]
    found = _rising(rising, least, *ends)
    if found is None:
        return None
    mul, add, shift, knee = found
    if knee is not None:
        mul, add = (np.where(falls, v[::-1] if i else -v[::-1], v) for i, v in enumerate((mul, add)))
        knee = np.where(falls, 1 - knee, knee)
    else:
        mul = np.where(falls, -mul, mul)
    return Lines(mul, add, shift, int(least.min()), int(least.max()) + steps, knee)


def _rising(thresholds: Array, least: Array, low: Array, high: Array) -> tuple[Array, Array, int, Array | None] | None:
    """Factors, offsets (2, C), shift and knees of staircases that rise from ``least`` (C,) at inputs [low, high]."""
    # All channels count from the same code to the same code; a step beyond the inputs bounds the line at their end.
    spare = int(least.max() - least.min())
    places = np.arange(thresholds.shape[1] + spare) - (least - least.min())[:, None]
    inside = np.take_along_axis(thresholds, np.clip(places, 0, thresholds.shape[1] - 1), axis=1)
    inside = np.where(places < 0, low, np.where(places < thresholds.shape[1], inside, high + 1))
    inside = np.clip(inside, low, high + 1)
    start = np.full(len(least), least.min())
    ones = np.ones(len(least), dtype=np.int64)

    def search(first: Array, last: Array, slopes: list[Fraction]) -> tuple[Array, Array, Array, Array] | None:
        return search_lines(slopes, (np.clip(inside, first, last + 1), start, ones), first, last)

    slopes = [_slope(row, int(a), int(b)) for row, a, b in zip(inside, low[:, 0], high[:, 0], strict=True)]
    whole = [slope for slope in slopes if slope is not None]
    if len(whole) == len(slopes):
        single = search(low, high, whole)
        factors = None if single is None else shared_shift(*single)
        if factors is not None and not factors.base.any():
            return np.stack([factors.mul] * 2), np.stack([factors.add] * 2), factors.shift, None
    knees = [_knee(row, int(a), int(b)) for row, a, b in zip(inside, low[:, 0], high[:, 0], strict=True)]
    bent = [knee for knee in knees if knee is not None]
    if len(bent) < len(knees):
        return None
    knee = np.array([k for k, *_ in bent])[:, None]
    parts = [
        search(low, knee - 1, [below for _, below, _ in bent]),
        search(knee, high, [above for *_, above in bent]),
    ]
    if parts[0] is None or parts[1] is None:
        return None
    factors = shared_shift(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))  # type: ignore[arg-type]
    if factors is None or factors.base.any():
        return None
    return factors.mul.reshape(2, -1), factors.add.reshape(2, -1), factors.shift, knee[:, 0]


def _slope(inside: Array, low: int, high: int) -> Fraction | None:
    """The middle of the slopes of lines through all steps of [low, high]; None where no line is.

    A line with code j at ``inside[j]`` and less than code i at ``inside[i] - 1`` rises by j - i at least on the way.
    """
    codes = np.arange(len(inside))
    at, below = np.clip(inside, low, high + 1), np.clip(inside, low, high + 1) - 1
    reached, missed = at <= high, below >= low
    if not reached.any() or not missed.any():
        return Fraction(0)
    way = at[reached][:, None] - below[missed]
    rise = (codes[reached][:, None] - codes[missed]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = rise / way
    least = max(float(slope[way > 0].max(initial=0.0)), 0.0)
    most = float(slope[way < 0].min(initial=np.inf))
    if least > most:
        return None
    return Fraction(least + 1.0 if most == np.inf else (least + most) / 2)


def _knee(inside: Array, low: int, high: int) -> tuple[int, Fraction, Fraction] | None:
    """An input from which on another line goes through the steps than below it, and both slopes; None: three lines.

    Of all such inputs at steps the middle one, which leaves both lines the most room.
    """
    places = np.unique(np.concatenate([inside[(inside > low) & (inside <= high)], [high]]))
    first, last = 0, len(places) - 1  # the first one from which on there is a line
    while first < last:
        middle = (first + last) // 2
        if _slope(inside, int(places[middle]), high) is None:
            first = middle + 1
        else:
            last = middle
    least, last = first, len(places) - 1  # and the last one below which there is one
    if _slope(inside, low, int(places[least]) - 1) is None:
        return None
    while first < last:
        middle = (first + last + 1) // 2
        if _slope(inside, low, int(places[middle]) - 1) is None:
            last = middle - 1
        else:
            first = middle
    knee = int(places[(least + first) // 2])
    slopes = _slope(inside, low, knee - 1), _slope(inside, knee, high)
    return None if slopes[0] is None or slopes[1] is None else (knee, slopes[0], slopes[1])
