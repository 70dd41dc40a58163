"""When the last word of a frame leaves an idle accelerator, from the units' schedules."""

from __future__ import annotations

from toolchain.dse.cycles import boundary_lanes, frame_cycles, kernel_extent, stream_cycles
from toolchain.ir.graph import Graph
from toolchain.ir.ops import ArgMax, GlobalSum, Node, Reshape, Window

_FILL = 6
"""Clock cycles from a word in to a word out of a pipelined unit: an assumption, HLS decides it."""


def latency_cycles(graph: Graph) -> int:
    """Cycles from the start to the last output word of one frame of a HARDWARE graph; an estimate.

    Words are taken to arrive evenly between a stream's first and last one. A window waits for the rows above its first
    output, a reduction for the whole frame; after that each unit is as fast as its input or its own cycles allow.
    """
    reader, writer = boundary_lanes(graph)
    first = {graph.input.name: float(_FILL)}
    last = {graph.input.name: float(_FILL + stream_cycles(graph.input, reader))}
    for node in graph.nodes:
        start = max(first[name] + _waits(node, graph) * (last[name] - first[name]) for name in node.inputs)
        arrived = max(last[name] for name in node.inputs)
        if not isinstance(node, Reshape):
            start += _FILL
            arrived += _FILL
        end = max(arrived, start + frame_cycles(node, graph))
        for value in node.outputs:
            first[value.name], last[value.name] = start, end
    write = stream_cycles(graph.value(graph.output), writer)
    return round(max(last[graph.output], first[graph.output] + write) + _FILL)


def _waits(node: Node, graph: Graph) -> float:
    """Share of the input that must be there before the first output."""
    if isinstance(node, (GlobalSum, ArgMax)):
        return 1.0
    if isinstance(node, Window):
        height = graph.value(node.inputs[0]).shape[0]
        return min(1.0, (kernel_extent(node)[0] - node.pads[0]) / height)
    return 0.0
