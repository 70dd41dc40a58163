"""Inputs at which an operation changes what it answers: both sides of thresholds and limits, sums at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from math import gcd

import numpy as np

from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import Reduction
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv, dot_bounds
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.types import Array, Range, Shape

TIES = 6
"""Inputs a channel that lie in the middle between two codes."""

MOST_STEPS = 1 << 10
"""Thresholds or codes of a channel that are taken, evenly spread, of a quantizer with more."""


@dataclass(frozen=True)
class Group:
    """Vectors of one intent: an array (K, L) an input, K vectors of L elements."""

    name: str
    vectors: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.vectors[0])


@singledispatch
def boundary_vectors(node: Node, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    """Vectors of ``node`` at its own boundaries, about ``room`` of them at most; none where it has no such.

    ``shape`` is the first input's.
    """
    return []


def spread(count: int, most: int) -> Array:
    """Return at most ``most`` of ``count`` indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, max(1, min(count, most))).round().astype(np.int64))


def _dot_ends(weight: Array, r: Range, room: int) -> Group:
    """The inputs (K, L) that take rows of ``weight`` (N, L) to their largest and least dot products in turn.

    The rows of the largest and the least sum of all come first, then others, evenly spread.
    """
    least, largest = dot_bounds(weight, *r)
    rows = [int(largest.argmax()), int(least.argmin()), *spread(len(weight), room // 2).tolist()]
    chosen = weight[list(dict.fromkeys(rows))[: max(1, room // 2)]]
    both = np.stack([np.where(chosen > 0, r[1], r[0]), np.where(chosen > 0, r[0], r[1])], axis=1)
    return Group("an output's largest and least sum", (both.reshape(-1, weight.shape[1]),))


@boundary_vectors.register
def _(node: MatVec, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    return [_dot_ends(node.weight, ranges[0], room)]


@boundary_vectors.register
def _(node: GroupedMatVec, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    # a vector takes an output of every group to its end
    filters = node.weight.reshape(node.groups, node.group_outputs, node.taps, -1).transpose(1, 2, 0, 3)
    chosen = filters[spread(node.group_outputs, room // 2)].reshape(-1, shape[2])
    low, high = ranges[0]
    both = np.stack([np.where(chosen > 0, high, low), np.where(chosen > 0, low, high)], axis=1)
    return [Group("an output's largest and least sum in every group", (both.reshape(-1, shape[2]),))]


@boundary_vectors.register
def _(node: RowConv, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    # a row is the filter again and again: every result `taps` further on is its sum. In a narrower row each result is
    # of other taps, and has rows of its own
    outputs, taps, inputs = node.weight.shape
    first = [0] if shape[1] >= taps else [node.pad - column for column in range(node.output.shape[1])]
    group = _dot_ends(node.weight.reshape(outputs, -1), ranges[0], room // len(first))
    filters = group.vectors[0].reshape(-1, taps, inputs)
    rows = np.stack([filters[:, (np.arange(shape[1]) + tap) % taps] for tap in first], axis=1)
    return [Group(group.name, (rows.reshape(-1, shape[1] * inputs),))]


@boundary_vectors.register
def _(node: Depthwise, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    (low, high), weight = ranges[0], node.weight.reshape(1, -1)
    both = np.concatenate([np.where(weight > 0, high, low), np.where(weight > 0, low, high)])
    return [Group("every output's largest and least sum", (both,))]


@boundary_vectors.register
def _(node: Reduction, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    taps = node.taps_of(shape)
    one = _single(taps, spread(taps, room // 2)).repeat(node.output.shape[2], axis=1)
    low, high = ranges[0]
    both = np.concatenate([np.where(one, high, low), np.where(one, low, high)])
    return [Group("one tap unlike the others", (both,))]


@boundary_vectors.register
def _(node: ArgMax, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    low, high = ranges[0]
    one = _single(shape[2], spread(shape[2], room // 2))
    two = one | np.roll(one, 1, axis=1)
    return [
        Group("one channel is the largest", (np.where(one, high, low),)),
        Group("two channels are the largest", (np.where(two, high, low),)),
    ]


def _single(count: int, chosen: Array) -> Array:
    """Rows of ``count`` flags, in each the one of ``chosen`` set."""
    return np.arange(count) == chosen[:, None]


@boundary_vectors.register
def _(node: Threshold, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    steps = node.thresholds[:, spread(node.thresholds.shape[1], min(room // 2, MOST_STEPS))]
    sides = np.stack([steps - 1, steps], axis=2).reshape(len(steps), -1)
    points = np.broadcast_to(sides.T, (sides.shape[1], shape[2]))
    return [Group("both sides of a threshold", (np.clip(points, *ranges[0]),))]


@boundary_vectors.register
def _(node: Lookup, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    low, high = ranges[0]
    entries = low + spread(high - low + 1, min(room, MOST_STEPS))
    return [Group("an entry", (np.broadcast_to(entries[:, None], (len(entries), shape[2])),))]


@boundary_vectors.register
def _(node: MulShift, shape: Shape, ranges: Sequence[Range], room: int) -> list[Group]:
    changes = _code_changes(node, ranges[0], min(room // 3, MOST_STEPS))
    changes = np.broadcast_to(changes, (len(changes), shape[2]))
    ties = np.broadcast_to(_ties(node, ranges[0]), (TIES, shape[2]))
    return [Group("in the middle between two codes", (ties,)), Group("where the code changes", (changes,))]


def _code_changes(node: MulShift, r: Range, most: int) -> Array:
    """Inputs (3 * K, C or 1) around the K inputs at which the code of a channel becomes another, ``most`` at most.

    K codes of every channel, evenly spread, the first and the last that it can give among them: where it leaves
    ``low`` and where it reaches ``high``, if it does.
    """
    channels = len(node.lines)
    mul, add = (np.array(numbers, dtype=object) for numbers in zip(*node.lines, strict=True))
    if max(map(abs, node.line_range(*r))) + (1 << node.shift) < 1 << 62:  # else the bounds are Python's integers
        mul, add = mul.astype(np.int64), add.astype(np.int64)
    answers = node.evaluate(np.repeat(np.array(r, dtype=np.int64)[:, None, None, None], channels, axis=3))
    least, largest = answers.min(axis=0).reshape(1, -1), answers.max(axis=0).reshape(1, -1)
    count = min(max(1, most), max(1, int((largest - least).max())))
    share = np.linspace(0.0, 1.0, count)[:, None]
    codes = np.minimum(least + 1 + (share * (largest - least - 1)).round().astype(np.int64), largest)
    codes[-1] = largest
    # x * mul + add reaches the middle below the code
    bound = (codes.astype(mul.dtype) << node.shift) - ((1 << node.shift) >> 1) - add
    divisor = np.where(mul == 0, 1, mul)
    first = np.where(mul > 0, -(-bound // divisor), bound // divisor)
    around = np.stack([first - 1, first, first + 1], axis=1).reshape(-1, channels)
    return np.clip(around, *r).astype(np.int64)


def _ties(node: MulShift, r: Range) -> Array:
    """Inputs (``TIES``, C or 1) whose sum lies exactly between two codes; the one next to zero where none does."""
    found = np.full((TIES, len(node.lines)), min(max(0, r[0]), r[1]), dtype=np.int64)
    for c, (mul, add) in enumerate(node.lines):
        ties = _ties_of(node, mul, add, r)
        found[: len(ties), c] = ties
    return found


def _ties_of(node: MulShift, mul: int, add: int, r: Range) -> list[int]:
    """The first, the middle and the last two inputs x of a channel where x * mul + add is 2**(shift-1) mod 2**shift."""
    whole = 1 << node.shift
    common = gcd(mul, whole)
    rest = whole // 2 - add
    if node.shift == 0 or mul == 0 or rest % common:
        return []
    period = whole // common
    tie = rest // common * pow(mul // common, -1, period) % period
    low, high = sorted(((code << node.shift) - add) // mul for code in (node.low, node.high))
    low, high = max(low, r[0]), min(high, r[1])
    first = low + (tie - low) % period
    count = (high - first) // period + 1
    chosen = sorted({k for k in (0, 1, count // 2, count // 2 + 1, count - 2, count - 1) if 0 <= k < count})
    return [first + k * period for k in chosen]
