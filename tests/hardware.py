"""HARDWARE graphs for tests: lanes set by hand, without the explorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism
from toolchain.passes.insert_forks import insert_forks


@dataclass(frozen=True)
class Target:
    """What the generator needs of a board."""

    name: str = "zu3eg"
    part: str = "xczu3eg-sbva484-1-i"


def with_lanes(graph: Graph, lanes: Mapping[str, tuple[int, ...]], depth: int = 2) -> Graph:
    """``graph`` with the lanes of every node, products a DSP slice included, and one depth for every stream."""

    def place(node: Node) -> Node:
        outputs = tuple(replace(value, depth=depth) for value in node.outputs)
        return replace(node, outputs=outputs, parallelism=Parallelism(*lanes[node.name]))

    nodes = tuple(place(node) for node in graph.nodes)
    return replace(graph, input=replace(graph.input, depth=depth), nodes=nodes)


def serial(graph: Graph) -> Graph:
    """``graph`` with forks, one element a cycle everywhere."""
    forked = insert_forks(graph)
    return with_lanes(forked, {node.name: (1, 1) for node in forked.nodes})
