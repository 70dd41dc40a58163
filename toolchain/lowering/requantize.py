"""Requantizers: staircases from an integer to a code, in exact arithmetic.

A requantizer is defined as ``clamp(round(bend(slope * q + offset)))`` with rational numbers, where ``bend`` is a
leaky ReLU or nothing. It becomes a ``Threshold`` or a ``MulShift`` node, whichever is cheaper, and the node is proven
equal to the definition over every integer its input can take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Any

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.evaluate import evaluate_node
from toolchain.ir.ops import Array, MulShift, Node, Threshold
from toolchain.ir.types import QInt
from toolchain.lowering.exact_division import INT64, floor_divide
from toolchain.resources import multiplier_slices

LUT_PER_DSP = 196
"""70,560 LUT / 360 DSP of a ZU3EG: what a DSP is worth when the two ways are compared."""
MAX_SHIFT = 60
MAX_STEPS = 1 << 23
"""Steps of a channel that a staircase is built and checked with."""
BLOCK_STEPS = 1 << 20
"""Steps of the channels that are searched and checked at once."""
MOST_COMPARATORS = (1 << 12) - 1
"""Most thresholds of a channel: Vitis HLS unrolls no loop further, and long before no device holds them."""
FEWER_BITS = (14, 12, 10)
COMPARED_BITS = 8
"""Bits that are tried in place of too many, and those whose codes comparators tell apart."""
COARSE = 16
"""Steps between those that are tried first in the search for a multiplier."""
FREE = 1 << 62
NONE = np.iinfo(np.int64).min
Line = tuple[int, int, int]


class TooManyCodes(Exception):
    """A staircase that no unit computes: its steps are too many to compare, and no line goes through them all.

    ``bits``: codes of so many bits could be built.
    """

    def __init__(self, what: str, bits: int) -> None:
        super().__init__(what)
        self.bits = bits


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
    rounding: str
    bipolar: bool
    floor: tuple[int, ...]
    ceiling: tuple[int, ...]
    bends: tuple[tuple[Fraction, Fraction], ...] = ()

    @property
    def codes(self) -> range:
        """The codes above the lowest one, ascending: one a step of the staircase, one at least."""
        return range(1, 2) if self.bipolar else range(self.low + 1, max(self.high, self.low + 1) + 1)

    def channels(self, chosen: slice) -> Requantizer:
        """Only some channels."""
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
        """Integers (a, b, d), d > 0, with slope * q + offset = (a * q + b) / d."""
        return _line(self.slope[channel], self.offset[channel])

    def bent_line(self, channel: int) -> Line:
        """The same for the line below the knee."""
        slope, offset = self.slope[channel], self.offset[channel]
        knee, leak = self.bends[channel]
        return _line(leak * slope, knee + leak * (offset - knee))


def _line(slope: Fraction, offset: Fraction) -> Line:
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
        codes = np.clip(_rounded(halves, whole, requantizer.rounding), requantizer.low, requantizer.high)
    return np.clip(codes, np.array(requantizer.floor)[:, None], np.array(requantizer.ceiling)[:, None])


def _halves(lines: list[Line], points: Array) -> tuple[Array, Array]:
    """floor(2 * v) of v = (a * q + b) / d at the points q, and whether 2 * v is that integer."""
    return floor_divide([2 * a for a, _, _ in lines], points, [2 * b for _, b, _ in lines], [d for _, _, d in lines])


def _above_knee(requantizer: Requantizer, channel: int, points: Array) -> Array:
    """Where slope * q + offset reaches the knee."""
    slope, (knee, _) = requantizer.slope[channel], requantizer.bends[channel]
    rest = knee - requantizer.offset[channel]
    if slope == 0:
        return np.full(len(points), rest <= 0)
    switch = min(max(ceil(rest / slope) if slope > 0 else floor(rest / slope), -INT64), INT64)
    return points >= switch if slope > 0 else points <= switch


def _rounded(halves: Array, whole: Array, rounding: str) -> Array:
    """round(v) from floor(2 * v) and whether 2 * v is that integer."""
    down, upper_half = halves >> 1, (halves & 1).astype(bool)
    integer, tie = ~upper_half & whole, upper_half & whole
    positive = halves >= 0
    up = {
        "ROUND": upper_half & (~tie | (down & 1).astype(bool)),
        "FLOOR": np.zeros_like(integer),
        "CEIL": ~integer,
        "UP": ~integer & positive,
        "DOWN": ~integer & ~positive,
        "HALF_UP": upper_half & (~tie | positive),
        "HALF_DOWN": upper_half & (~tie | ~positive),
    }
    return down + up[{"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}.get(rounding, rounding)]


def step_boundaries(codes: Array, rounding: str) -> tuple[Array, Array]:
    """Where ``round(v)`` reaches each code: at 2 * v >= bound, or > bound where the flag (strict) is set.

    Halves go to the even neighbour under ROUND, so the half below an odd code still belongs to the code beneath it.
    """
    half, whole, positive = 2 * codes - 1, 2 * codes, codes > 0
    up, down = (whole - 2, np.ones_like(positive)), (whole, np.zeros_like(positive))
    away, toward = np.where(positive, up, down), np.where(positive, down, up)
    return {
        "ROUND": (half, codes % 2 == 1),
        "HALF_EVEN": (half, codes % 2 == 1),
        "FLOOR": down,
        "CEIL": up,
        "UP": (away[0], away[1].astype(bool)),
        "DOWN": (toward[0], toward[1].astype(bool)),
        "ROUND_TO_ZERO": (toward[0], toward[1].astype(bool)),
        "HALF_UP": (half, ~positive),
        "HALF_DOWN": (half, positive),
    }[rounding]


def to_threshold(requantizer: Requantizer, low: int, high: int) -> tuple[Array, Array, Array]:
    """``thresholds``, ``start`` and ``step`` of the Threshold node for inputs of [low, high].

    A threshold of ``low`` always holds, one of ``high + 1`` never does.
    """
    channels = len(requantizer.slope)
    codes = np.array(requantizer.codes, dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)
    bounds, strict = zero if requantizer.bipolar else step_boundaries(codes, requantizer.rounding)
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
    """Where each line reaches each bound: (C, T).

    On a rising line the smallest integer q with 2 * (a * q + b) / d >= bound (> bound when strict), on a falling one
    the smallest for which that no longer holds; anything on a level line.
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
    found = _search(requantizer, rows, low, high, below)
    return None if found is None else _shared(*found)


