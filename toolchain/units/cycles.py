"""Exact clock cycles per frame of every unit, at initiation interval 1.

The slowest unit sets the frame rate. Pipeline fill and the window units' prologue come once per call of the
accelerator, not once per frame, and are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, DepthToSpace, Reshape, Slice, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Parallelism, Value


def frame_cycles(node: Node, graph: Graph, lanes: Parallelism | None = None) -> int:
    """Cycles that ``node`` takes for one frame with ``lanes``, or with its own parallelism.

    Raises:
        ValueError: no parallelism is known.
        TypeError: an operation without a cycle count.
    """
    lanes = lanes or node.parallelism
    if lanes is None:
        raise ValueError(f"node '{node.name}' has no parallelism")
    return cycles(node, graph.value(node.inputs[0]), lanes)


def graph_cycles(graph: Graph) -> int:
    """Cycles per frame of the slowest unit of a HARDWARE graph, the reader and the writer included."""
    reader, writer = boundary_lanes(graph)
    ends = (stream_cycles(graph.input, reader), stream_cycles(graph.value(graph.output), writer))
    return max(*ends, *(frame_cycles(node, graph) for node in graph.nodes))


def boundary_lanes(graph: Graph) -> tuple[int, int]:
    """Lanes of the input reader and of the output writer of a HARDWARE graph."""
    readers = graph.consumers()[graph.input.name]
    producer = graph.producers().get(graph.output)
    first = readers[0].parallelism.lanes_in if readers and readers[0].parallelism else 1
    last = producer.parallelism.lanes_out if producer and producer.parallelism else first
    return first, last


def stream_cycles(value: Value, lanes: int) -> int:
    """Cycles of the input reader or the output writer: one word of ``lanes`` elements each."""
    return value.size // lanes


@singledispatch
def cycles(node: Node, x: Value, lanes: Parallelism) -> int:
    """Cycles per frame of ``node`` on input ``x`` with ``lanes``; lanes divide what they split."""
    raise TypeError(f"no cycle count for {type(node).__name__}")


def is_parallel(node: Window, lanes: Parallelism) -> bool:
    """Whether the window unit emits all taps of a channel group at once (else one tap a cycle)."""
    return node.taps > 1 and lanes.lanes_out == node.taps * lanes.lanes_in


def kernel_extent(node: Window) -> tuple[int, int]:
    """Rows and columns that the dilated kernel spans."""
    return (node.kernel[0] - 1) * node.dilation[0] + 1, (node.kernel[1] - 1) * node.dilation[1] + 1


def row_words(x: Value, lanes: int) -> int:
    """Stream words of one row of ``x``."""
    return x.shape[1] * x.shape[2] // lanes


def row_cycles(node: Window, x: Value, lanes: Parallelism) -> int:
    """Cycles in which the window unit emits one output row: all padded columns in parallel, else all taps in turn."""
    columns, groups = node.output.shape[1], x.shape[2] // lanes.lanes_in
    if is_parallel(node, lanes):
        return ((columns - 1) * node.stride[1] + kernel_extent(node)[1]) * groups
    return columns * groups * node.taps


def buffer_rows(node: Window, x: Value) -> int:
    """Input rows that the window unit stores: those the kernel spans, those read meanwhile, and the frame's rest."""
    return kernel_extent(node)[0] + node.stride[0] + max(0, x.shape[0] - node.stride[0] * node.output.shape[0])


@dataclass(frozen=True)
class RowSteps:
    """The loops of a row convolution for ``columns`` positions: blocks of outputs, blocks of inputs within."""

    output_blocks: int
    input_blocks: int

    @property
    def cycles(self) -> int:
        """Cycles of a step."""
        return self.output_blocks * self.input_blocks


