"""Requantizers: integers to codes, by thresholds, by multiply, add and shift, or by a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np

from toolchain.ir.blocks import Source
from toolchain.ir.limbs import mul_add_shift
from toolchain.ir.ops.node import Node, Pointwise
from toolchain.ir.rules import MOST, one_or_each, require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold(Pointwise):
    """y = start[c] + sum of step[c, t] over the t with x >= thresholds[c, t], thresholds ascending.

    ``thresholds`` is (C or 1, T), ``start`` (C or 1,), ``step`` (C or 1,) where all steps of a channel are one number,
    else (C or 1, T). An ascending quantizer has step 1, one behind a negative scale has step -1, a bipolar one step
    +-2, one behind a function that turns has steps of both signs.
    """

    thresholds: Array
    start: Array
    step: Array

    tight: ClassVar[bool] = True

    @cached_property
    def levels(self) -> Array:
        """The output (C or 1, T + 1) by how many thresholds are reached."""
        steps = self.step[:, None] if self.step.ndim == 1 else self.step
        count = max(len(self.thresholds), len(self.start), len(steps))
        sums = np.broadcast_to(steps, (count, self.thresholds.shape[1])).cumsum(axis=1)
        return np.concatenate([np.zeros((count, 1), dtype=np.int64), sums], axis=1) + self.start[:, None]

    def evaluate(self, x: Array) -> Array:
        """Return the sums of the steps that are reached."""
        count = reached(self.thresholds, x)
        if self.step.ndim == 1:
            return self.start + self.step * count
        return np.asarray(self.levels[np.arange(x.shape[-1]) if len(self.levels) > 1 else 0, count])

    def operations(self, shape: Shape) -> int:
        """An element with each of its channel's thresholds."""
        return prod(shape) * self.thresholds.shape[1]

    def largest(self, x: Source) -> int:
        """Return the magnitude of the level furthest from 0."""
        return int(np.abs(self.levels).max())

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range from the least level to the greatest."""
        return int(self.levels.min()), int(self.levels.max())

    def check(self, x: Value) -> None:
        """Thresholds ascend, one row for all channels or one each."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        fits = one_or_each(x.shape[2], self.thresholds, self.start, self.step)
        require(fits, self.name, "one entry or one a channel")
        require(bool((np.diff(self.thresholds, axis=1) >= 0).all()), self.name, "thresholds ascend")
        fits = self.step.ndim == 1 or self.step.shape[1] == self.thresholds.shape[1]
        require(fits, self.name, "one step or one a threshold")


@dataclass(frozen=True, kw_only=True, eq=False)
class MulShift(Pointwise):
    """y = clip(base[c] + round_half_even((x * mul[c] + add[c]) / 2**shift), low, high), the sums of any size.

    ``mul``, ``add`` and ``base`` are (C or 1,), of at most 62 bits each. ``base`` is even, so that it may as well be
    added to the numerator: with it ``add`` stays below 2**shift where many fraction bits meet large codes.
    """

    mul: Array
    add: Array
    shift: int
    low: int
    high: int
    base: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    tight: ClassVar[bool] = True

    @cached_property
    def lines(self) -> tuple[tuple[int, int], ...]:
        """Factor and offset of the numerator, base included, one pair for all channels or one a channel."""
        count = max(len(self.mul), len(self.add), len(self.base))
        mul, add, base = (np.broadcast_to(v, (count,)).tolist() for v in (self.mul, self.add, self.base))
        return tuple((m, a + (b << self.shift)) for m, a, b in zip(mul, add, base, strict=True))

    def line_range(self, low: int, high: int) -> Range:
        """The least and the greatest numerator for inputs of [low, high], of any size."""
        ends = [mul * x + add for mul, add in self.lines for x in (low, high)]
        return min(ends), max(ends)

    def evaluate(self, x: Array) -> Array:
        """The rounded line, clipped; in limbs where its numerator needs more than 63 bits."""
        reach = max(-int(x.min()), int(x.max())) if x.size else 0
        if reach * int(np.abs(self.mul).max()) + int(np.abs(self.add).max()) + (1 << self.shift) < 1 << 63:
            line = x * self.mul
            line += self.add
            y = round_half_even_shift(line, self.shift)
        else:
            y = mul_add_shift(x, self.mul, self.add, self.shift)
        if self.base.any():
            y = y + self.base
        return np.clip(y, self.low, self.high)

    def largest(self, x: Source) -> int:
        """Return the larger magnitude of both limits."""
        return max(abs(self.low), abs(self.high))

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of the images of both ends: a line that is rounded and clipped is monotonous."""
        ends = self.evaluate(np.array(x, dtype=np.int64).reshape(2, 1, 1, 1).repeat(len(self.lines), axis=3))
        return int(ends.min()), int(ends.max())

    def check(self, x: Value) -> None:
        """Numbers of at most 62 bits, one for all channels or one each."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        numbers = (self.mul, self.add, self.base)
        require(one_or_each(x.shape[2], *numbers), self.name, "one entry or one a channel")
        require(all(int(np.abs(a).max()) < MOST for a in numbers), self.name, "its numbers fit 62 bits")
        require(not (self.base & 1).any(), self.name, "the base is even")
        require(0 <= self.shift <= 62 and self.low <= self.high, self.name, "shift and limits are in order")
        require(max(-self.low, self.high) + int(np.abs(self.base).max()) < MOST, self.name, "the limits fit 62 bits")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup(Pointwise):
    """y = table[c, x - low]: any function of one integer. ``table`` is (C or 1, N), and has every input of its type."""

    table: Array
    low: int

    tight: ClassVar[bool] = True

    def evaluate(self, x: Array) -> Array:
        """Look every element up in the table of its channel."""
        return np.asarray(self.table[np.arange(x.shape[-1]) if len(self.table) > 1 else 0, x - self.low])

    def largest(self, x: Source) -> int:
        """Return the magnitude of the entry furthest from 0."""
        return int(np.abs(self.table).max())

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of the table's entries for inputs in the range ``x``."""
        entries = self.table[:, x[0] - self.low : x[1] - self.low + 1]
        return int(entries.min()), int(entries.max())

    def check(self, x: Value) -> None:
        """Check that every input has an entry."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        require(one_or_each(x.shape[2], self.table), self.name, "one table or one a channel")
        inside = self.low <= x.qint.min and x.qint.max < self.low + self.table.shape[1]
        require(inside, self.name, f"the table has every {x.qint}")


def reached(thresholds: Array, x: Array) -> Array:
    """Count the ascending ``thresholds`` (C or 1, T) of its channel that each element of ``x`` (..., C) reaches."""
    if len(thresholds) == 1:
        return np.searchsorted(thresholds[0], x, side="right")
    count = np.empty(x.shape, dtype=np.int64)
    for c, row in enumerate(thresholds):
        count[..., c] = np.searchsorted(row, x[..., c], side="right")
    return count


def round_half_even_shift(v: Array, shift: int) -> Array:
    """``v / 2**shift`` rounded to the nearest integer, halves to even."""
    if shift == 0:
        return v
    rounded: Array = v >> shift
    rounded &= 1  # one more where the quotient is odd makes it even
    rounded += v
    rounded += (1 << (shift - 1)) - 1
    rounded >>= shift
    return rounded


OPS: tuple[type[Node], ...] = (Threshold, MulShift, Lookup)
