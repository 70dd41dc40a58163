"""A graph as an engine codes it: how its values are stored, and its quantizers as lines and tables of these codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from toolchain.engine.layers import Curve, Requant, Stored
from toolchain.engine.limits import refused
from toolchain.engine.lines import lines_of
from toolchain.engine.requants import requant_of, untied
from toolchain.engine.stored_codes import stored_zero
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Range, Value

REQUANTIZERS = (MulShift, Threshold)

CODERS = (*REQUANTIZERS, Lookup)

WIDEST_CODE = 8
"""Bits of the widest stored code."""


@dataclass(frozen=True, eq=False)
class CodedGraph:
    """``graph`` and the values in it that the host reads, by name."""

    graph: Graph
    written: frozenset[str]

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each value."""
        return self.graph.consumers()

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """The ranges of the graph's values, see ``value_ranges``."""
        return value_ranges(self.graph)

    def codes(self) -> list[Value]:
        """The values that are stored."""
        return [self.graph.input, *(node.output for node in self.graph.nodes if isinstance(node, CODERS))]

    @cached_property
    def bits(self) -> int:
        """Bits of a stored code: words fill memory beats."""
        return 4 if all(self.fits(value, 4) for value in self.codes()) else WIDEST_CODE

    def fits(self, value: Value, bits: int) -> bool:
        """Return whether codes of ``bits`` bits hold ``value``."""
        return stored_zero(value.qint, self.ranges[value.name], bits) is not None

    def form(self, value: Value) -> Stored:
        """How ``value`` is stored; of one that is refused, anyhow."""
        return Stored(stored_zero(value.qint, self.ranges[value.name], self.bits) or 0)

    def other_form(self, value: Value) -> Stored | None:
        """How ``value`` may be stored instead, the largest code as 0; None where a reader takes no negated codes."""
        readers = self.readers[value.name]
        if value.name in self.written or not all(map(self._takes_negated, readers)):
            return None
        return Stored((1 << self.bits) - 1 - self.form(value).zero, -1)

    def _takes_negated(self, reader: Node) -> bool:
        """Return whether ``reader`` has factors that take the sign: its own, or those of a line behind its sum."""
        if isinstance(reader, Window):
            return all(map(self._takes_negated, self.readers[reader.output.name]))
        if isinstance(reader, GlobalSum) or (isinstance(reader, Pool) and reader.kind == "sum"):
            return isinstance(self.only_reader(reader.output), MulShift)
        return isinstance(reader, MatVec | Depthwise | Add | Multiply | MulShift | Lookup)

    def only_reader(self, value: Value) -> Node | None:
        """The node that alone reads ``value``, which the host does not read either."""
        readers = self.readers[value.name]
        return readers[0] if len(readers) == 1 and value.name not in self.written else None

    def requantized(self, node: MulShift | Threshold | Lookup, value: Value) -> tuple[Requant, Node]:
        """``node`` as a requantizer of ``value``, with the table that alone reads its codes; and the last of both.

        Raises:
            UserError: it is no line or two and no table that is the same in all channels.
        """
        curve = self.curve(node, value)
        if curve is not None:
            ones, (low, high) = np.ones(value.shape[2], dtype=np.int64), self.ranges[value.name]
            return Requant(ones, 0 * ones, 0, low, high, self.form(value), curve=curve), node
        if isinstance(node, Lookup):
            raise refused(node, f"its table has {node.table.shape[1]} codes, {1 << WIDEST_CODE} are stored")
        requant, made = self.untied(node, value), node.output
        after = self.only_reader(made)
        curve = None if after is None else self.curve(after, made, lines=self.has_tables)
        if after is None or curve is None:
            return requant, node
        return replace(requant, curve=curve), after

    @cached_property
    def has_tables(self) -> bool:
        """Whether an engine for the graph has tables of codes anyhow."""
        return any(isinstance(node, Lookup) for node in self.graph.nodes)

    def curve(self, node: Node, value: Value, *, lines: bool = False) -> Curve | None:
        """What ``node`` makes of codes ``value``, as a table; None where it cannot be or need not be one.

        Args:
            lines: a line or two become a table too, where all channels have the same: it spares a pass.
        """
        low, high = self.ranges[value.name]
        if not isinstance(node, CODERS) or not self.fits(value, self.bits):
            return None
        straight = isinstance(node, MulShift) or (isinstance(node, Threshold) and lines_of(node, low, high) is not None)
        if straight and not lines:
            return None
        codes = np.arange(low, high + 1).reshape(-1, 1).repeat(value.shape[2], axis=1)
        found = node.evaluate(codes)
        if (found != found[:, :1]).any():
            if straight:
                return None
            raise refused(node, "its table is another one in each channel", "give all channels one scale")
        return Curve(found[:, 0], low, self.form(node.output))

    def requant(self, node: MulShift | Threshold, value: Value) -> Requant:
        """``node`` as a requantizer of ``value``, see ``requant_of``."""
        kind, codes = node.output.qint, self.ranges[node.output.name]
        if kind.bits <= self.bits:
            codes = kind.min, kind.max
        return requant_of(node, value, self.ranges[value.name], self.form(node.output), codes)

    def untied(self, node: MulShift | Threshold, value: Value) -> Requant:
        """The same, right at ties of codes with an odd zero point too."""
        return untied(node, self.requant(node, value), self.ranges[value.name], self.other_form(node.output))
