"""The units that join, pick and spread the words of maps, and what needs no unit."""

from __future__ import annotations

from dataclasses import fields
from math import gcd
from typing import TypeVar

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Permute, Reshape, Slice, SpaceToDepth, Transpose, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Storage, channelwise, check_unroll, impl, input_type, positions
from toolchain.units.fabric_costs import STREAM_LUT, choice, control, logic, memory
from toolchain.units.lanes import divisors
from toolchain.units.limits import MAX_UNROLL
from toolchain.units.order import parallelism, require_order
from toolchain.units.schedule import NEVER, Phase, Runs, Schedule, first, word_by_word
from toolchain.units.unit import Unit, Units
from toolchain.units.window import WindowUnit, row_words


class ConcatUnit(Unit[Concat]):
    """The unit in ``channels.hpp``."""

    def options(self, node: Concat, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """A word is of one input."""
        return [Parallelism(n, n) for n in divisors(gcd(*node.channels))]

    def schedule(self, node: Concat, x: Value, lanes: Parallelism) -> Schedule:
        """A position: the words of one input after the other, each written as it comes."""
        words = [channels // lanes.lanes_in for channels in node.channels]
        reads = tuple(Runs(sum(words[:i]), count) for i, count in enumerate(words))
        return Schedule((Phase(sum(words), reads, first(sum(words))),), x.shape[0] * x.shape[1])

    def cost(self, node: Concat, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of choosing an input."""
        return logic(STREAM_LUT + choice(len(node.channels)) * lanes.lanes_out * node.output.qint.bits)

    def template(self, node: Concat, graph: Graph) -> Call:
        """Return the call, with the words of every input."""
        lanes = int(channelwise(node, graph)["lanes"])
        blocks = tuple(channels // lanes for channels in node.channels)
        constants: dict[str, int | bool] = {"positions": positions(graph, node), "total": sum(blocks), "lanes": lanes}
        types = {"out_t": node.output.qint}
        return Call("channels", "concat", constants, types, variadic="inputs", lists={"blocks": blocks})


class SliceUnit(Unit[Slice]):
    """The unit in ``channels.hpp``."""

    def options(self, node: Slice, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """A word is kept or dropped as a whole."""
        return [Parallelism(n, n) for n in divisors(gcd(x.shape[2], node.start, node.output.shape[2]))]

    def schedule(self, node: Slice, x: Value, lanes: Parallelism) -> Schedule:
        """A position: all words are read, those of the output's channels written."""
        words = x.shape[2] // lanes.lanes_in
        kept = Runs(node.start // lanes.lanes_in, node.output.shape[2] // lanes.lanes_out)
        return Schedule((Phase(words, (first(words),), kept),), x.shape[0] * x.shape[1])

    def cost(self, node: Slice, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of a counter."""
        return logic(STREAM_LUT)

    def template(self, node: Slice, graph: Graph) -> Call:
        """The first word kept and the first one dropped behind it."""
        constants = channelwise(node, graph)
        lanes = int(constants["lanes"])
        constants |= {"first": node.start // lanes, "last": (node.start + node.output.shape[2]) // lanes}
        return Call("channels", "slice", constants, {"in_t": input_type(graph, node)})


S = TypeVar("S", bound=Upsample | DepthToSpace)


class _SpreadUnit(Unit[S]):
    """``spread.hpp``: two rows, one written while the other is read."""

    def schedule(self, node: S, x: Value, lanes: Parallelism) -> Schedule:
        """The first row's reads, then a phase a row: what is made from it leaves while the next one comes in."""
        once, height = row_words(x, lanes.lanes_in), x.shape[0]
        reads, line = (first(once),), node.output.size // lanes.lanes_out // node.output.shape[0]
        head = (Phase(once, reads, NEVER),)
        above, below = self.beyond(node)
        times = (node.output.shape[0] - above - below) // height
        if not above and not below:
            return Schedule((Phase(times * line, reads, first(times * line)),), height, head)
        counts = [(times + above, 1), (times, height - 2), (times + below, 1)]
        counts = counts if height > 1 else [(times + above + below, 1)]
        return Schedule(
            tuple(Phase(n * line, reads, first(n * line), count) for n, count in counts if count), head=head
        )

    def beyond(self, node: S) -> tuple[int, int]:
        """Lines that the first and the last row make besides."""
        return 0, 0

    def cost(self, node: S, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of two rows, and of choosing channels from wider words."""
        bits = x.qint.bits
        chosen = choice(lanes.lanes_in // lanes.lanes_out) * lanes.lanes_out * bits
        rows = memory(2 * row_words(x, lanes.lanes_in), lanes.lanes_in * bits, ultra=lanes.ultra)
        return total((control(), rows, logic(chosen)))


class UpsampleUnit(_SpreadUnit[Upsample]):
    """The unit that repeats every word along rows and columns."""

    def options(self, node: Upsample, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return all lanes that divide the channels."""
        return [Parallelism(n, n) for n in divisors(x.shape[2])]

    def template(self, node: Upsample, graph: Graph) -> Call:
        """Call ``spread`` so that it repeats every position with all its channels."""
        return _spread(node, graph, node.factors, (0, 0), (0, 0), node.edges)

    def beyond(self, node: Upsample) -> tuple[int, int]:
        """Return the lines that the edges add before the first row and behind the last."""
        return node.edges[0], node.edges[2]


class DepthToSpaceUnit(_SpreadUnit[DepthToSpace]):
    """The unit that makes positions of the words, or of the lanes, of each position."""

    def options(self, node: DepthToSpace, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Channels that lie side by side go to one position, or those of all positions of the block come at once."""
        size = node.parts if node.channels_first else 1
        return [Parallelism(n * size, n) for n in divisors(node.output.shape[2])]

    def template(self, node: DepthToSpace, graph: Graph) -> Call:
        """The next position's channels lie words on, or lanes on."""
        columns, words = node.block[1], node.output.shape[2] // parallelism(node).lanes_out
        if node.channels_first:
            return _spread(node, graph, node.block, (0, 0), (columns, 1))
        return _spread(node, graph, node.block, (columns * words, words), (0, 0))


def _spread(
    node: Upsample | DepthToSpace,
    graph: Graph,
    factors: tuple[int, int],
    steps: tuple[int, int],
    offsets: tuple[int, int],
    edges: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Call:
    """Return the call of the unit that makes ``factors`` positions from each.

    The next position's channels lie ``steps`` words on, or ``offsets`` lanes. Positions at the ``edges`` are made more
    often.
    """
    require_order(graph, node, np.arange)
    x, lanes = graph.value(node.inputs[0]), parallelism(node)
    check_unroll(node, lanes.lanes_in)
    in_words, out_words = x.shape[2] // lanes.lanes_in, node.output.shape[2] // lanes.lanes_out
    constants: dict[str, int | bool] = {"height": x.shape[0], "width": x.shape[1]}
    constants |= {"in_words": in_words, "out_words": out_words}
    for name, pair in (("factor", factors), ("step", steps), ("lane", offsets)):
        constants |= {f"{name}_h": pair[0], f"{name}_w": pair[1]}
    constants |= dict(zip(("top", "left", "bottom", "right"), edges, strict=True))
    constants |= {"lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
    storage = Storage(impl(2 * x.shape[1] * in_words, lanes.lanes_in * x.qint.bits, ultra=lanes.ultra))
    rows = Buffer("rows", "SpreadRows", storage, packed=True)
    return Call("spread", "spread", constants, {"type": x.qint}, buffers=(rows,))


_WINDOW = WindowUnit()


class SpaceToDepthUnit(Unit[SpaceToDepth]):
    """``window.hpp``: windows that do not overlap, of all channels at once, whose order the stream keeps."""

    def options(self, node: SpaceToDepth, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """A position a cycle, or a block."""
        channels = x.shape[2]
        return [Parallelism(channels, n * channels) for n in sorted({1, node.block[0] * node.block[1]})]

    def schedule(self, node: SpaceToDepth, x: Value, lanes: Parallelism) -> Schedule:
        """Return the schedule of the window unit of the blocks."""
        return _WINDOW.schedule(_blocks(node), x, lanes)

    def cost(self, node: SpaceToDepth, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of the window unit of the blocks."""
        return _WINDOW.cost(_blocks(node), x, lanes)

    def template(self, node: SpaceToDepth, graph: Graph) -> Call:
        """Call the window unit on the blocks."""
        return _WINDOW.template(_blocks(node), graph)


def _blocks(node: SpaceToDepth) -> Window:
    """The windows that hold the same elements in the same order."""
    common = {field.name: getattr(node, field.name) for field in fields(Node)}
    return Window(kernel=node.block, stride=node.block, **common)


class CropUnit(Unit[Crop]):
    """The unit in ``crop.hpp``."""

    def options(self, node: Crop, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return all lanes that divide the channels."""
        return [Parallelism(n, n) for n in divisors(x.shape[2])]

    def schedule(self, node: Crop, x: Value, lanes: Parallelism) -> Schedule:
        """The rows above, then a phase a row that is kept with those up to the next one."""
        words, (rows, columns, channels) = row_words(x, lanes.lanes_in), node.output.shape
        blocks, (top, left), (down, right) = channels // lanes.lanes_in, node.start, node.steps
        kept = Runs(left * blocks, blocks, columns, right * blocks)
        if right == 1:
            kept = Runs(left * blocks, columns * blocks)
        rest = x.shape[0] - top - (rows - 1) * down
        phases = ((1, NEVER, top), (down, kept, rows - 1), (rest, kept, 1))
        return Schedule(
            tuple(Phase(n * words, (first(n * words),), writes, count) for n, writes, count in phases if count)
        )

    def cost(self, node: Crop, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of a unit with state, counters of rows and columns included (counted: 47 to 62 LUTs)."""
        return logic(STREAM_LUT)

    def template(self, node: Crop, graph: Graph) -> Call:
        """The call with the positions that are kept."""
        require_order(graph, node, np.arange)
        (height, width, channels), lanes = graph.value(node.inputs[0]).shape, parallelism(node).lanes_in
        check_unroll(node, lanes)
        constants: dict[str, int | bool] = {"height": height, "width": width, "words": channels // lanes}
        for i, axis in enumerate("hw"):
            facts = {"first": node.start[i], "step": node.steps[i], "out": node.output.shape[i]}
            constants |= {f"{name}_{axis}": number for name, number in facts.items()}
        return Call("crop", "crop", constants | {"lanes": lanes}, {"type": input_type(graph, node)})


class PermuteUnit(Unit[Permute]):
    """The unit in ``channels.hpp`` whose channels change places by wires."""

    def options(self, node: Permute, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return lanes for all channels: a position at a time."""
        return [Parallelism(x.shape[2], x.shape[2])]

    def schedule(self, node: Permute, x: Value, lanes: Parallelism) -> Schedule:
        """Make the schedule that reads and writes a word a cycle."""
        return word_by_word(x.shape[0] * x.shape[1])

    def cost(self, node: Permute, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of a counter."""
        return logic(STREAM_LUT)

    def template(self, node: Permute, graph: Graph) -> Call:
        """Return the call, with the channel at every place."""
        return Call("channels", "permute", channelwise(node, graph), {"type": input_type(graph, node)},
                    lists={"order": node.order})  # fmt: skip


class TransposeUnit(Unit[Transpose]):
    """``transpose.hpp``: two frames, one written while the other is read, in a memory a lane of either word."""

    def options(self, node: Transpose, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Any lanes of channels, and of positions."""
        pairs = [(i, o) for i in divisors(x.shape[2]) for o in divisors(node.output.shape[2])]
        return [Parallelism(i, o) for i, o in pairs if i * o <= MAX_UNROLL]

    def schedule(self, node: Transpose, x: Value, lanes: Parallelism) -> Schedule:
        """The first frame's reads, then each one leaves while the next comes in; the longer stream sets the pace."""
        words, made = x.size // lanes.lanes_in, x.size // lanes.lanes_out
        reads = (first(words),)
        return Schedule((Phase(max(words, made), reads, first(made)),), head=(Phase(words, reads, NEVER),))

    def cost(self, node: Transpose, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """The memories, and the choice of the channel that a word is made of."""
        banks, bits = lanes.lanes_in * lanes.lanes_out, x.qint.bits
        chosen = logic(choice(lanes.lanes_in) * lanes.lanes_out * bits)
        return total((control(), chosen, memory(2 * x.size // banks, bits) * banks))

    def template(self, node: Transpose, graph: Graph) -> Call:
        """Call ``transpose`` with the sizes of the map and its banks."""
        require_order(graph, node, np.arange)
        x, lanes = graph.value(node.inputs[0]), parallelism(node)
        banks = lanes.lanes_in * lanes.lanes_out
        check_unroll(node, banks)
        constants: dict[str, int | bool] = {"positions": positions(graph, node), "channels": x.shape[2]}
        constants |= {"lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
        storage = Storage(impl(2 * x.size // banks, x.qint.bits), partition=(2, 3))
        frames = Buffer("held", "TransposeFrames", storage)
        return Call("transpose", "transpose", constants, {"type": x.qint}, buffers=(frames,))


class ReshapeUnit(Unit[Reshape]):
    """No hardware: the stream gets another name."""

    follows = True

    def options(self, node: Reshape, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return lanes that divide the channels on both sides, or the input where it becomes one position."""
        count = x.size if node.output.shape[2] == x.size else gcd(x.shape[2], node.output.shape[2])
        lanes = [upstream.lanes_out] if upstream else divisors(count)
        return [Parallelism(n, n) for n in lanes if count % n == 0]

    def schedule(self, node: Reshape, x: Value, lanes: Parallelism) -> Schedule:
        """Return a schedule without cycles: the stream only gets another name."""
        return Schedule(())

    def cost(self, node: Reshape, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return no resources: there is no hardware."""
        return Resources()

    def template(self, node: Reshape, graph: Graph) -> Call:
        """Raise TypeError: there is no C++.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"no C++ for {type(node).__name__}")


UNITS: Units = {
    Concat: ConcatUnit(),
    Slice: SliceUnit(),
    Upsample: UpsampleUnit(),
    DepthToSpace: DepthToSpaceUnit(),
    SpaceToDepth: SpaceToDepthUnit(),
    Crop: CropUnit(),
    Permute: PermuteUnit(),
    Transpose: TransposeUnit(),
    Reshape: ReshapeUnit(),
}
