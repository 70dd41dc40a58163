"""The conformance grids: every hardware unit in the shapes, bits and lanes that its C++ is compiled and run in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

from tests.conformance import UnitConformance
from tests.simulate import test_product_units, test_units, test_wide_units
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node


def _grids(*modules: ModuleType) -> list[type[UnitConformance]]:
    found = [pair for module in modules for pair in inspect.getmembers(module, inspect.isclass)]
    return [kind for name, kind in sorted(found) if issubclass(kind, UnitConformance) and name.startswith("Test")]


GRIDS = _grids(test_product_units, test_units)
"""The grids of every unit, by name."""
ALL_GRIDS = [*GRIDS, *_grids(test_wide_units)]
"""Those, and the grids of units that carry wide numbers."""


def units(grid: type[UnitConformance]) -> Iterator[tuple[Graph, Node]]:
    """The nodes of ``grid`` whose lanes are set, with their graphs."""
    for graph in grid().graphs():
        yield from ((graph, node) for node in graph.nodes if node.parallelism)
