"""The staircase of a quantized sum of two integers, as corners of the pairs on either side of every step.

``code(a, b) = clamp(round(bend(alpha[c] * a + beta[c] * b + offset[c])))`` rises in one direction of the plane, so the
pairs that reach a code are the integer points of a half-plane in the box of the operands' ranges. A sum of multiples
m * a + n * b keeps the two sides of a step apart when its least value at the corners above exceeds its greatest at
those below (``lattice.py``): checked there, it is proven for every pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

import numpy as np

from toolchain.ir.types import Array, Range
from toolchain.lowering.lattice import Point, greatest_corners, least_corners
from toolchain.lowering.requantize import Requantizer
from toolchain.lowering.scaled import Numbers

FREE = 1 << 62
"""Beyond every sum: the bound of a side that holds no pair."""


@dataclass(frozen=True)
class PairSteps:
    """Steps (C, T), ascending, with the corners (C, T, V, 2) of the pairs at or ``above`` and ``below`` each.

    Rows of fewer corners repeat one; ``reached`` and ``missed`` (C, T) tell whether a side holds any pair. ``signs``
    (C, 2) are those of alpha and beta, which the factors of a sum must share.
    """

    above: Array
    below: Array
    reached: Array
    missed: Array
    signs: Array

    @property
    def active(self) -> Array:
        """Whether a step has pairs on both sides, (C, T)."""
        return self.reached & self.missed

    def some(self, channels: Array) -> PairSteps:
        """Return the steps of ``channels``."""
        return self._taken(channels)

    def every(self, stride: int) -> PairSteps:
        """Return every ``stride``-th step, from the first."""
        return self._taken(slice(None), slice(None, None, stride))

    def _taken(self, channels: Array | slice, steps: slice = slice(None)) -> PairSteps:
        at = (channels, steps)
        return PairSteps(self.above[at], self.below[at], self.reached[at], self.missed[at], self.signs[channels])

    def sums(self, factors: Array) -> tuple[Array, Array]:
        """Return least sums above and greatest ones below each step (C, T) for ``factors`` (C, 2); +-FREE: no pair."""
        least = np.einsum("ctvi,ci->ctv", self.above, factors).min(axis=2)
        greatest = np.einsum("ctvi,ci->ctv", self.below, factors).max(axis=2)
        return np.where(self.reached, least, FREE), np.where(self.missed, greatest, -FREE)


def pair_steps(first: Requantizer, beta: Numbers, ranges: tuple[Range, Range]) -> PairSteps:
    """The steps of ``first`` with ``beta[c] * b`` added to its line, for all pairs of integers in ``ranges``."""
    steps = [(0, False)]
    if not first.bipolar:
        bounds, strict = first.rounding.steps(np.array(first.codes, dtype=np.int64))
        steps = list(zip(bounds.tolist(), strict.tolist(), strict=True))
    sides = [list(_channel(first, beta, c, steps, ranges)) for c in range(len(beta))]
    above, reached = _padded([[up for up, _ in rows] for rows in sides])
    below, missed = _padded([[down for _, down in rows] for rows in sides])
    signs = [[_sign(a), _sign(b)] for a, b in zip(first.slope, beta, strict=True)]
    return PairSteps(above, below, reached, missed, np.array(signs, dtype=np.int64))


def _sign(slope: Fraction) -> int:
    return -1 if slope < 0 else 1


def _channel(
    first: Requantizer, beta: Numbers, channel: int, steps: list[tuple[int, bool]], ranges: tuple[Range, Range]
) -> Iterator[tuple[list[Point], list[Point]]]:
    """Corners above and below every step of one channel.

    Along a falling operand the box is mirrored, so that the half-plane rises in both directions.
    """
    slopes = (first.slope[channel], beta[channel])
    unit = lcm(*(s.denominator for s in slopes))
    p, q = (int(abs(s) * unit) for s in slopes)
    signs = [_sign(s) for s in slopes]
    left, bottom = (min(sign * low, sign * high) for sign, (low, high) in zip(signs, ranges, strict=True))
    width, height = (high - low for low, high in ranges)

    def placed(points: list[Point]) -> list[Point]:
        return [(signs[0] * (left + x), signs[1] * (bottom + y)) for x, y in points]

    for code, (bound, strict) in zip(first.codes, steps, strict=True):
        if code <= first.floor[channel]:
            yield placed([(0, 0)]), []
        elif code > first.ceiling[channel]:
            yield [], placed([(width, height)])
        else:
            line = (_unbent(first, channel, Fraction(bound, 2)) - first.offset[channel]) * unit
            reach = (floor(line) + 1 if strict else ceil(line)) - p * left - q * bottom
            sides = (corners(p, q, reach, width, height) for corners in (least_corners, greatest_corners))
            up, down = (placed(points) for points in sides)
            yield up, down


def _unbent(first: Requantizer, channel: int, bound: Fraction) -> Fraction:
    """The value that the bend takes to ``bound``."""
    if not first.bends:
        return bound
    knee, leak = first.bends[channel]
    return bound if bound > knee else knee + (bound - knee) / leak


def _padded(rows: Sequence[Sequence[list[Point]]]) -> tuple[Array, Array]:
    """Corners as one array (C, T, V, 2), and where there are any (C, T)."""
    most = max((len(points) for row in rows for points in row), default=1) or 1
    filled = [[(points or [(0, 0)]) + (points or [(0, 0)])[-1:] * (most - max(len(points), 1)) for points in row]
              for row in rows]  # fmt: skip
    shape = (len(rows), len(rows[0]), most, 2)
    return np.array(filled, dtype=np.int64).reshape(shape), np.array(
        [[bool(p) for p in row] for row in rows], dtype=bool
    )


def separating(steps: PairSteps, slopes: Sequence[tuple[Fraction, Fraction]]) -> Array:
    """Factors (C, 2) whose sum keeps both sides of every step apart, with the simplest ratio that does.

    Channels with one ratio of their ``slopes`` get one pair. A ratio that fails at a step names two pairs of integers
    whose sums it has in the wrong order, hence a bound of the ratios that have them right; the next try is the fraction
    of least terms between the bounds so far. These are fractions of differences inside the box, so that the first
    factor ends up at most twice the range of the second operand, and the other way round.
    """
    groups: dict[Fraction | None, list[int]] = {}
    for c, (a, b) in enumerate(slopes):
        groups.setdefault(abs(a / b) if b else None, []).append(c)
    factors = np.zeros((len(slopes), 2), dtype=np.int64)
    for ratio, channels in groups.items():
        if ratio is None or ratio == 0:
            found = (int(ratio is None), int(ratio is not None))
        else:
            found = _simplest_ratio(steps.some(np.array(channels)))
        factors[channels] = np.array(found) * steps.signs[channels]
    return factors


def _simplest_ratio(steps: PairSteps) -> tuple[int, int]:
    low, high = Fraction(0), None
    above, below = (side * steps.signs[:, None, None] for side in (steps.above, steps.below))
    active = np.argwhere(steps.active)
    above, below = (side[active[:, 0], active[:, 1]] for side in (above, below))
    while True:
        ratio = simplest_between(low, high)
        factors = np.array([ratio.numerator, ratio.denominator], dtype=np.int64)
        up, down = (above @ factors).argmin(axis=1), (below @ factors).argmax(axis=1)
        rows = np.arange(len(active))
        apart = above[rows, up] - below[rows, down]
        wrong = np.unique(apart[apart @ factors <= 0], axis=0)
        if not len(wrong):
            return ratio.numerator, ratio.denominator
        for x, y in wrong.tolist():
            if x > 0:
                low = max(low, Fraction(-y, x))
            else:
                high = Fraction(-y, x) if high is None else min(high, Fraction(-y, x))


def simplest_between(low: Fraction, high: Fraction | None) -> Fraction:
    """The fraction of least terms with low < fraction < high; ``high`` None is infinity, ``low`` not negative."""
    whole = floor(low)
    if high is None or whole + 1 < high:
        return Fraction(whole + 1)
    rest = low - whole
    return whole + 1 / simplest_between(1 / (high - whole), 1 / rest if rest else None)