def _search(
    requantizer: Requantizer, rows: tuple[Array, Array, Array], low: int, high: int, below: Array | None = None
) -> tuple[Array, Array, Array, Array] | None:
    """``mul``, ``add``, ``base`` and the smallest shift of each channel; None where one has none."""
    if requantizer.bipolar or requantizer.high == requantizer.low:
        return None
    thresholds, start, step = rows
    slope = np.array([_float(s) for s in requantizer.slope])
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
    reach = max(abs(low), abs(high) + 1)
    for shift in range(MAX_SHIFT + 1):
        if np.abs(slope).max() * 2.0**shift >= 2.0**60 or error * 2.0**shift + 2.0 * reach >= 2.0**62:
            break
        for delta in (0, 1, -1):
            todo = np.flatnonzero(found < 0)
            if not len(todo):
                break
            m = _rounded_slopes(requantizer, slope, todo, shift) + delta
            for some in filters:  # what fails on some steps fails on all
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
    """An even integer near each line's code at 0, and how far the codes lie from its line; None: beyond 2**50.

    ``at_zero`` (C, T): the code of each step less the slope times its input, NaN where none bounds the line.
    """
    least, most = np.nanmin(at_zero, axis=1), np.nanmax(at_zero, axis=1)
    middle = (least + most) / 2
    if not np.abs(middle).max() < 2.0**50:  # nor where float64 ends
        return None, 0.0
    base = 2 * np.rint(middle / 2).astype(np.int64)
    return base, float(np.maximum(most - base, base - least).max()) + 2.0


