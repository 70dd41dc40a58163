"""Products of two values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Source, narrowest, whole
from toolchain.ir.ops.node import Node
from toolchain.ir.rules import require
from toolchain.ir.types import Array, QInt, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Node):
    """The product y = a * b, elementwise.

    ``b``, of type ``factor``, is a map like ``a`` or, where ``once`` is set, one position (1, 1, C) that multiplies
    every position of ``a``.
    """

    factor: QInt
    once: bool = False

    def evaluate(self, a: Array, b: Array) -> Array:
        """Multiply both operands."""
        return a * b

    def compute(self, *inputs: Source) -> Source:
        """Multiply whole maps at once, in the narrowest type that holds the products."""
        a, b = map(whole, inputs)
        return np.asarray(np.multiply(a, b, dtype=narrowest(blocks.largest(a) * blocks.largest(b))))

    def output_range(self, shape: Shape, a: Range, b: Range) -> Range:
        """The extremes are products of ends."""
        corners = [x * y for x in a for y in b]
        return min(corners), max(corners)

    def check(self, a: Value, b: Value) -> None:
        """Equal shapes, or one position of as many channels."""
        require(self.output.shape == a.shape, self.name, "keeps the shape")
        require(b.shape == ((1, 1, a.shape[2]) if self.once else a.shape), self.name, "shapes fit")
        require(not self.once or a.shape[:2] != (1, 1), self.name, "one position is multiplied as a map")
        require(b.type == self.factor, self.name, f"the factor is {self.factor}")
