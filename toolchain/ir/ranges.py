"""Range of every value of a graph, from its nodes' weights and the codes that the host can send."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.types import Range


def input_range(graph: Graph) -> Range:
    """Smallest and largest code that the host can send: its encoding's, else those of the type, and zeros that pad."""
    kind, codes = graph.input.qint, graph.encoding
    low, high = (kind.min, kind.max) if codes is None else (codes.low, codes.high)
    return (min(low, 0), max(high, 0)) if graph.padded_input else (low, high)


def value_ranges(graph: Graph) -> dict[str, Range]:
    """Return by name the range of integers that every value of an INTEGER or HARDWARE graph can hold."""
    shapes = {name: value.shape for name, value in graph.values().items()}
    ranges = {graph.input.name: input_range(graph)}
    for node in graph.nodes:
        found = node.output_range(shapes[node.inputs[0]], *(ranges[name] for name in node.inputs))
        ranges |= dict.fromkeys((value.name for value in node.outputs), found)
    return ranges
