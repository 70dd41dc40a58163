"""How long a unit leaves its streams alone: what a FIFO has to bridge for the unit to keep its pace.

Loops at initiation interval 1 read or write in bursts and pause between them; a pause that reaches a neighbour working
at the same pace would add to the frame's cycles. Words that come or go during the pause stand in the FIFO instead.
"""

from __future__ import annotations

from fractions import Fraction
from functools import singledispatch
from math import ceil

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
from toolchain.units.cycles import (
    cycles,
    group_steps,
    is_parallel,
    kernel_extent,
    row_cycles,
    row_steps,
    row_words,
    silent_steps,
)


def pause_words(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """Words of input ``x`` that come while ``node`` reads none, and that its reader takes while it writes nothing.

    Both at the node's own pace; a slower neighbour stretches pauses and cycles alike.
    """
    reading, writing = pauses(node, x, lanes)
    return ceil(reading), ceil(writing)


def pauses(node: Node, x: Value, lanes: Parallelism) -> tuple[Fraction, Fraction]:
    """How far reads of ``x``, and writes, run ahead of and fall behind an even pace, in words: from the least to the
    most of (words so far) - (words a cycle) * (cycles so far) over the frames in the middle of a call."""
    if isinstance(node, Window):
        return _window_pauses(node, x, lanes)
    reading, writing = gaps(node, x, lanes)
    pace = max(cycles(node, x, lanes), 1)
    into = Fraction(reading * x.size, lanes.lanes_in * pace)
    return into, Fraction(writing * node.outputs[0].size, lanes.lanes_out * pace)


@singledispatch
def gaps(node: Node, x: Value, lanes: Parallelism) -> tuple[int, int]:
    """Most cycles in a row in which ``node`` reads nothing of its input ``x``, and in which it writes nothing; of units
    whose pauses are all alike."""
    raise TypeError(f"no gaps for {type(node).__name__}")


def _window_pauses(node: Window, x: Value, lanes: Parallelism) -> tuple[Fraction, Fraction]:
    """Phases differ: a phase reads at its start and emits meanwhile; in parallel the first words leave late."""
    phases, emit = _phases(node, x, lanes), row_cycles(node, x, lanes)
    frame = sum(length * count for length, _, count in phases)
    into, out = Fraction(x.size // lanes.lanes_in, frame), Fraction(node.output.size // lanes.lanes_out, frame)
    words = node.output.shape[1] * node.output.shape[2] // lanes.lanes_out  # that a phase writes
    late = (kernel_extent(node)[1] - 1) * x.shape[2] // lanes.lanes_in if is_parallel(node, lanes) else 0
    read, written = Fraction(0), Fraction(0)  # ahead of the pace where the next phase starts
    least, most = ([read], [written]), ([read], [written])
    for length, reads, count in phases:
        steps = reads - into * length, words - out * length
        for n in {0, count - 1}:  # between them both change steadily
            least[0].append(read + n * steps[0])
            most[0].append(least[0][-1] + reads * (1 - into))
            least[1].append(written + n * steps[1] - out * late)
            most[1].append(written + n * steps[1] + words - out * emit)
        read, written = read + count * steps[0], written + count * steps[1]
    return max(most[0]) - min(least[0]), max(most[1]) - min(least[1])


def _phases(node: Window, x: Value, lanes: Parallelism) -> list[tuple[int, int, int]]:
    """The phases of a frame behind others: cycles, words read, and how many such follow each other.

    There is one a row of windows. It reads the rows that the next one needs, the last one what is left of the frame
    and the next frame's first rows; where windows reach far below the map, the last phases read nothing.
    """
    emit, rows, words = row_cycles(node, x, lanes), node.output.shape[0], row_words(x, lanes.lanes_in)
    step, total = node.stride[0] * words, x.shape[0] * words
    full = min(rows - 1, total // step)
    rest, usual = total - full * step, max(emit, step)
    if full == rows - 1:
        found = [(usual, step, full), (max(emit, rest), rest, 1)]
    else:
        found = [(usual, step, full), (usual, rest, 1), (usual, 0, rows - 2 - full), (emit, 0, 1)]
    return [phase for phase in found if phase[2]]


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
