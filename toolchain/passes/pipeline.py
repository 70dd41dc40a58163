"""The passes from a QONNX graph to hardware, in order."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.verify import Level, verify
from toolchain.passes.lower import UNIT_PIXEL, lower
from toolchain.passes.scaled import Numbers


def to_integer(graph: Graph, pixel: tuple[Numbers, Numbers] = UNIT_PIXEL) -> Graph:
    """MODEL -> INTEGER, verified at both ends; see ``lower``."""
    return verify(lower(verify(graph, Level.MODEL), pixel), Level.INTEGER)
