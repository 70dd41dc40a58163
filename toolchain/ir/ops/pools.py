"""Pools: one number a channel, of a window or of the whole map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Source, Windows, narrowest
from toolchain.ir.names import Names
from toolchain.ir.ops.node import Narrow, Node, Pointwise
from toolchain.ir.ops.window import Window
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction(Node):
    """An operation that takes one of many elements (tap, c) a channel, or their sum."""

    def taps_of(self, shape: Shape) -> int:
        """Elements a channel that a result depends on."""
        raise self._lacks("taps")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Reduction, Pointwise):
    """Maximum or sum over the taps of a window: (H, W, taps * C) -> (H, W, C). ``kind`` is "max" or "sum"."""

    kind: str
    taps: int

    tight: ClassVar[bool] = True

    @property
    def selects(self) -> bool:
        """Whether the pool is a maximum, which is one of its inputs."""
        return self.kind == "max"

    def taps_of(self, shape: Shape) -> int:
        """Return the number of taps of the window."""
        return self.taps

    def evaluate(self, x: Array) -> Array:
        """Maximum or sum over the taps."""
        view = x.reshape(*x.shape[:3], self.taps, -1)
        return view.max(axis=3) if self.kind == "max" else view.sum(axis=3)

    def compute(self, *inputs: Source) -> Source:
        """Reduce the windows tap by tap, without laying them out."""
        (x,) = inputs
        if not isinstance(x, Windows):
            return super().compute(*inputs)
        sums, geometry = self.kind == "sum", x.geometry
        kind = narrowest(x.largest() * (self.taps if sums else 1))
        rows, columns = geometry.shape
        channels = x.x.shape[3]
        result = np.empty((len(x.x), rows, columns, channels), dtype=kind)
        for block in blocks.blocks(len(x.x), rows, 2 * columns * channels * result.itemsize):
            padded = geometry.padded(x.x, block, kind)
            total = result[block]
            for i, view in enumerate(geometry.taps(padded, block[1].stop - block[1].start)):
                if i == 0:
                    total[...] = view
                else:
                    (np.add if sums else np.maximum)(total, view, out=total)
        return result

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the input's range for a maximum, or that of a sum of as many inputs as the window has taps."""
        return x if self.kind == "max" else _sum_range(x, self.taps)

    def check(self, x: Value) -> None:
        """The taps are those of the window."""
        require(self.kind in ("max", "sum"), self.name, "kind is max or sum")
        require(x.shape[2] == self.taps * self.output.shape[2], self.name, "taps fit the window")
        require(self.output.shape[:2] == x.shape[:2], self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalSum(Narrow):
    """Sum over all positions: (H, W, C) -> (1, 1, C)."""

    def evaluate(self, x: Array) -> Array:
        """Add all positions."""
        return x.sum(axis=(1, 2), keepdims=True)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of a sum of as many inputs as the map has positions."""
        return _sum_range(x, shape[0] * shape[1])

    def check(self, x: Value) -> None:
        """Check that one position is left."""
        require(self.output.shape == (1, 1, x.shape[2]), self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalMax(Reduction, Narrow):
    """Maximum over all positions: (H, W, C) -> (1, 1, C)."""

    @property
    def selects(self) -> bool:
        """True: a maximum is one of its inputs."""
        return True

    def taps_of(self, shape: Shape) -> int:
        """Return the number of positions."""
        return shape[0] * shape[1]

    def evaluate(self, x: Array) -> Array:
        """Return the largest position of every channel."""
        return x.max(axis=(1, 2), keepdims=True)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of the input: a maximum is one of its elements."""
        return x

    def check(self, x: Value) -> None:
        """Check that one position is left."""
        require(self.output.shape == (1, 1, x.shape[2]), self.name, "output shape")

    def plain(self, x: Value, names: Names) -> tuple[Node, ...]:
        """A window as large as the map, and its maximum."""
        kernel = x.shape[0], x.shape[1]
        view = replace(self.output, name=names.fresh(f"{self.name}_map"), shape=(1, 1, x.size), type=x.type)
        name = names.fresh(f"{self.name}_window")
        window = Window(name=name, inputs=self.inputs, outputs=(view,), origin=self.origin, kernel=kernel)
        pool = Pool(
            name=self.name,
            inputs=(view.name,),
            outputs=self.outputs,
            origin=self.origin,
            kind="max",
            taps=self.taps_of(x.shape),
        )
        return window, pool


def _sum_range(x: Range, count: int) -> Range:
    return min(x[0] * count, 0), max(x[1] * count, 0)


OPS: tuple[type[Node], ...] = (Pool, GlobalSum, GlobalMax)