def row_steps(node: RowConv, lanes: Parallelism) -> RowSteps:
    """The loops of ``node`` with ``lanes``."""
    outputs, _, k = node.weight.shape
    return RowSteps(outputs * lanes.columns // lanes.lanes_out, k // lanes.lanes_in)


@dataclass(frozen=True)
class GroupSteps:
    """The loops of a grouped product: ``together`` groups at once, ``rounds`` of them a position.

    A round has blocks of outputs, and blocks of inputs within. ``simd`` and ``pe`` are those of a group.
    """

    together: int
    rounds: int
    output_blocks: int
    input_blocks: int
    simd: int
    pe: int

    @property
    def cycles(self) -> int:
        """Cycles of a round."""
        return self.output_blocks * self.input_blocks


def group_steps(node: GroupedMatVec, lanes: Parallelism) -> GroupSteps:
    """The loops of ``node`` with ``lanes``."""
    together = node.together(lanes)
    simd, pe = lanes.lanes_in // together, lanes.lanes_out // together
    blocks = node.group_outputs // pe, node.group_inputs // simd
    return GroupSteps(together, node.groups // together, *blocks, simd, pe)


def silent_steps(node: RowConv, lanes: Parallelism) -> int:
    """First steps of a row in which no column of it leaves: without padding, those that reach past its edge."""
    return 0 if node.pad else (node.taps - 1) // lanes.columns


@singledispatch
def prologue(node: Node, x: Value, lanes: Parallelism) -> int:
    """Cycles that ``node`` works before its first frame begins to leave, once per call."""
    return 0


@prologue.register
def _(node: Window, x: Value, lanes: Parallelism) -> int:
    """The rows under the kernel."""
    return max(0, kernel_extent(node)[0] - node.pads[0]) * row_words(x, lanes.lanes_in)


@prologue.register(Upsample)
@prologue.register(DepthToSpace)
def _(node: Node, x: Value, lanes: Parallelism) -> int:
    """The row that is spread first."""
    return row_words(x, lanes.lanes_in)


@prologue.register
def _(node: RowConv, x: Value, lanes: Parallelism) -> int:
    """The first columns, and two steps: columns leave two steps behind their products."""
    shape = row_steps(node, lanes)
    return lanes.columns * shape.input_blocks + 2 * shape.cycles


@cycles.register
def _(node: Window, x: Value, lanes: Parallelism) -> int:
    """While output row p leaves, the rows that row p + 1 needs come in; a phase lasts as long as the longer."""
    rows = node.output.shape[0]
    emit, read = row_cycles(node, x, lanes), row_words(x, lanes.lanes_in)
    last_rows = node.stride[0] + x.shape[0] - node.stride[0] * rows
    return (rows - 1) * max(emit, node.stride[0] * read) + max(emit, last_rows * read)


@cycles.register
def _(node: MatVec, x: Value, lanes: Parallelism) -> int:
    outputs, k = node.weight.shape
    return x.shape[0] * x.shape[1] * (outputs // lanes.lanes_out) * (k // lanes.lanes_in)


@cycles.register
def _(node: GroupedMatVec, x: Value, lanes: Parallelism) -> int:
    steps = group_steps(node, lanes)
    return x.shape[0] * x.shape[1] * steps.rounds * steps.cycles


@cycles.register
def _(node: RowConv, x: Value, lanes: Parallelism) -> int:
    return x.shape[0] * x.shape[1] // lanes.columns * row_steps(node, lanes).cycles


@cycles.register(Depthwise)
@cycles.register(Pool)
@cycles.register(GlobalSum)
@cycles.register(Threshold)
@cycles.register(MulShift)
@cycles.register(Add)
@cycles.register(Fork)
@cycles.register(ArgMax)
@cycles.register(Slice)
def _(node: Node, x: Value, lanes: Parallelism) -> int:
    return x.size // lanes.lanes_in  # one input word a cycle


@cycles.register(Concat)
@cycles.register(Upsample)
@cycles.register(DepthToSpace)
def _(node: Node, x: Value, lanes: Parallelism) -> int:
    return node.outputs[0].size // lanes.lanes_out  # one output word a cycle


@cycles.register
def _(node: WidthConvert, x: Value, lanes: Parallelism) -> int:
    return x.size // min(lanes.lanes_in, lanes.lanes_out)


@cycles.register
def _(node: Reshape, x: Value, lanes: Parallelism) -> int:
    return 0
