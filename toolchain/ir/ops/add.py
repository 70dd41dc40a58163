"""Weighted sums of two values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Source
from toolchain.ir.ops.node import Pointwise
from toolchain.ir.rules import one_or_each, require
from toolchain.ir.types import Array, Range, Shape, Value

ONE = np.ones(1, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Pointwise):
    """y = multipliers[0][c] * a + multipliers[1][c] * b, elementwise; each of the two is (C or 1,)."""

    multipliers: tuple[Array, Array] = (ONE, ONE)

    def evaluate(self, a: Array, b: Array) -> Array:
        """Add both operands, each times its multiplier."""
        first, second = self.multipliers
        return a * first + b * second

    def largest(self, *inputs: Source) -> int:
        """Bound the sum by both operands at their largest times their largest multipliers."""
        return sum(int(np.abs(m).max()) * blocks.largest(s) for m, s in zip(self.multipliers, inputs, strict=True))

    def output_range(self, shape: Shape, a: Range, b: Range) -> Range:
        """Return the least and greatest sum over the channels for operands in the ranges ``a`` and ``b``."""
        factors = zip(*(m.tolist() for m in np.broadcast_arrays(*self.multipliers)), strict=True)
        ends = [[sorted((m * span[0], m * span[1])) for m, span in zip(pair, (a, b), strict=True)] for pair in factors]
        return min(first[0] + second[0] for first, second in ends), max(first[1] + second[1] for first, second in ends)

    def check(self, a: Value, b: Value) -> None:
        """Check that the shapes of operands and sum are equal, and that a multiplier is one or one a channel."""
        require(a.shape == b.shape == self.output.shape, self.name, "shapes are equal")
        require(one_or_each(a.shape[2], *self.multipliers), self.name, "one entry or one a channel")
