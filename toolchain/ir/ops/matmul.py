"""Matrix products of two values, by head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Source, narrowest, whole
from toolchain.ir.ops.node import Node
from toolchain.ir.rules import require
from toolchain.ir.types import Array, QInt, Range, Shape, Value


def head_products(a: Array, b: Array, heads: int, *, columns: bool) -> Array:
    """y (N, 1, P, heads * O) of a (N, H, W, heads * K), P = H * W.

    y[p, h, o] is the sum over k of a[p, h, k] * b[o, h, k] for b of O positions, or with ``columns`` of
    a[p, h, k] * b[k, h, o] for b of K positions.
    """
    left, right = (x.reshape(len(x), -1, heads, x.shape[3] // heads).transpose(0, 2, 1, 3) for x in (a, b))
    found = left @ (right if columns else right.transpose(0, 1, 3, 2))
    return np.ascontiguousarray(found.transpose(0, 2, 1, 3)).reshape(len(a), 1, left.shape[2], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Node):
    """``head_products`` of ``a`` and ``b``, which is of type ``factor``."""

    factor: QInt
    heads: int = 1
    columns: bool = False

    def inputs_of(self, shape: Shape) -> int:
        """Terms of a sum, for ``a`` of ``shape``."""
        return shape[2] // self.heads

    @property
    def outputs_each(self) -> int:
        """Number of sums a head and position."""
        return self.output.shape[2] // self.heads

    def evaluate(self, a: Array, b: Array) -> Array:
        """Multiply the operands head by head."""
        return head_products(a, b, self.heads, columns=self.columns)

    def compute(self, *inputs: Source) -> Source:
        """Multiply whole maps at once, in the narrowest type that holds the sums."""
        a, b = map(whole, inputs)
        most = blocks.largest(a) * blocks.largest(b) * self.inputs_of(a.shape[1:])
        return self.evaluate(a.astype(kind := narrowest(most)), b.astype(kind))

    def output_range(self, shape: Shape, a: Range, b: Range) -> Range:
        """Bound sums of as many extreme products as there are terms; partial sums from zero are included."""
        corners = [0, *(x * y for x in a for y in b)]
        return min(corners) * self.inputs_of(shape), max(corners) * self.inputs_of(shape)

    def check(self, a: Value, b: Value) -> None:
        """Heads of equal size, whose terms and sums are as many in both."""
        require(a.shape[2] % self.heads == b.shape[2] % self.heads == 0, self.name, "the channels are those of heads")
        terms, places = self.inputs_of(a.shape), b.shape[0] * b.shape[1]
        other, sums = (places, b.shape[2] // self.heads) if self.columns else (b.shape[2] // self.heads, places)
        require(terms == other, self.name, "both have the terms of a sum")
        require(self.output.shape == (1, a.shape[0] * a.shape[1], self.heads * sums), self.name, "output shape")
        require(b.type == self.factor, self.name, f"the second operand is {self.factor}")

    def operations(self, shape: Shape) -> int:
        """Count a product a term."""
        return shape[0] * shape[1] * shape[2] * self.outputs_each


OPS: tuple[type[Node], ...] = (MatMul,)
