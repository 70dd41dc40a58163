"""When each unit reads and writes: the loops of the C++ units, iteration by iteration, as repeated patterns.

A unit is one loop at initiation interval 1. Which iterations read a word of every input (a Concat: of one) and which
write a word to every output is fixed by its shape; only the moment an iteration starts depends on the neighbours. A
schedule lists the iterations that touch a stream, as patterns that repeat, so that its size does not grow with the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import groupby

import numpy as np

from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, DepthToSpace, Slice, Upsample
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
    prologue,
    row_cycles,
    row_steps,
    row_words,
    silent_steps,
)

READS, WRITES = 1, 2
ONE_INPUT = 4
"""Times i + 1, beside READS: only a word of input i is read."""


@dataclass(frozen=True)
class Segment:
    """``length`` iterations, ``repeats`` times; at each of ``offsets`` it does what ``flags`` says."""

    length: int
    repeats: int
    offsets: tuple[int, ...]
    flags: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """A unit's iterations over a whole call: ``once`` before the first frame, then ``frame`` for each one."""

    once: int
    frame: int
    segments: tuple[Segment, ...]

    @property
    def iterations(self) -> int:
        """Iterations of the whole call: the clock cycles that the unit is busy."""
        return sum(segment.length * segment.repeats for segment in self.segments)


def unit_schedule(node: Node, x: Value, frames: int) -> Schedule:
    """Schedule of ``node`` on input ``x`` over a call of ``frames`` frames.

    Raises:
        ValueError: the node has no parallelism.
        TypeError: the operation has no schedule.
    """
    if node.parallelism is None:
        raise ValueError(f"node '{node.name}' has no parallelism")
    if isinstance(node, Window):
        return _window(node, x, node.parallelism, frames)
    if isinstance(node, Upsample | DepthToSpace):
        return _spread(node, x, node.parallelism, frames)
    if isinstance(node, RowConv):
        return _row_conv(node, x, node.parallelism, frames)
    repeats, segment = pattern(node, x, node.parallelism)
    whole = Segment(segment.length, segment.repeats * repeats * frames, segment.offsets, segment.flags)
    return Schedule(0, segment.length * segment.repeats * repeats, (whole,))


def end_schedule(words: int, frames: int, flag: int) -> Schedule:
    """Schedule of the reader (``flag`` WRITES) or the writer (READS) of ``words`` stream words a frame."""
    return Schedule(0, words, (Segment(1, words * frames, (0,), (flag,)),))


