"""Operations that lead streams from unit to unit; HARDWARE level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ir.blocks import Source
from toolchain.ir.ops.node import Node
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wiring(Node):
    """An operation that passes its input on as it is."""

    moves: ClassVar[bool] = True
    held: ClassVar[bool] = True

    def evaluate(self, x: Array) -> Array:
        """Return the input."""
        return x

    def compute(self, *inputs: Source) -> Source:
        """Return the input."""
        return inputs[0]

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of the input: wiring keeps every value."""
        return x

    def check(self, x: Value) -> None:
        """Check that the outputs have the input's shape."""
        for value in self.outputs:
            require(value.shape == x.shape, self.name, "keeps the shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class Fork(_Wiring):
    """Copies of one stream for several readers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthConvert(_Wiring):
    """The same elements in words of another width."""


OPS: tuple[type[Node], ...] = (Fork, WidthConvert)
