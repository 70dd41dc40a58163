"""Cycles and resources of whole graphs: units, the streams between them, the reader and the writer.

The slowest unit sets the frame rate. Pipeline fill and the prologues of units come once per call of the accelerator,
not once per frame, and are counted apart. Resources are those after placement and routing, as a sum of parts
(docs/decisions/0004-cost-model.md).
"""

from __future__ import annotations

from math import ceil

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.fabric_costs import AXI_BRAM18, AXI_FF, AXI_LUT, STREAM_LUT, fifo, logic
from toolchain.units.limits import MEMORY_BITS, MIN_DEPTH
from toolchain.units.order import parallelism
from toolchain.units.table import schedule, unit_cost


def frame_cycles(node: Node, graph: Graph, lanes: Parallelism | None = None) -> int:
    """Cycles that ``node`` takes for one frame with ``lanes``, or with its own parallelism.

    Raises:
        FlowError: no parallelism is known.
        TypeError: an operation without a unit.
    """
    lanes = lanes or parallelism(node)
    return schedule(node, graph.value(node.inputs[0]), lanes).cycles


def graph_cycles(graph: Graph) -> int:
    """Cycles per frame of the slowest unit of a HARDWARE graph, the reader and the writers included."""
    written = zip(graph.ends, writer_lanes(graph), strict=True)
    ends = (stream_cycles(graph.input, reader_lanes(graph)), *(stream_cycles(value, n) for value, n in written))
    return max(*ends, *(frame_cycles(node, graph) for node in graph.nodes))


def reader_lanes(graph: Graph) -> int:
    """Lanes of the input reader of a HARDWARE graph."""
    readers = graph.consumers()[graph.input.name]
    return readers[0].parallelism.lanes_in if readers and readers[0].parallelism else 1


def writer_lanes(graph: Graph) -> list[int]:
    """Lanes of the writer of every output of a HARDWARE graph."""
    producers, first = graph.producers(), reader_lanes(graph)
    ends = [producers.get(output.value) for output in graph.outputs]
    return [end.parallelism.lanes_out if end and end.parallelism else first for end in ends]


def stream_cycles(value: Value, lanes: int) -> int:
    """Cycles of the input reader or the output writer: one word of ``lanes`` elements each."""
    return value.size // lanes


def frame_bytes(graph: Graph) -> int:
    """Bytes that a frame of a HARDWARE graph moves over the memory ports, in whole words of whole lane groups."""
    total_bytes = 0
    ends = (graph.input, *graph.ends)
    for value, lanes in zip(ends, (reader_lanes(graph), *writer_lanes(graph)), strict=True):
        groups = MEMORY_BITS // (lanes * value.qint.bits)
        total_bytes += ceil(value.size / lanes / groups) * MEMORY_BITS // 8
    return total_bytes


def cost(node: Node, graph: Graph, lanes: Parallelism | None = None) -> Resources:
    """Resources of ``node`` with ``lanes`` or its own parallelism, and of the streams it writes.

    Raises:
        FlowError: no parallelism is known.
        TypeError: an operation without a unit.
    """
    lanes = lanes or parallelism(node)
    first, *others = (graph.value(name) for name in node.inputs)
    unit = unit_cost(node, first, lanes, *others)
    if node.renames:
        return unit
    return total((unit, *(stream_cost(value, lanes.lanes_out, ultra=lanes.ultra) for value in node.outputs)))


def stream_cost(value: Value, lanes: int, *, ultra: bool = False) -> Resources:
    """The FIFO that carries ``value``, two words deep unless it says otherwise."""
    return fifo(value.depth or MIN_DEPTH, lanes * value.qint.bits, ultra=ultra)


def reader_cost(value: Value, lanes: int) -> Resources:
    """The unit that reads the accelerator's input from memory, with the stream it writes."""
    return total((_AXI, logic(STREAM_LUT), stream_cost(value, lanes)))


def writer_cost() -> Resources:
    """The unit that writes the accelerator's output to memory."""
    return total((_AXI, logic(STREAM_LUT)))


def graph_cost(graph: Graph) -> Resources:
    """Everything in a HARDWARE graph: units, streams, the reader and the writers; not the shell around them.

    A Reshape has no stream of its own, so the depth of its output is not counted.
    """
    ends = (reader_cost(graph.input, reader_lanes(graph)), *(writer_cost() for _ in graph.outputs))
    return total((*ends, *(cost(node, graph) for node in graph.nodes)))


_AXI = Resources(lut=AXI_LUT, ff=AXI_FF, bram18=AXI_BRAM18)
