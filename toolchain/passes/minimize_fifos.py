"""Value(depth=5147)   becomes   Value(depth=4096): the least depths that the cycle simulator accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from toolchain.errors import UserError, unknown_name
from toolchain.ir.graph import Graph
from toolchain.ir.types import Value
from toolchain.passes.size_fifos import fifo_depths
from toolchain.simulate.fifos import minimal_depths


def minimize_fifos(graph: Graph) -> Graph:
    """Set the depth of every value to the least that keeps the pace of the slowest unit and cannot deadlock.

    Parallelism must be set. Depths are found from the bounds of ``size_fifos``; the same object when all stand.
    """
    return with_depths(graph, minimal_depths(graph, fifo_depths(graph)))


def with_depths(graph: Graph, depths: Mapping[str, int]) -> Graph:
    """``graph`` with these depths; the same object when all depths stand.

    Raises:
        UserError: a value without a depth, or a depth of a value that the graph does not have.
    """
    values = graph.values()
    for name in depths:
        if name not in values:
            raise unknown_name("value", name, values)
    missing = [name for name in values if name not in depths]
    if missing:
        raise UserError(
            f"value '{missing[0]}' has no FIFO depth",
            where="depths",
            hint="give every depth, or none to have them found",
        )
    if all(value.depth == depths[name] for name, value in values.items()):
        return graph

    def sized(value: Value) -> Value:
        return replace(value, depth=depths[value.name])

    nodes = tuple(replace(node, outputs=tuple(map(sized, node.outputs))) for node in graph.nodes)
    return replace(graph, input=sized(graph.input), nodes=nodes)
