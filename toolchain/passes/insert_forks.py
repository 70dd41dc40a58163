"""x -> (a, b)   becomes   x -> Fork -> (x_0 -> a, x_1 -> b): a stream has one reader."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork
from toolchain.ir.types import Value


def insert_forks(graph: Graph) -> Graph:
    """A Fork behind every value that is read more than once, each of the graph's outputs counting as a read.

    A window that is read more than once is copied instead: its stream's order depends on the lanes of its reader.
    """
    return _fork_values(_copy_windows(graph))


def _reads(graph: Graph) -> dict[str, int]:
    counts = {name: len(readers) for name, readers in graph.consumers().items()}
    for output in graph.outputs:
        counts[output.value] += 1
    return counts


def _copy_windows(graph: Graph) -> Graph:
    reads = _reads(graph)
    shared = {n.output.name: n for n in graph.nodes if isinstance(n, Window) and reads[n.output.name] > 1}
    if not shared:
        return graph
    taken = graph.names()
    used: set[str] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = []
        for name in node.inputs:
            if name in shared and name in used:
                window = shared[name]
                value = replace(window.output, name=taken.fresh(name))
                nodes.append(replace(window, name=taken.fresh(window.name), outputs=(value,)))
                name = value.name
            used.add(name)
            inputs.append(name)
        nodes.append(node if tuple(inputs) == node.inputs else replace(node, inputs=tuple(inputs)))
    return graph.with_nodes(nodes)


def _fork_values(graph: Graph) -> Graph:
    reads = _reads(graph)
    if max(reads.values()) <= 1:
        return graph
    taken = graph.names()
    copies: dict[str, list[str]] = {}  # names of the copies not read yet
    nodes: list[Node] = []

    def fork(value: Value) -> None:
        if reads[value.name] > 1:
            names = [taken.fresh(f"{value.name}_{i}") for i in range(reads[value.name])]
            outputs = tuple(replace(value, name=name) for name in names)
            nodes.append(Fork(name=taken.fresh(f"{value.name}_fork"), inputs=(value.name,), outputs=outputs))
            copies[value.name] = names

    fork(graph.input)
    for node in graph.nodes:
        inputs = tuple(copies[name].pop(0) if name in copies else name for name in node.inputs)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        for value in node.outputs:
            fork(value)
    ends = [copies[o.value].pop(0) if o.value in copies else o.value for o in graph.outputs]
    return graph.with_nodes(nodes).with_output_values(ends)
