"""HARDWARE graphs for tests: lanes set by hand, without the explorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.graphs import Builder
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.insert_width_converters import insert_width_converters
from toolchain.passes.size_fifos import size_fifos
from toolchain.units.limits import MEMORY_BITS


@dataclass(frozen=True)
class Target:
    """What the generator needs of a board."""

    name: str = "zu3eg"
    part: str = "xczu3eg-sbva484-1-i"


def with_lanes(graph: Graph, lanes: Mapping[str, tuple[Any, ...]], depth: int = 2) -> Graph:
    """``graph`` with the lanes of every node, products a DSP slice included, and one depth for every stream."""

    def place(node: Node) -> Node:
        outputs = tuple(replace(value, depth=depth) for value in node.outputs)
        return replace(node, outputs=outputs, parallelism=Parallelism(*lanes[node.name]))

    nodes = tuple(place(node) for node in graph.nodes)
    return replace(graph, input=replace(graph.input, depth=depth), nodes=nodes)


def laned(b: Builder, output: Value, *lanes: tuple[Any, ...]) -> Graph:
    """The graph of ``b`` with the lanes of its nodes in their order."""
    return with_lanes(b.graph(output), {node.name: own for node, own in zip(b.nodes, lanes, strict=True)})


def serial(graph: Graph) -> Graph:
    """``graph`` with forks, one element a cycle everywhere."""
    forked = insert_forks(graph)
    return with_lanes(forked, {node.name: (1, 1) for node in forked.nodes})


def accelerator(graph: Graph) -> Graph:
    """``graph``, whose lanes are set, as a whole accelerator: forks, converters, words that memory takes.

    A fork has the lanes of what it copies, of the input those of its first reader that has some. Where no paths meet,
    streams keep their depth.
    """
    forked = insert_forks(graph)
    first = next(node.parallelism for node in forked.nodes if node.parallelism is not None)
    lanes = {forked.input.name: first.lanes_in}
    nodes = []
    for node in forked.nodes:
        own = node.parallelism or Parallelism(*2 * (lanes[node.inputs[0]],))
        lanes |= {value.name: own.lanes_out for value in node.outputs}
        nodes.append(replace(node, parallelism=own))
    values = forked.values()

    def widest(name: str) -> int:
        most = max(1, MEMORY_BITS // values[name].qint.bits)
        return max(n for n in range(1, lanes[name] + 1) if lanes[name] % n == 0 and n <= most)

    ends = [widest(output.value) for output in forked.outputs]
    made = insert_width_converters(forked.with_nodes(nodes), widest(forked.input.name), ends)
    return size_fifos(made) if any(len(node.inputs) > 1 for node in made.nodes) else made
