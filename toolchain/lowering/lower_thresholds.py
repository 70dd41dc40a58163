"""MultiThreshold as a staircase of integers, its steps wherever the thresholds stand."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.ops.model import MultiThreshold
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array, QInt, Value
from toolchain.lowering.requantize import Requantizer
from toolchain.lowering.requantizer_node import TooManyCodes, cheaper
from toolchain.lowering.scaled import Lane, Numbers, Scaled, Term, fractions, settle
from toolchain.lowering.state import Lowering, lower_node, single, where


@lower_node.register
def _(node: MultiThreshold, state: Lowering, x: Scaled) -> Scaled:
    x = settle(x)
    if len(x.terms) > 1:
        x = replace(x, terms=single(state, node, Scaled(x.terms, x.offset)).terms)
    unit, offset, start, step = node.coding
    low, high = start, start + step * node.thresholds.shape[1]
    value = Value(node.output.name, node.output.shape, QInt.holding(low, high))
    channels = _channels(node, x)
    term = x.terms[0]
    rows = _rows(channels, term.low, term.high)
    steps = np.array([-step if c.slope < 0 else step for c in channels], dtype=np.int64)
    starts = np.where(steps < 0, high, low)
    try:
        codes = cheaper(
            _line(channels, low, high, whole=step == 1),
            (rows, starts, steps),
            term.low,
            term.high,
            term.value.qint.bits,
            lambda points: start + step * np.array([c.counts(p) for c, p in zip(channels, points, strict=True)]),
            lut_per_dsp=state.lut_per_dsp,
            name=node.name,
            inputs=(term.value.name,),
            outputs=(value,),
            origin=node.origin,
        )
    except TooManyCodes as error:
        hint = f"make it one of at most {error.bits} bits"
        raise UserError(str(error), where=where(node), hint=hint) from error
    coded = state.append(codes, (term,))
    return Scaled((Term(coded.value, (unit,), coded.low, coded.high),), (offset,))


class _Channel(Lane):
    """A lane whose real value is compared with ascending ``thresholds``."""

    def __init__(self, x: Scaled, channel: int, thresholds: Numbers) -> None:
        super().__init__(x, channel)
        self.thresholds = thresholds

    def counts(self, points: Array) -> list[int]:
        """Return by definition how many thresholds each of the integers ``points`` reaches."""
        return [bisect_right(self.thresholds, self.real(q)) for q in points.tolist()]

    def first(self, threshold: Fraction, low: int, high: int) -> int:
        """Return the smallest integer that reaches ``threshold``, on a falling line the smallest that no longer does.

        A threshold that all reach is at ``low``, one that none reaches at ``high`` + 1; a falling line swaps the two.
        """
        always, never = (high + 1, low) if self.slope < 0 else (low, high + 1)
        if self.floor is not None and threshold <= self.floor:
            return always
        if self.ceiling is not None and threshold > self.ceiling:
            return never
        line = threshold if threshold >= self.knee else self.knee + (threshold - self.knee) / self.leak
        if self.slope == 0:
            return always if self.offset >= line else never
        position = (line - self.offset) / self.slope
        return min(max(floor(position) + 1 if self.slope < 0 else ceil(position), low), high + 1)


def _channels(node: MultiThreshold, x: Scaled) -> list[_Channel]:
    """Return one entry where all channels are alike, else one a channel."""
    given = (x.terms[0].scale, x.offset, x.floor, x.ceiling, x.knee, x.leak, node.thresholds)
    rows = [fractions(row) for row in node.thresholds.tolist()]
    return [_Channel(x, c, rows[c] if len(rows) > 1 else rows[0]) for c in range(max(map(len, given)))]


def _rows(channels: list[_Channel], low: int, high: int) -> Array:
    """Thresholds on the integer (C, T), ascending."""
    rows = [[channel.first(t, low, high) for t in channel.thresholds] for channel in channels]
    return np.sort(np.array(rows, dtype=np.int64), axis=1)


def _line(channels: list[_Channel], low: int, high: int, *, whole: bool) -> Requantizer:
    """Return the line through each channel's first and last threshold; the search for a multiplier starts from it."""
    slopes = []
    for channel in channels:
        run = channel.thresholds[-1] - channel.thresholds[0]
        slopes.append(channel.slope * (len(channel.thresholds) - 1) / run if run else Fraction(0))
    count = len(channels)
    return Requantizer(
        tuple(slopes), (Fraction(0),) * count, low, high, Rounding.FLOOR, not whole, (low,) * count, (high,) * count
    )
