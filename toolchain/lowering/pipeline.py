"""MODEL -> INTEGER, verified at both ends."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.verify import Level, verify
from toolchain.lowering.lower import UNIT_PIXEL, lower
from toolchain.lowering.scaled import Numbers


def to_integer(graph: Graph, pixel: tuple[Numbers, Numbers] = UNIT_PIXEL) -> Graph:
    """The INTEGER graph of the MODEL ``graph``; see ``lower``."""
    return verify(lower(verify(graph, Level.MODEL), pixel), Level.INTEGER)
