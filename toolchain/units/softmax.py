"""The unit of a softmax: a table, a sum, a quotient, a bit a cycle, and a product a channel."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.norm import FRACTION
from toolchain.ir.ops.softmax import Softmax
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Storage, Table, check_unroll, impl, input_type, positions
from toolchain.units.fabric_costs import accumulator, adder_tree, comparator, control, logic, memory, multiplier, rom
from toolchain.units.lanes import divisors
from toolchain.units.order import parallelism, require_order
from toolchain.units.schedule import Phase, Runs, Schedule, first
from toolchain.units.unit import Unit, Units

DIVIDE_STEPS = FRACTION + 3
"""Bits of the quotient, which is at most 2**(FRACTION + 2)."""


class SoftmaxUnit(Unit[Softmax]):
    """The unit in ``softmax.hpp``."""

    def options(self, node: Softmax, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Any lanes of a head's channels."""
        return [Parallelism(n, n) for n in divisors(x.shape[2] // node.heads)]

    def schedule(self, node: Softmax, x: Value, lanes: Parallelism) -> Schedule:
        """A head: its words come in, their entries are added up, the quotient is found, its words leave."""
        words = x.shape[2] // node.heads // lanes.lanes_in
        leaves = Runs(2 * words + DIVIDE_STEPS, words)
        turns = x.shape[0] * x.shape[1] * node.heads
        return Schedule((Phase(3 * words + DIVIDE_STEPS, (first(words),), leaves),), turns)

    def cost(self, node: Softmax, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of the lanes, the sum and the quotient.

        A lane has a comparison, a distance, a table, a product, its rounding and memories, the quotient a comparison
        and a subtraction.
        """
        n, entry, kind = lanes.lanes_in, node.fraction + 1, x.qint
        words = x.shape[2] // node.heads // n
        lane = total(
            (
                comparator(kind.bits),
                logic(kind.bits + FRACTION + 1),
                rom(len(node.table), entry),
                multiplier(QInt(entry, False), QInt(DIVIDE_STEPS, False), dsp=True),
                memory(words, kind.bits),
                memory(words, entry),
            )
        )
        sums = entry + (x.shape[2] // node.heads).bit_length()
        return total((control(), lane * n, adder_tree(n, entry), accumulator(sums), logic(2 * sums)))

    def template(self, node: Softmax, graph: Graph) -> Call:
        """Sizes, types and the table, a copy a lane."""
        require_order(graph, node, np.arange)
        x, kind, lanes = graph.value(node.inputs[0]), input_type(graph, node), parallelism(node).lanes_in
        check_unroll(node, lanes)
        channels = x.shape[2] // node.heads
        words, entry = channels // lanes, QInt(node.fraction + 1, False)
        constants: dict[str, int | bool] = {"positions": positions(graph, node) * node.heads, "channels": channels}
        constants |= {"lanes": lanes, "entries": len(node.table), "divide_steps": DIVIDE_STEPS}
        constants |= {"start": node.fraction - 1, "shift": node.shift}
        sums = QInt.holding(0, channels << node.fraction)
        types = {
            "in_t": kind,
            "out_t": node.output.qint,
            "table_t": entry,
            "sum_t": sums,
            "rest_t": QInt(sums.bits + 1, False),
            "factor_t": QInt(DIVIDE_STEPS, False),
            "product_t": QInt(node.fraction + FRACTION + 4, False),
        }
        values = np.repeat(node.table[None, :], lanes, axis=0)
        table = Table("table", entry, values, Storage(impl(len(node.table), entry.bits), partition=(1,)))
        vector = Buffer("vector", "SoftmaxVector", Storage(impl(words, kind.bits), partition=(2,)))
        kept = Buffer("kept", "SoftmaxEntries", Storage(impl(words, entry.bits), partition=(2,)))
        return Call("softmax", "softmax", constants, types, (table,), (vector, kept))


UNITS: Units = {Softmax: SoftmaxUnit()}
