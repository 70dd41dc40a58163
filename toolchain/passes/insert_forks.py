"""x -> (a, b)   becomes   x -> Fork -> (x_0 -> a, x_1 -> b): a stream has one reader."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.ir.ops import Fork, Node, Window
from toolchain.ir.types import Value


def insert_forks(graph: Graph) -> Graph:
    """A Fork behind every value that is read more than once, the graph's output counting as a read.

    A window that is read more than once is copied instead: its stream's order depends on the lanes of its reader.
    """
    return _fork_values(_copy_windows(graph))


def fresh_name(name: str, taken: set[str]) -> str:
    """``name``, or with the first number that makes it new; it is then taken."""
    number, new = 0, name
    while new in taken:
        number, new = number + 1, f"{name}_{number}"
    taken.add(new)
    return new


def _reads(graph: Graph) -> dict[str, int]:
    counts = {name: len(readers) for name, readers in graph.consumers().items()}
    counts[graph.output] += 1
    return counts


def _copy_windows(graph: Graph) -> Graph:
    reads = _reads(graph)
    shared = {n.output.name: n for n in graph.nodes if isinstance(n, Window) and reads[n.output.name] > 1}
    if not shared:
        return graph
    taken = _names(graph)
    used: set[str] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = []
        for name in node.inputs:
            if name in shared and name in used:
                window = shared[name]
                value = replace(window.output, name=fresh_name(name, taken))
                nodes.append(replace(window, name=fresh_name(window.name, taken), outputs=(value,)))
                name = value.name
            used.add(name)
            inputs.append(name)
        nodes.append(node if tuple(inputs) == node.inputs else replace(node, inputs=tuple(inputs)))
    return graph.with_nodes(nodes)


def _fork_values(graph: Graph) -> Graph:
    reads = _reads(graph)
    if max(reads.values()) <= 1:
        return graph
    taken = _names(graph)
    copies: dict[str, list[str]] = {}  # names of the copies not read yet
    nodes: list[Node] = []

    def fork(value: Value) -> None:
        if reads[value.name] > 1:
            names = [fresh_name(f"{value.name}_{i}", taken) for i in range(reads[value.name])]
            outputs = tuple(replace(value, name=name) for name in names)
            nodes.append(Fork(name=fresh_name(f"{value.name}_fork", taken), inputs=(value.name,), outputs=outputs))
            copies[value.name] = names

    fork(graph.input)
    for node in graph.nodes:
        inputs = tuple(copies[name].pop(0) if name in copies else name for name in node.inputs)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        for value in node.outputs:
            fork(value)
    output = copies[graph.output].pop(0) if graph.output in copies else graph.output
    return replace(graph, nodes=tuple(nodes), output=output)


def _names(graph: Graph) -> set[str]:
    return set(graph.values()) | {node.name for node in graph.nodes}
