"""How long a unit leaves its streams alone: what a FIFO has to bridge for the unit to keep its pace.

Loops at initiation interval 1 read or write in bursts and pause between them; a pause that reaches a neighbour working
at the same pace would add to the frame's cycles. Words that come or go during the pause stand in the FIFO instead.
"""

from __future__ import annotations

from fractions import Fraction
from functools import singledispatch
from math import ceil

from toolchain.dse.cycles import (
    cycles,
    group_steps,
    is_parallel,
    kernel_extent,
    row_cycles,
    row_steps,
    row_words,
    silent_steps,
)
from toolchain.ir.ops import (
    Add,
    ArgMax,
    Concat,
    DepthToSpace,
    Depthwise,
    Fork,
    GlobalSum,
    GroupedMatVec,
    MatVec,
    MulShift,
    Node,
    Pool,
    Reshape,
    RowConv,
    Slice,
    Threshold,
    Upsample,
    WidthConvert,
    Window,
)
from toolchain.ir.types import Parallelism, Value


def pause_words(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """Words of input ``x`` that come while ``node`` reads none, and that its reader takes while it writes nothing.

    Both at the node's own pace: gap / cycles * words a frame. A slower neighbour stretches gap and cycles alike.
    """
    reading, writing = gaps(node, x, lanes)
    pace = max(cycles(node, x, lanes), 1)
    into = ceil(Fraction(reading * x.size, lanes.lanes_in * pace))
    return into, ceil(Fraction(writing * node.outputs[0].size, lanes.lanes_out * pace))


@singledispatch
def gaps(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """Most cycles in a row in which ``node`` reads nothing of its input ``x``, and in which it writes nothing."""
    raise TypeError(f"no gaps for {type(node).__name__}")


@gaps.register
def _(node: Window, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """It reads at the start of a phase; in parallel it writes once the columns under the kernel are in."""
    emit, read, rows = row_cycles(node, x, lanes), row_words(x, lanes.lanes_in), x.shape[0]
    reads = node.stride[0] * read
    rest = max(0, rows - node.stride[0] * node.output.shape[0])  # rows read in the last phase only
    phase = max(emit, reads)
    fill = (kernel_extent(node)[1] - 1) * x.shape[2] // lanes.lanes_in if is_parallel(node, lanes) else 0
    return max(0, emit - reads), phase - emit + rest * read + fill


@gaps.register
def _(node: MatVec, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """It reads a position during the first block of outputs and writes once a block."""
    steps = x.shape[2] // lanes.lanes_in
    return (len(node.weight) // lanes.lanes_out - 1) * steps, steps - 1


@gaps.register
def _(node: GroupedMatVec, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """As a matrix-vector product, a round of groups after the other."""
    steps = group_steps(node, lanes)
    return (steps.output_blocks - 1) * steps.input_blocks, steps.input_blocks - 1


@gaps.register
def _(node: RowConv, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """A step reads the next one's columns during its first blocks of outputs and writes once a block."""
    step = row_steps(node, lanes)
    silent = silent_steps(node, lanes) * step.cycles
    return (step.output_blocks - lanes.columns) * step.input_blocks, silent + step.input_blocks - 1


@gaps.register(Depthwise)
@gaps.register(Pool)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    words_in, words_out = x.size // lanes.lanes_in, node.outputs[0].size // lanes.lanes_out
    return 0, words_in // words_out - 1


@gaps.register(GlobalSum)
@gaps.register(ArgMax)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """It writes at the end of a frame."""
    return 0, x.size // lanes.lanes_in - node.outputs[0].size // lanes.lanes_out


@gaps.register
def _(node: WidthConvert, x: Value, lanes: Parallelism) -> tuple[int, int]:
    ratio = max(lanes.lanes_in, lanes.lanes_out) // min(lanes.lanes_in, lanes.lanes_out)
    return (ratio - 1, 0) if lanes.lanes_in > lanes.lanes_out else (0, ratio - 1)


@gaps.register
def _(node: Concat, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """While it reads the channels of the other inputs."""
    return (node.output.shape[2] - x.shape[2]) // lanes.lanes_in, 0


@gaps.register
def _(node: Slice, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """While it drops channels."""
    return 0, (x.shape[2] - node.output.shape[2]) // lanes.lanes_in


@gaps.register(Upsample)
@gaps.register(DepthToSpace)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """It reads a row at the start of those that are made from it."""
    return cycles(node, x, lanes) // x.shape[0] - row_words(x, lanes.lanes_in), 0


@gaps.register(Threshold)
@gaps.register(MulShift)
@gaps.register(Add)
@gaps.register(Fork)
@gaps.register(Reshape)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    return 0, 0
