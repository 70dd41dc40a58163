"""The unit that multiplies two values."""

from __future__ import annotations

from math import ceil

from toolchain.ir.graph import Graph
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, channelwise, input_type, own_slice
from toolchain.units.fabric import product_type, products_per_dsp
from toolchain.units.fabric_costs import SRL_DEPTH, STREAM_LUT, logic, multiplier
from toolchain.units.lanes import divisors, single_products
from toolchain.units.schedule import NEVER, Phase, Schedule, first, word_by_word
from toolchain.units.unit import Unit, Units


class MultiplyUnit(Unit[Multiply]):
    """``multiply.hpp``; what multiplies every position stays in a delay line one position long."""

    def options(self, node: Multiply, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Any lanes of channels, with products in LUTs or on DSP slices."""
        products = single_products(self.operands(node, x))
        return [Parallelism(p, p, n) for p in divisors(x.shape[2]) for n in products]

    def schedule(self, node: Multiply, x: Value, lanes: Parallelism) -> Schedule:
        """A word of both in, a word out; of a factor read once only with the first position."""
        words, kept = x.size // lanes.lanes_in, x.shape[2] // lanes.lanes_in
        if not node.once:
            return word_by_word(words, 2)
        rest = Phase(words - kept, (first(words - kept), NEVER), first(words - kept))
        return Schedule((Phase(kept, (first(kept), first(kept)), first(kept)), rest))

    def cost(self, node: Multiply, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A multiplier a lane, and the delay line."""
        dsp = products_per_dsp(lanes, node.factor, x.qint) > 0
        products = multiplier(node.factor, x.qint, dsp=dsp) * lanes.lanes_in
        kept = x.shape[2] // lanes.lanes_in if node.once else 0
        return total((logic(STREAM_LUT + node.factor.bits * lanes.lanes_in * ceil(kept / SRL_DEPTH)), products))

    def operands(self, node: Multiply, x: Value) -> tuple[QInt, QInt] | None:
        """Return the types of both inputs."""
        return node.factor, x.qint

    def template(self, node: Multiply, graph: Graph) -> Call:
        """Call the unit; it has no tables."""
        kinds = input_type(graph, node), input_type(graph, node, 1)
        constants = channelwise(node, graph) | {"dsp": own_slice(node, node.factor, kinds[0])}
        types = {"a_t": kinds[0], "b_t": kinds[1], "out_t": node.output.qint, "product_t": product_type(*kinds)}
        return Call("multiply", "multiply_all" if node.once else "multiply", constants, types)


UNITS: Units = {Multiply: MultiplyUnit()}
