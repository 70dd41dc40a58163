"""The unit that finds the largest channel."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, channelwise, input_type
from toolchain.units.fabric_costs import STREAM_LUT, comparator, logic
from toolchain.units.lanes import divisors
from toolchain.units.schedule import Schedule, at_the_end
from toolchain.units.unit import Unit, Units


class ArgMaxUnit(Unit[ArgMax]):
    """The unit in ``argmax.hpp``."""

    def options(self, node: ArgMax, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return all lanes that divide the channels."""
        return [Parallelism(n, 1) for n in divisors(x.shape[2])]

    def schedule(self, node: ArgMax, x: Value, lanes: Parallelism) -> Schedule:
        """The index leaves with the last channels."""
        return at_the_end(x.size // lanes.lanes_in, node.output.size // lanes.lanes_out)

    def cost(self, node: ArgMax, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A comparison a lane, a choice between every two, and the index so far."""
        choices = logic(x.qint.bits * (lanes.lanes_in - 1) + node.output.qint.bits)
        return total((logic(STREAM_LUT), comparator(x.qint.bits) * lanes.lanes_in, choices))

    def template(self, node: ArgMax, graph: Graph) -> Call:
        """Call ``argmax``; it has no tables."""
        shape = channelwise(node, graph)
        types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
        constants = {"channels": shape["channels"], "lanes": shape["lanes"], "last": node.last}
        return Call("argmax", "argmax", constants, types)


UNITS: Units = {ArgMax: ArgMaxUnit()}
