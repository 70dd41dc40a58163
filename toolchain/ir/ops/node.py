"""The node of a graph, which is its operation's definition: what it computes, its range, and what shapes fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike

from toolchain.ir import blocks
from toolchain.ir.blocks import Source, Windows, narrowest, one_thread, whole
from toolchain.ir.names import Names
from toolchain.ir.types import Array, Parallelism, QInt, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A node reads the values named ``inputs`` and defines ``outputs``; ``origin`` lists its ONNX nodes.

    An operation is a class of nodes. It answers ``evaluate`` and ``compute``; one on integers also ``output_range`` and
    ``check``. Each raises TypeError where an operation leaves it out.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    origin: tuple[str, ...] = ()
    parallelism: Parallelism | None = None

    moves: ClassVar[bool] = False
    """Whether the output holds the input's elements, unchanged, in other places."""
    renames: ClassVar[bool] = False
    """Whether the output is the input's stream under another name, so that no hardware is built."""
    held: ClassVar[bool] = False
    """Whether ``compute`` returns its input, as it is or laid out only when it is read."""
    tight: ClassVar[bool] = False
    """Whether elements that ``compute`` gives on integers are as narrow as the output's type; else at least 4 bytes."""

    @property
    def output(self) -> Value:
        """The only output of the node; ValueError if it has several."""
        (value,) = self.outputs
        return value

    @property
    def selects(self) -> bool:
        """Whether each integer of the output is one of an input's, apart from pads."""
        return self.moves

    def evaluate(self, *inputs: Any, **_: Any) -> Array:
        """The output for batched ``inputs`` (N, H, W, C): the specification; all outputs of a Fork are equal.

        Operations on integers take and give int64 and are exact; those of MODEL level work in float64.
        """
        raise self._lacks("evaluation")

    def compute(self, *inputs: Source) -> Source:
        """The numbers of ``evaluate``, in blocks, integers of any type in a type that holds the result."""
        raise self._lacks("evaluation in blocks")

    def output_range(self, shape: Shape, *inputs: Any, **_: Any) -> Range:
        """Smallest and largest output for inputs anywhere in the ranges ``inputs``, partial sums included.

        ``shape`` is the first input's.
        """
        raise self._lacks("range")

    def ranged(self, *inputs: Value) -> Self:
        """Itself, its outputs of the type that holds all that it gives for values of the types of ``inputs``."""
        ranges = ((x.qint.min, x.qint.max) for x in inputs)
        kind = QInt.holding(*self.output_range(inputs[0].shape, *ranges))
        return replace(self, outputs=tuple(replace(value, type=kind) for value in self.outputs))

    def check(self, *inputs: Any, **_: Any) -> None:
        """IllFormed unless shapes and attributes fit each other and the values ``inputs``."""
        raise self._lacks("check of shapes")

    def plain(self, x: Value, names: Names) -> tuple[Node, ...]:
        """The node, which reads ``x``, in more common operations: for hardware that has no unit of it.

        The last one defines its outputs; ``names`` gives new ones.
        """
        return (self,)

    def vectors(self, shape: Shape) -> int:
        """Return the number of parts of a frame of ``shape`` such that each result depends on one part alone."""
        return 1

    def operations(self, shape: Shape) -> int:
        """Multiplications and comparisons of a frame of ``shape``; 0 where they are few an element."""
        return 0

    def _lacks(self, what: str) -> TypeError:
        return TypeError(f"no {what} for {type(self).__name__}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Narrow(Node):
    """An operation whose ``evaluate`` is as exact on narrow integers."""

    tight: ClassVar[bool] = True

    def compute(self, *inputs: Source) -> Source:
        """Evaluate whole maps at once."""
        return self.evaluate(*map(whole, inputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rowwise(Node):
    """An operation whose output row depends on the same row of its inputs only."""

    def compute(self, *inputs: Source) -> Source:
        """``evaluate`` on a block of rows at a time."""
        count, rows, columns, depth = inputs[0].shape
        result: Array | None = None
        kinds = [_wide_type(source) for source in inputs]
        with one_thread():
            for block in blocks.blocks(count, rows, columns * depth * 8 * (1 + len(inputs))):
                found = self.evaluate(*(blocks.part(s, block, k) for s, k in zip(inputs, kinds, strict=True)))
                if result is None:
                    kind = found.dtype if found.dtype.kind != "i" else narrowest(self.largest(*inputs))
                    result = np.empty((count, rows, *found.shape[2:]), dtype=kind)
                result[block] = found
        return np.empty((0, *self.output.shape)) if result is None else result

    def largest(self, *inputs: Any, **_: Any) -> int:
        """Bound the magnitude of the result of integer ``inputs``, which are arrays or windows."""
        return int(np.iinfo(np.int64).max)

    def vectors(self, shape: Shape) -> int:
        """Return the number of rows."""
        return shape[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointwise(Rowwise):
    """An operation whose output position depends on the same position of its inputs only."""

    def vectors(self, shape: Shape) -> int:
        """Return the number of positions."""
        return shape[0] * shape[1]


def _wide_type(source: Source) -> DTypeLike:
    """The type that ``evaluate`` works in."""
    dtype = source.x.dtype if isinstance(source, Windows) else source.dtype
    return np.int64 if dtype.kind == "i" else dtype