@singledispatch
def pattern(node: Node, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """The pattern of a unit whose frames are all alike, and how often it repeats in a frame."""
    raise TypeError(f"no schedule for {type(node).__name__}")


@pattern.register(Threshold)
@pattern.register(MulShift)
@pattern.register(Add)
@pattern.register(Fork)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    return x.size // lanes.lanes_in, Segment(1, 1, (0,), (READS | WRITES,))


@pattern.register
def _(node: MatVec, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """A position: the input is read during the first block of outputs, each block ends in a write."""
    outputs, inputs = node.weight.shape
    steps, turns = inputs // lanes.lanes_in, outputs // lanes.lanes_out
    return x.shape[0] * x.shape[1], _segment(steps * turns, np.arange(steps), _ends(steps * turns, steps))


@pattern.register
def _(node: GroupedMatVec, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """The same for every round of groups."""
    loops = group_steps(node, lanes)
    steps, length = loops.input_blocks, loops.cycles
    return x.shape[0] * x.shape[1] * loops.rounds, _segment(length, np.arange(steps), _ends(length, steps))


@pattern.register(Depthwise)
@pattern.register(Pool)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    words_in, words_out = x.size // lanes.lanes_in, node.output.size // lanes.lanes_out
    taps = words_in // words_out
    return words_out, _segment(taps, np.arange(taps), np.array([taps - 1]))


@pattern.register(GlobalSum)
@pattern.register(ArgMax)
def _(node: Node, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """Everything is read before the words of the last position leave."""
    words_in, words_out = x.size // lanes.lanes_in, node.output.size // lanes.lanes_out
    return 1, _segment(words_in, np.arange(words_in), np.arange(words_in - words_out, words_in))


@pattern.register
def _(node: WidthConvert, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    count = cycles(node, x, lanes)
    read, write = count * lanes.lanes_in // x.size, count * lanes.lanes_out // x.size
    length = max(read, write)
    return count // length, _segment(length, np.array([0]) if read > 1 else np.arange(length), _ends(length, write))


@pattern.register
def _(node: Concat, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """A position: the words of one input after the other, each written as it comes."""
    words = [channels // lanes.lanes_in for channels in node.channels]
    flags = [READS | WRITES | ONE_INPUT * (i + 1) for i, count in enumerate(words) for _ in range(count)]
    return x.shape[0] * x.shape[1], Segment(len(flags), 1, tuple(range(len(flags))), tuple(flags))


@pattern.register
def _(node: Slice, x: Value, lanes: Parallelism) -> tuple[int, Segment]:
    """A position: all words are read, those of the output's channels written."""
    length, first = x.shape[2] // lanes.lanes_in, node.start // lanes.lanes_in
    kept = np.arange(first, first + node.output.shape[2] // lanes.lanes_out)
    return x.shape[0] * x.shape[1], _segment(length, np.arange(length), kept)


def _ends(length: int, every: int) -> np.ndarray:
    return np.arange(every - 1, length, every)


def _segment(length: int, reads: np.ndarray, writes: np.ndarray) -> Segment:
    """One repetition that reads and writes at these offsets."""
    flags = np.zeros(length, dtype=np.uint8)
    flags[reads] |= READS
    flags[writes] |= WRITES
    offsets = np.flatnonzero(flags)
    return Segment(length, 1, tuple(offsets.tolist()), tuple(flags[offsets].tolist()))


def _window(node: Window, x: Value, lanes: Parallelism, frames: int) -> Schedule:
    """The reads before the first row, then a phase a row: it is emitted while the rows that the next one needs come in.

    Behind the last row come the next frame's first rows; the last frame reads what is left.
    """
    words, rows = row_words(x, lanes.lanes_in), node.output.shape[0]
    left = frames * x.shape[0] * words
    once = min(prologue(node, x, lanes), left)
    left -= once
    emit, writes = row_cycles(node, x, lanes), _row_writes(node, x, lanes)
    step = node.stride[0] * words
    last_step = max(0, x.shape[0] - node.stride[0] * (rows - 1)) * words
    phases: list[tuple[int, int]] = []  # length, reads
    for _ in range(frames):
        due = x.shape[0] * words  # words still to be read in this frame
        for row in range(rows):
            most = last_step if row == rows - 1 else step
            reads = min(most, due, left)
            due, left = due - reads, left - reads
            phases.append((max(emit, most), reads))
    head = [_segment(once, np.arange(once), np.arange(0))] if once else []
    return Schedule(once, cycles(node, x, lanes), (*head, *_phase_segments(phases, writes)))


def _spread(node: Node, x: Value, lanes: Parallelism, frames: int) -> Schedule:
    """The first row's reads, then a phase a row: what is made from it leaves while the next one comes in."""
    once, frame = prologue(node, x, lanes), cycles(node, x, lanes)
    rows, emit = x.shape[0] * frames, frame // x.shape[0]
    writes = np.arange(emit)
    reading, last = _segment(emit, np.arange(once), writes), _segment(emit, writes[:0], writes)
    middle = [replace(reading, repeats=rows - 1)] if rows > 1 else []
    return Schedule(once, frame, (_segment(once, np.arange(once), writes[:0]), *middle, last))


def _row_writes(node: Window, x: Value, lanes: Parallelism) -> np.ndarray:
    """The cycles of an output row in which a word leaves: all, or in parallel where the window meets the stride."""
    groups = x.shape[2] // lanes.lanes_in
    if not is_parallel(node, lanes):
        return np.arange(node.output.shape[1] * groups * node.taps)
    columns = np.arange(node.output.shape[1]) * node.stride[1] + kernel_extent(node)[1] - 1
    return (columns[:, None] * groups + np.arange(groups)).reshape(-1)


def _phase_segments(phases: Sequence[tuple[int, int]], writes: np.ndarray) -> list[Segment]:
    known: dict[tuple[int, int], Segment] = {}
    segments = []
    for (length, reads), group in groupby(phases):
        if (length, reads) not in known:
            known[length, reads] = _segment(length, np.arange(reads), writes)
        one = known[length, reads]
        segments.append(Segment(length, len(list(group)), one.offsets, one.flags))
    return segments


def _row_conv(node: RowConv, x: Value, lanes: Parallelism, frames: int) -> Schedule:
    """The first columns are read, then steps follow each other over all rows, two more than there are columns for.

    A step reads the columns of the next one and writes those of the one before the last, where they are not silent.
    """
    step, groups = row_steps(node, lanes), x.shape[1] // lanes.columns
    first = lanes.columns * step.input_blocks
    total = frames * x.shape[0] * groups
    number = np.arange(total + 2)
    leaving = number - 2
    writing = (leaving >= 0) & (leaving % groups >= silent_steps(node, lanes))
    reads, writes = np.arange(first), _ends(step.cycles, step.input_blocks)
    kinds = READS * (number + 1 < total) + WRITES * writing
    patterns = {
        kind: _segment(
            step.cycles, reads[: len(reads) * bool(kind & READS)], writes[: len(writes) * bool(kind & WRITES)]
        )
        for kind in np.unique(kinds).tolist()
    }
    starts = np.flatnonzero(np.diff(kinds, prepend=-1))
    repeats = np.diff(starts, append=len(kinds))
    runs = zip(kinds[starts].tolist(), repeats.tolist(), strict=True)
    head = _segment(first, reads, reads[:0])
    steps = (replace(patterns[kind], repeats=count) for kind, count in runs)
    return Schedule(prologue(node, x, lanes), cycles(node, x, lanes), (head, *steps))
