"""The unit that normalizes the channels of a position: a root and a quotient, a bit a cycle, a product a channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from toolchain.ir.graph import Graph
from toolchain.ir.ops.norm import ROOT_FRACTION, Norm, deviation, freedom
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Constant, Storage, channelwise, impl
from toolchain.units.fabric import use_dsp
from toolchain.units.fabric_costs import accumulator, adder_tree, control, logic, memory, multiplier
from toolchain.units.lanes import divisors
from toolchain.units.schedule import Phase, Runs, Schedule, first
from toolchain.units.unit import Unit, Units


@dataclass(frozen=True)
class _Numbers:
    """Steps and types of a unit that reads ``x``."""

    node: Norm
    x: Value

    @property
    def spread(self) -> int:
        """The largest sum of squares V that inputs of the type reach."""
        kind, channels = self.x.qint, self.x.shape[2]
        if self.node.centred:
            return channels**2 * (kind.max - kind.min) ** 2 // 4
        return (channels * max(-kind.min, kind.max)) ** 2

    @property
    def root_steps(self) -> int:
        """The steps of the square root: the bits of its largest result."""
        return isqrt((self.spread << 2 * ROOT_FRACTION) + self.node.epsilon).bit_length()

    @property
    def divide_steps(self) -> int:
        """The steps of the division: the bits of its largest quotient."""
        return self.node.factor(freedom(self.x.shape[2], centred=self.node.centred)).bit_length()

    @property
    def steps(self) -> int:
        """Cycles from a position's last channels to the first result."""
        return self.root_steps + self.divide_steps

    @property
    def types(self) -> dict[str, QInt]:
        """Types of the intermediate results."""
        kind, channels = self.x.qint, self.x.shape[2]
        reach = max(-kind.min, kind.max)
        apart = deviation(channels, (kind.min, kind.max), centred=self.node.centred)
        return {
            "in_t": kind,
            "sum_t": QInt.holding(channels * kind.min, channels * kind.max),
            "square_t": QInt.holding(0, reach**2),
            "squares_t": QInt.holding(0, channels * reach**2),
            "spread_t": QInt.holding(-((channels * reach) ** 2), (channels * reach) ** 2),
            "pairs_t": QInt(2 * self.root_steps, False),
            "root_t": QInt(self.root_steps, False),
            "rest_t": QInt(self.root_steps + 3, False),
            "factor_t": QInt(self.divide_steps, False),
            "apart_t": QInt.holding(-apart, apart),
            "product_t": QInt.holding(-(apart + 1 << self.divide_steps), apart + 1 << self.divide_steps),
            "out_t": self.node.output.qint,
        }


class NormUnit(Unit[Norm]):
    """The unit in ``norm.hpp``."""

    def options(self, node: Norm, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return all lanes that divide the channels."""
        return [Parallelism(n, n) for n in divisors(x.shape[2])]

    def schedule(self, node: Norm, x: Value, lanes: Parallelism) -> Schedule:
        """A position: its words come in, the root and the quotient are found, its words leave."""
        words, steps = x.shape[2] // lanes.lanes_in, _Numbers(node, x).steps
        leaves = Runs(words + steps, words)
        return Schedule((Phase(2 * words + steps, (first(words),), leaves),), x.shape[0] * x.shape[1])

    def cost(self, node: Norm, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A square and a product a lane, sums, V, a subtraction and a choice a bit of root and quotient, a memory.

        Without a mean there is no sum of the channels and no square of it.
        """
        found, kind, n = _Numbers(node, x), x.qint, lanes.lanes_in
        types = found.types
        lane = total(
            (
                multiplier(kind, kind),
                multiplier(types["apart_t"], types["factor_t"], dsp=True),
                logic(types["apart_t"].bits + types["out_t"].bits),  # bits that are rounded off take none
            )
        )
        mean = total(
            (
                adder_tree(n, kind.bits),
                accumulator(types["sum_t"].bits),
                multiplier(types["sum_t"], types["sum_t"], dsp=True),
                logic(types["spread_t"].bits),
            )
        )
        squares = total(
            (
                adder_tree(n, types["square_t"].bits),
                accumulator(types["squares_t"].bits),
                logic(types["spread_t"].bits),
            )
        )
        sums = mean + squares if node.centred else squares
        bits = logic(2 * types["rest_t"].bits + types["pairs_t"].bits + 3 * types["root_t"].bits)
        return total((control(), lane * n, sums, bits, memory(x.shape[2] // n, n * kind.bits)))

    def template(self, node: Norm, graph: Graph) -> Call:
        """Call ``norm`` with its steps and types."""
        x = graph.value(node.inputs[0])
        found, constants = _Numbers(node, x), channelwise(node, graph)
        words = x.shape[2] // int(constants["lanes"])
        constants |= {
            "root_steps": found.root_steps,
            "divide_steps": found.divide_steps,
            "start": node.reciprocal - found.divide_steps,
            "fraction": 2 * ROOT_FRACTION,
            "shift": node.shift,
            "centred": node.centred,
            "square_dsp": use_dsp(x.qint.bits, x.qint.bits),
        }
        whole, part = divmod(node.epsilon, 1 << 2 * ROOT_FRACTION)
        numbers = {name: Constant(value, QInt.holding(0, value)) for name, value in (("whole", whole), ("part", part))}
        vector = Storage(impl(words, int(constants["lanes"]) * x.qint.bits), reshape=(2,))
        buffers = (Buffer("vector", "NormVector", vector),)
        return Call("norm", "norm", constants, found.types, buffers=buffers, numbers=numbers)


UNITS: Units = {Norm: NormUnit()}