def _float(value: Fraction) -> float:
    """``value`` in float64, infinity where that ends."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _rounded_slopes(requantizer: Requantizer, slope: Array, channels: Array, shift: int) -> Array:
    """The slopes of ``channels`` with ``shift`` fraction bits; float64 has 53 bits, wider ones are rounded exactly."""
    scaled = slope[channels] * 2.0**shift
    if np.abs(scaled).max() < 2.0**50:
        return np.rint(scaled).astype(np.int64)
    return np.array([round(requantizer.slope[c] * (1 << shift)) for c in channels], dtype=np.int64)


def _shared(mul: Array, add: Array, base: Array, found: Array) -> Factors | None:
    """All channels at the largest shift; without a base where the offsets are below 2**60 with it. None: too wide."""
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
        """Only ``count`` steps, two at least, evenly spread."""
        columns = np.unique(np.linspace(0, self.codes.shape[1] - 1, max(count, 2)).astype(np.int64))
        return _Bands(self.codes[:, columns], self.inside[:, columns], self.outside[:, columns])

    def limits(self, rows: Array, mul: Array, shift: int) -> tuple[Array, Array]:
        """Least and most ``add`` for which ``mul`` gives every code of the rows."""
        half = (1 << shift) >> 1
        codes, inside, outside = self.codes[rows], self.inside[rows], self.outside[rows]
        bound = (codes << shift) - half + (codes & 1 if shift else 0)
        least = np.where(inside != NONE, bound - mul[:, None] * inside, -FREE)
        most = np.where(outside != NONE, bound - 1 - mul[:, None] * outside, FREE)
        return least.max(axis=1, initial=-FREE), most.min(axis=1, initial=FREE)


def prove(node: Node, defined: Callable[[Array], Array], rows: tuple[Array, Array, Array], low: int, high: int) -> None:
    """Raise FlowError unless ``node`` is as ``defined`` at every integer of [low, high] in every channel.

    ``defined`` gives the codes of points (C, T). Both are monotone staircases, so equality at the two sides of every
    step and at both ends is equality everywhere.
    """
    channels = len(rows[0])
    ends = np.full((channels, 1), low), np.full((channels, 1), high)
    points = np.clip(np.concatenate([rows[0], rows[0] - 1, *ends], axis=1), low, high)
    codes = evaluate_node(node, points.T[None, None])[0, 0].T
    expected = defined(points)
    for channel, t in np.argwhere(expected != codes)[:1]:
        found = f"input {points[channel, t]} of channel {channel} gives {codes[channel, t]}"
        raise FlowError(f"{node.name}: {found}, not {expected[channel, t]}")


def threshold_cost(steps: int, channels: int, input_bits: int) -> int:
    """LUTs of a threshold lane: a comparator a step, and the table of the channels it serves."""
    table = -(-channels // 64) * steps * input_bits if channels > 1 else 0
    return steps * input_bits + table


def mul_shift_cost(mul: Array, input_bits: int, output_bits: int) -> int:
    """LUT equivalent of a multiply-shift lane: its DSP slices, none for multipliers that are shifts."""
    magnitudes = np.abs(mul)
    powers = len(np.unique(magnitudes)) == 1 and int(magnitudes[0]).bit_count() <= 1  # no multiplier at all
    bits = int(magnitudes.max()).bit_length() + 1
    slices = 0 if powers else multiplier_slices(input_bits, bits)
    return LUT_PER_DSP * slices + input_bits + bits + 2 * output_bits


def _reachable(requantizer: Requantizer, low: int, high: int) -> Requantizer:
    """The same staircase on [low, high], with only the codes that it reaches there."""
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


def requantizer_node(requantizer: Requantizer, low: int, high: int, input_bits: int, **common: object) -> Node:
    """The cheaper exact node of ``requantizer`` for inputs of [low, high], proven equal to its definition.

    ``common`` holds the node's name, inputs, outputs and origin.

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
    return cheaper(requantizer, rows, low, high, input_bits, lambda at: definitions(requantizer, at), **common)


def _factors_by_block(requantizer: Requantizer, low: int, high: int, common: Mapping[str, object]) -> Factors | None:
    """Factors found and proven some channels at a time: the steps of all of them would take gigabytes."""
    count = len(requantizer.slope)
    size = max(1, BLOCK_STEPS // len(requantizer.codes))
    found = []
    for first in range(0, count, size):
        block = requantizer.channels(slice(first, first + size))
        rows = to_threshold(block, low, high)
        searched = _search(block, rows, low, high)
        factors = None if searched is None else _shared(*searched)
        if searched is None or factors is None:
            return None
        prove(_mul_shift(block, factors, common), lambda at, b=block: definitions(b, at), rows, low, high)  # type: ignore[misc]
        found.append(searched)
    return _shared(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _mul_shift(requantizer: Requantizer, factors: Factors, common: Mapping[str, object]) -> Node:
    limits = {"low": requantizer.low, "high": requantizer.high}
    found = {"mul": factors.mul, "add": factors.add, "shift": factors.shift, "base": factors.base}
    return MulShift(**found, **limits, **common)  # type: ignore[arg-type]


def _refusal(requantizer: Requantizer, low: int, high: int, common: Mapping[str, object]) -> TooManyCodes:
    """Why a staircase cannot be built, with the most bits, of those tried, that its quantizer could have."""
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
    """Whether a channel rounds halves to even at several inputs, which a factor that is not its slope cannot follow."""
    if requantizer.rounding not in ("ROUND", "HALF_EVEN"):
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
    **common: object,
) -> Node:
    """The cheaper node of the staircase ``rows``, proven equal to ``defined``; the requantizer gives slopes, limits.

    Raises:
        TooManyCodes: the steps are too many to compare and lie on no line.
    """
    channels, steps = rows[0].shape
    factors = to_mul_shift(requantizer, rows, low, high)
    node: Node
    if factors is not None and (
        steps > MOST_COMPARATORS
        or mul_shift_cost(factors.mul, input_bits, (requantizer.high - requantizer.low).bit_length())
        < threshold_cost(steps, channels, input_bits)
    ):
        node = _mul_shift(requantizer, factors, common)
    elif steps > MOST_COMPARATORS:
        raise TooManyCodes(f"{steps} thresholds a channel that lie on no line take as many comparators", COMPARED_BITS)
    else:
        node = Threshold(thresholds=rows[0], start=rows[1], step=rows[2], **common)  # type: ignore[arg-type]
    prove(node, defined, rows, low, high)
    return node
