"""The requantizers' units: thresholds compared, multiply, add and shift, or a table."""

from __future__ import annotations

import numpy as np

from toolchain.ir.digits import signed_digits
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import (
    Call,
    Storage,
    Table,
    among,
    channelwise,
    check_unroll,
    input_type,
    own_slice,
    per_channel,
    table_type,
)
from toolchain.units.fabric import product_type, products_per_dsp
from toolchain.units.fabric_costs import (
    STREAM_LUT,
    adder_tree,
    comparator,
    constant_comparator,
    logic,
    lookup_in_luts,
    lookup_table,
    multiplier,
    requantizer,
    rom,
)
from toolchain.units.lanes import channel_lanes, single_products
from toolchain.units.unit import ElementwiseUnit, Units


class ThresholdUnit(ElementwiseUnit[Threshold]):
    """The unit in ``threshold.hpp``."""

    def cost(self, node: Threshold, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of all comparisons that inputs can reach at once, and of counting their results.

        Thresholds that differ from turn to turn come from a memory; one that does not is part of its comparison.
        """
        reachable = np.clip(node.thresholds, x.qint.min, x.qint.max + 1)
        turns = x.shape[2] // lanes.lanes_in if len(reachable) > 1 else 1
        within = ((reachable > x.qint.min) & (reachable <= x.qint.max)).any(axis=0)
        varies = (reachable != reachable[0]).any(axis=0) & (turns > 1)
        varied, fixed = int(varies.sum()), int((within & ~varies).sum())
        compare = comparator(x.qint.bits) * varied + constant_comparator(x.qint.bits) * fixed
        count = adder_tree(varied + fixed, node.step.ndim)  # signs take a bit more
        return total((logic(STREAM_LUT), (compare + count + rom(turns, varied * x.qint.bits)) * lanes.lanes_in))

    def template(self, node: Threshold, graph: Graph) -> Call:
        """Tables of thresholds, starts and steps."""
        kind = input_type(graph, node)
        constants = channelwise(node, graph)
        lanes = int(constants["lanes"])
        steps = node.thresholds.shape[1]
        check_unroll(node, lanes * steps)
        reachable = np.clip(node.thresholds, kind.min, kind.max + 1)  # the rest always or never holds
        tables: list[Table] = []
        for name, values in (("threshold", reachable), ("start", node.start), ("step", node.step)):
            table, sizes = per_channel(name, values, lanes)
            tables.append(table)
            constants |= sizes
        types = {"in_t": kind, "out_t": node.output.qint} | {f"{table.name}_t": table.type for table in tables}
        constants |= {"steps": steps}
        if node.step.ndim > 1:
            return Call("threshold", "staircase", constants, types | {"span_t": _sums(node)}, tuple(tables))
        types |= {"count_t": QInt.holding(0, steps), "span_t": _span(node)}
        return Call("threshold", "threshold", constants, types, tuple(tables))


def _sums(node: Threshold) -> QInt:
    """A type that holds the steps and their sums in any order, with the start."""
    below, above = (clip(node.step, 0).sum(axis=1) for clip in (np.minimum, np.maximum))
    return QInt.holding(
        int((node.start + below).min()) + int(below.min()), int((node.start + above).max()) + int(above.max())
    )


def _span(node: Threshold) -> QInt:
    """A type that holds every step, every count and their products."""
    ends = [int(end) for end in (node.step.min(), node.step.max())]
    steps = node.thresholds.shape[1]
    return QInt.holding(min(*ends, min(ends) * steps, 0), max(*ends, max(ends) * steps, steps))


class MulShiftUnit(ElementwiseUnit[MulShift]):
    """The unit in ``mul_shift.hpp``."""

    def options(self, node: MulShift, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Any lanes of channels, with products in LUTs or on DSP slices."""
        products = single_products(self.operands(node, x))
        return [Parallelism(p, p, n) for p in channel_lanes(x, upstream) for n in products]

    def cost(self, node: MulShift, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A multiplier, two additions (offset, rounding) and a clip; what differs by channel has a memory each."""
        factor = QInt.holding(int(node.mul.min()), int(node.mul.max()))
        offsets = [offset for _, offset in node.lines]
        add_bits = QInt.holding(min(offsets), max(offsets)).bits
        mul_bits = factor.bits
        tables = [values for values in (node.mul, node.add, node.base) if (values != values[0]).any()]
        turns, kinds = x.shape[2] // lanes.lanes_in, [QInt.holding(int(v.min()), int(v.max())) for v in tables]
        memories = total(rom(turns, kind.bits) for kind in kinds)
        trivial, fixed = bool((node.mul == 1).all()), turns == 1 or not (node.mul != node.mul[0]).any()
        dsp = products_per_dsp(lanes, factor, x.qint) > 0
        product = Resources() if trivial else multiplier(factor, x.qint, dsp=dsp)
        if fixed and not dsp:  # the average cost of a lane
            digits = signed_digits(node.mul) - len(node.mul)
            product = logic(max(digits, 0) * (x.qint.bits + 1) / len(node.mul))
        wide = max(x.qint.bits + (0 if trivial else mul_bits), add_bits)
        rest = requantizer(wide, node.output.qint.bits)
        return total((logic(STREAM_LUT), (product + rest + memories) * lanes.lanes_in))

    def operands(self, node: MulShift, x: Value) -> tuple[QInt, QInt] | None:
        """Factors and inputs; none where every factor is 1."""
        return (QInt.holding(int(node.mul.min()), int(node.mul.max())), x.qint) if (node.mul != 1).any() else None

    def template(self, node: MulShift, graph: Graph) -> Call:
        """Tables of factors, offsets and bases."""
        kind = input_type(graph, node)
        constants = channelwise(node, graph)
        lanes = int(constants["lanes"])
        mul, mul_sizes = per_channel("mul", node.mul, lanes)
        add, add_sizes = per_channel("add", node.add, lanes)
        base, base_sizes = per_channel("base", node.base, lanes)
        low, high = node.line_range(kind.min, kind.max)
        half = (1 << node.shift) // 2
        sums = QInt.holding(min(low, node.low, 0), max(high, node.high, 0) + half)
        constants |= {"dsp": own_slice(node, mul.type, kind), "shift": node.shift}
        numbers = {"low": among(node.low, node.high), "high": among(node.high, node.low)}
        types = {
            "in_t": kind,
            "out_t": node.output.qint,
            "mul_t": mul.type,
            "add_t": add.type,
            "base_t": base.type,
            "product_t": product_type(mul.type, kind),
            "sum_t": sums if sums.bits > node.shift else QInt(node.shift + 1, sums.signed),
        }
        constants |= mul_sizes | add_sizes | base_sizes
        return Call("mul_shift", "mul_shift", constants, types, (mul, add, base), numbers=numbers)


class LookupUnit(ElementwiseUnit[Lookup]):
    """The unit in ``lookup.hpp``."""

    def cost(self, node: Lookup, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A memory a lane, with the functions of its channels."""
        functions = x.shape[2] // lanes.lanes_in if len(node.table) > 1 else 1
        memory = lookup_table(functions * node.table.shape[1], node.output.qint.bits)
        return total((logic(STREAM_LUT), memory * lanes.lanes_in))

    def template(self, node: Lookup, graph: Graph) -> Call:
        """Return the call, with the functions of every lane."""
        kind = input_type(graph, node)
        constants = channelwise(node, graph)
        lanes, (functions, entries) = int(constants["lanes"]), node.table.shape
        values = np.repeat(node.table[None], lanes, axis=0)
        if functions > 1:
            values = node.table.reshape(functions // lanes, lanes, entries).transpose(1, 0, 2)
        blocks = values.shape[1]
        impl = "lutram" if lookup_in_luts(blocks * entries, node.output.qint.bits) else "bram"
        table = Table("table", table_type(values), values, Storage(impl, partition=(1,)))
        constants |= {"entries": entries, "table_blocks": blocks}
        ends = kind.min, kind.max, node.low, kind.max - node.low
        types = {"in_t": kind, "out_t": node.output.qint, "table_t": table.type}
        types["place_t"] = QInt.holding(min(*ends, kind.min - node.low), max(ends))
        return Call("lookup", "lookup", constants, types, (table,), numbers={"low": among(node.low, kind.max)})


UNITS: Units = {Threshold: ThresholdUnit(), MulShift: MulShiftUnit(), Lookup: LookupUnit()}
