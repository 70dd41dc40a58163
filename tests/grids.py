"""The conformance grids: every hardware unit in the shapes, bits and lanes that its C++ is compiled and run in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from tests.conformance import UnitConformance
from tests.simulate import test_units
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node

GRIDS = [
    kind
    for _, kind in inspect.getmembers(test_units, inspect.isclass)
    if issubclass(kind, UnitConformance) and kind is not UnitConformance
]


def units(grid: type[UnitConformance]) -> Iterator[tuple[Graph, Node]]:
    """The nodes of ``grid`` whose lanes are set, with their graphs."""
    for graph in grid().graphs():
        yield from ((graph, node) for node in graph.nodes if node.parallelism)
