"""Value(depth=5147)   becomes   Value(depth=4096): the least depths that the cycle simulator accepts."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.passes.size_fifos import fifo_depths, with_depths
from toolchain.simulate.fifos import minimal_depths


def minimize_fifos(graph: Graph) -> Graph:
    """Set the depth of every value to the least that keeps the pace of the slowest unit and cannot deadlock.

    Parallelism must be set. Depths are found from the bounds of ``size_fifos``; the same object when all stand.
    """
    return with_depths(graph, minimal_depths(graph, fifo_depths(graph)))
