"""The units that reduce a map channel by channel: running results in a delay line one position long."""

from __future__ import annotations

from typing import TypeVar

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalMax, GlobalSum
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, channelwise, input_type
from toolchain.units.fabric_costs import STREAM_LUT, comparator, delay, logic
from toolchain.units.lanes import channel_lanes
from toolchain.units.schedule import Schedule, at_the_end
from toolchain.units.unit import Unit, Units

G = TypeVar("G", bound=Node)


class _GlobalUnit(Unit[G]):
    """Any lanes of channels; the results leave with the last position."""

    def options(self, node: G, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return the lanes of ``channel_lanes``."""
        return [Parallelism(n, n) for n in channel_lanes(x, upstream)]

    def schedule(self, node: G, x: Value, lanes: Parallelism) -> Schedule:
        """A word in a cycle, out with the last position."""
        return at_the_end(x.size // lanes.lanes_in, node.output.size // lanes.lanes_out)


class GlobalSumUnit(_GlobalUnit[GlobalSum]):
    """The unit in ``global_sum.hpp``."""

    def cost(self, node: GlobalSum, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """An adder a lane and the running sums in a shift register."""
        bits = node.output.qint.bits * lanes.lanes_in
        return total((logic(STREAM_LUT), Resources(lut=bits), _kept(x, lanes, bits)))

    def template(self, node: GlobalSum, graph: Graph) -> Call:
        """Call ``global_sum``; it has no tables."""
        types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
        return Call("global_sum", "global_sum", channelwise(node, graph), types)


class GlobalMaxUnit(_GlobalUnit[GlobalMax]):
    """The unit in ``global_max.hpp``."""

    def cost(self, node: GlobalMax, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A comparison a lane, the running maxima in a shift register, and a choice unless there is one a lane."""
        bits, chosen = x.qint.bits * lanes.lanes_in, x.shape[2] > lanes.lanes_in
        lane = comparator(x.qint.bits) + Resources(lut=x.qint.bits * chosen)
        return total((logic(STREAM_LUT), _kept(x, lanes, bits), lane * lanes.lanes_in))

    def template(self, node: GlobalMax, graph: Graph) -> Call:
        """Call ``global_max``; it has no tables."""
        return Call("global_max", "global_max", channelwise(node, graph), {"type": input_type(graph, node)})


def _kept(x: Value, lanes: Parallelism, bits: int) -> Resources:
    """A delay line one position long, of words of ``bits`` bits."""
    return delay(x.shape[2] // lanes.lanes_in, bits)


UNITS: Units = {GlobalSum: GlobalSumUnit(), GlobalMax: GlobalMaxUnit()}
