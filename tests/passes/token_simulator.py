"""A clock-by-clock model of a HARDWARE graph: which iteration reads and writes which stream, values left out.

Every unit is a loop at initiation interval 1 whose iteration goes ahead when all its inputs hold a word; what it writes
leaves ``latency`` cycles later, also when no iteration follows, and the whole pipeline stands still while that has no
room. This is the schedule of the C++ units and the oracle for cycle counts and FIFO depths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import product, repeat
from math import isqrt

from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Reshape, Slice, SpaceToDepth, Transpose, Upsample
from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.norm import FRACTION, ROOT_FRACTION, Norm
from toolchain.ir.ops.pools import GlobalMax, GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.softmax import Softmax
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.units.window import is_parallel, row_words

Step = tuple[bool | int, bool]  # reads (of all inputs, or only of number -1, -2, ...), writes


class Deadlock(Exception):
    """No unit can go ahead."""


def frame_ends(graph: Graph, frames: int, *, latency: int = 0, depth: int | None = None) -> list[int]:
    """The cycle in which each frame's last word leaves the accelerator; ``depth`` overrides every FIFO's.

    Raises:
        Deadlock: the units wait for each other.
    """
    alias = {n.output.name: n.inputs[0] for n in graph.nodes if isinstance(n, Reshape)}

    def stream(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    room = {name: depth or value.depth or 2 for name, value in graph.values().items()}
    units = [_Unit((), (graph.input.name,), _source(graph, frames), 0)]
    for node in graph.nodes:
        if not isinstance(node, Reshape):
            steps = schedule(node, graph.value(node.inputs[0]), frames)
            reads = tuple(stream(name) for name in node.inputs)
            units.append(_Unit(reads, tuple(value.name for value in node.outputs), steps, latency))
    output = graph.value(graph.output)
    last = stream(graph.output)
    lanes = next(n.parallelism.lanes_out for n in graph.nodes if last in [v.name for v in n.outputs] and n.parallelism)
    words = output.size // lanes
    units.append(_Unit((last,), (), iter([(True, False)] * (words * frames)), 0))
    fill = dict.fromkeys(room, 0)
    ends: list[int] = []
    cycle = 0
    while len(ends) < frames:
        cycle += 1
        moved = [unit for unit in units if unit.ready(fill, room)]
        if not moved:
            raise Deadlock(f"in cycle {cycle}: { ({k: v for k, v in fill.items() if v}) }")
        for unit in moved:
            unit.step(fill)
        if units[-1].done == words * (len(ends) + 1) and units[-1] in moved:
            ends.append(cycle)
    return ends


class _Unit:
    def __init__(self, inputs: tuple[str, ...], outputs: tuple[str, ...], steps: Iterator[Step], latency: int) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.steps = steps
        self.pipeline = deque([False] * latency)
        self.done = 0
        self.next = next(self.steps, None)

    def reads(self) -> tuple[str, ...]:
        """The streams that the next step reads."""
        which = self.next[0] if self.next is not None else False
        if which < 0:
            return (self.inputs[-which - 1],)
        return self.inputs if which else ()

    def ready(self, fill: dict[str, int], room: dict[str, int]) -> bool:
        """Whether the pipeline moves in this cycle; ``takes`` then says whether an iteration begins."""
        self.takes = self.next is not None and all(fill[name] for name in self.reads())
        if self._leaves() and any(fill[name] >= room[name] for name in self.outputs):
            return False
        return self.takes or any(self.pipeline)

    def _leaves(self) -> bool:
        if self.pipeline:
            return self.pipeline[0]
        return self.takes and self.next is not None and self.next[1]

    def step(self, fill: dict[str, int]) -> None:
        if self._leaves():
            for name in self.outputs:
                fill[name] += 1
        made = False
        if self.takes:
            assert self.next is not None
            for name in self.reads():
                fill[name] -= 1
            made = self.next[1]
            self.done += 1
            self.next = next(self.steps, None)
        if self.pipeline:
            self.pipeline.popleft()
            self.pipeline.append(made)


def _source(graph: Graph, frames: int) -> Iterator[Step]:
    first = graph.consumers()[graph.input.name][0].parallelism
    assert first is not None
    return iter([(False, True)] * (graph.input.size // first.lanes_in * frames))


def schedule(node: Node, x: Value, frames: int) -> Iterator[Step]:
    """Reads and writes of every iteration of ``node`` over ``frames`` frames."""
    lanes = node.parallelism
    assert lanes is not None
    if isinstance(node, Window):
        yield from _window(node, x, lanes, frames)
        return
    if isinstance(node, SpaceToDepth):
        common = {"name": node.name, "inputs": node.inputs, "outputs": node.outputs}
        yield from _window(Window(kernel=node.block, stride=node.block, **common), x, lanes, frames)
        return
    if isinstance(node, (Upsample, DepthToSpace)):
        yield from _spread(node, x, lanes, frames)
        return
    if isinstance(node, Transpose):
        words_in, words_out = x.size // lanes.lanes_in, x.size // lanes.lanes_out
        yield from repeat((True, False), words_in)
        for frame in range(frames):
            for i in range(max(words_in, words_out)):
                yield i < words_in and frame < frames - 1, i < words_out
        return
    if isinstance(node, RowConv):
        yield from _row_conv(node, x, lanes, frames)
        return
    for _ in range(frames):
        yield from _frame(node, x, lanes)


def _frame(node: Node, x: Value, lanes: Parallelism) -> Iterator[Step]:
    words_in, words_out = x.size // lanes.lanes_in, node.outputs[0].size // lanes.lanes_out
    if isinstance(node, MatVec):
        steps, turns = node.weight.shape[1] // lanes.lanes_in, len(node.weight) // lanes.lanes_out
        for _ in range(x.shape[0] * x.shape[1]):
            yield from ((turn == 0, i == steps - 1) for turn in range(turns) for i in range(steps))
    elif isinstance(node, GroupedMatVec):
        outputs = node.output.shape[2] // node.groups
        at_once = lanes.lanes_out // outputs if lanes.lanes_out > outputs else 1  # groups
        steps = words_in // (x.shape[0] * x.shape[1]) * at_once // node.groups
        for _ in range(x.shape[0] * x.shape[1] * node.groups // at_once):
            turns = outputs * at_once // lanes.lanes_out
            yield from ((turn == 0, i == steps - 1) for turn in range(turns) for i in range(steps))
    elif isinstance(node, (Depthwise, Pool)):
        ratio = words_in // words_out
        yield from ((True, i % ratio == ratio - 1) for i in range(words_in))
    elif isinstance(node, (GlobalSum, GlobalMax, ArgMax)):
        yield from ((True, i >= words_in - words_out) for i in range(words_in))
    elif isinstance(node, Concat):
        for _ in range(x.shape[0] * x.shape[1]):
            for i, channels in enumerate(node.channels):
                yield from repeat((-i - 1, True), channels // lanes.lanes_in)
    elif isinstance(node, Slice):
        kept = range(node.start, node.start + node.output.shape[2])
        for _ in range(x.shape[0] * x.shape[1]):
            yield from ((True, channel in kept) for channel in range(0, x.shape[2], lanes.lanes_in))
    elif isinstance(node, Multiply) and node.once:
        kept = x.shape[2] // lanes.lanes_in
        yield from ((True if i < kept else -1, True) for i in range(words_in))
    elif isinstance(node, Crop):
        kept = [
            range(first, first + count * step, step)
            for first, count, step in zip(node.start, node.output.shape, node.steps, strict=False)
        ]
        for row, column in product(range(x.shape[0]), range(x.shape[1])):
            yield from repeat((True, row in kept[0] and column in kept[1]), x.shape[2] // lanes.lanes_in)
    elif isinstance(node, MatMul):
        terms, sums = x.shape[2] // node.heads, node.output.shape[2] // node.heads
        yield from repeat((-2, False), node.heads * terms * sums // lanes.lanes_in)
        steps = terms // lanes.lanes_in
        for _ in range(x.shape[0] * x.shape[1] * node.heads):
            for turn in range(sums // lanes.lanes_out):
                yield from ((-1 if turn == 0 else False, i == steps - 1) for i in range(steps))
    elif isinstance(node, Softmax):
        words, steps = x.shape[2] // node.heads // lanes.lanes_in, FRACTION + 3
        for _ in range(x.shape[0] * x.shape[1] * node.heads):
            yield from ((i < words, i >= 2 * words + steps) for i in range(3 * words + steps))
    elif isinstance(node, Norm):
        words, kind = x.shape[2] // lanes.lanes_in, x.qint
        most = (x.shape[2] * (kind.max - kind.min)) ** 2 // 4
        most = (most if node.centred else (x.shape[2] * max(-kind.min, kind.max)) ** 2) << 2 * ROOT_FRACTION
        least = isqrt((x.shape[2] - node.centred << 2 * ROOT_FRACTION) + node.epsilon)
        steps = isqrt(most + node.epsilon).bit_length() + ((1 << node.reciprocal) // least).bit_length()
        for _ in range(x.shape[0] * x.shape[1]):
            yield from ((i < words, i >= words + steps) for i in range(2 * words + steps))
    elif isinstance(node, WidthConvert):
        count = max(words_in, words_out)
        read, write = count // words_in, count // words_out
        yield from ((i % read == 0, i % write == write - 1) for i in range(count))
    else:
        yield from repeat((True, True), words_in)


def _spread(node: Node, x: Value, lanes: Parallelism, frames: int) -> Iterator[Step]:
    """A row comes in; each one is emitted while the next one comes in, which the last one has not."""
    reads, rows = row_words(x, lanes.lanes_in), x.shape[0] * frames
    edges = node.edges if isinstance(node, Upsample) else (0, 0, 0, 0)
    height, width, channels = node.outputs[0].shape
    line, lines = width * channels // lanes.lanes_out, height - edges[0] - edges[2]
    yield from repeat((True, False), reads)
    for row in range(rows):
        at = row % x.shape[0]
        emit = lines // x.shape[0] + edges[0] * (at == 0) + edges[2] * (at == x.shape[0] - 1)
        yield from ((i < reads and row < rows - 1, True) for i in range(emit * line))


def _window(node: Window, x: Value, lanes: Parallelism, frames: int) -> Iterator[Step]:
    rows, columns, _ = node.output.shape
    words, groups = row_words(x, lanes.lanes_in), x.shape[2] // lanes.lanes_in
    left = frames * x.shape[0] * words
    for _ in range(min(max(0, node.extent[0] - node.pads[0]) * words, left)):
        left -= 1
        yield True, False
    if is_parallel(node, lanes):
        span = node.extent[1] - 1
        ready = [
            c >= span and (c - span) % node.stride[1] == 0 for c in range((columns - 1) * node.stride[1] + span + 1)
        ]
        writes = [flag for flag in ready for _ in range(groups)]
    else:
        writes = [True] * (columns * groups * node.taps)
    for _ in range(frames):
        due = x.shape[0] * words  # words still to be read in this frame
        for row in range(rows):
            last = x.shape[0] - node.stride[0] * (rows - 1)
            reads = max(0, (last if row == rows - 1 else node.stride[0]) * words)
            for i in range(max(len(writes), reads)):
                read = i < reads and due > 0 and left > 0
                left, due = left - read, due - read
                yield read, i < len(writes) and writes[i]


def _row_conv(node: RowConv, x: Value, lanes: Parallelism, frames: int) -> Iterator[Step]:
    """Columns come in a step ahead of their products and leave two steps behind them."""
    outputs, taps, inputs = node.weight.shape
    columns, blocks = lanes.columns, inputs // lanes.lanes_in
    turns = outputs // (lanes.lanes_out // columns)
    left = x.size // lanes.lanes_in * frames
    for _ in range(columns * blocks):
        left -= 1
        yield True, False
    first = list(range(0, x.shape[1], columns)) * (x.shape[0] * frames)  # the first column of every step
    for leaving in (None, None, *first):
        silent = leaving is None or (node.pad == 0 and leaving < taps - 1)
        for turn in range(turns):
            for i in range(blocks):
                read = turn < columns and left > 0
                left -= read
                yield read, i == blocks - 1 and not silent
