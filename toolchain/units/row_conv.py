"""The row convolution unit: several positions of a row at once, taps times columns on a DSP slice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import RowConv
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Storage, Table, check_unroll, impl
from toolchain.units.fabric import digit_type, tap_digits, tap_packing
from toolchain.units.fabric_costs import SRL_DEPTH, adder_tree, banks, counters, delay, logic, memory
from toolchain.units.lanes import divisors
from toolchain.units.limits import MAX_UNROLL
from toolchain.units.order import parallelism, stream_order
from toolchain.units.schedule import NEVER, Phase, Schedule, ends, first
from toolchain.units.unit import Unit, Units, told_products


@dataclass(frozen=True)
class RowSteps:
    """The loops of a row convolution for ``columns`` positions: blocks of outputs, blocks of inputs within."""

    output_blocks: int
    input_blocks: int

    @property
    def cycles(self) -> int:
        """The clock cycles of a step."""
        return self.output_blocks * self.input_blocks


def row_steps(node: RowConv, lanes: Parallelism) -> RowSteps:
    """The loops of ``node`` with ``lanes``."""
    outputs, _, k = node.weight.shape
    return RowSteps(outputs * lanes.columns // lanes.lanes_out, k // lanes.lanes_in)


class RowConvUnit(Unit[RowConv]):
    """The unit in ``row_conv.hpp``."""

    def options(self, node: RowConv, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return lanes with columns that divide a row and fit a DSP slice; the outputs of a step fill whole words."""
        outputs, taps, k = node.weight.shape
        simd = [upstream.lanes_out] if upstream else divisors(k)
        return [
            Parallelism(s, lanes, taps * columns, columns)
            for columns in _columns(node, x)
            for s in simd
            for lanes in divisors(outputs)
            if lanes % columns == 0 and s * taps * lanes // columns <= MAX_UNROLL
        ]

    def schedule(self, node: RowConv, x: Value, lanes: Parallelism) -> Schedule:
        """The first columns are read and two steps made, then a row is a number of steps.

        A step reads the columns of the next one and writes those of the one before the last. Without padding, the first
        steps of a row write nothing: their columns reach past its edge.
        """
        step, groups = row_steps(node, lanes), x.shape[1] // lanes.columns
        silent = 0 if node.pad else (node.taps - 1) // lanes.columns
        length, reads = step.cycles, first(lanes.columns * step.input_blocks)
        writing = Phase(length, (reads,), ends(length, step.input_blocks), groups - silent)
        return Schedule(
            (Phase(length, (reads,), NEVER, silent), writing) if silent else (writing,),
            x.shape[0],
            (Phase(reads.length, (reads,), NEVER), Phase(length, (reads,), NEVER, 2)),
        )

    def cost(self, node: RowConv, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A DSP slice an input and a PE; fields are summed behind chains of slices, which add up by themselves.

        A slice takes its operands a cycle later than the one before it in the chain. Packing and unpacking are wires,
        but for signed inputs. Around the sums: what waits for the next step, the columns of this one and the next, and
        the ring of columns that leave.
        """
        _, taps, _ = node.weight.shape
        simd, columns, bits = lanes.lanes_in, lanes.columns, node.output.qint.bits
        pe, step = lanes.lanes_out // columns, row_steps(node, lanes)
        packing = tap_packing(node.weight_type, x.qint, taps, columns)
        if packing is None:
            raise ValueError(f"node '{node.name}' cannot take {columns} columns at once")
        fields = taps + columns - 1
        sums = adder_tree(ceil(simd / packing.chain), packing.spacing) * fields
        added = fields if step.input_blocks > 1 else taps - 1
        waiting = (taps - 1) * bits * ceil(step.output_blocks / SRL_DEPTH)
        ring = memory(4 * step.output_blocks // columns, bits) * columns**2 + logic(bits * columns * ceil(columns / 4))
        digits = taps * digit_type(node.weight).bits
        values, words = (_staggered(simd, packing.chain, n) for n in (columns * x.qint.bits, digits))
        weights = banks(pe, step.cycles, simd * digits)
        height, groups = x.shape[0], x.shape[1] // columns
        places = (step.input_blocks, step.output_blocks, step.output_blocks, step.cycles, columns, columns)
        loops = counters(*places, groups, groups, height, height)
        pack = logic(simd * (columns - 1) * x.qint.bits if x.qint.signed else 0)
        kept = memory(2 * step.input_blocks, simd * x.qint.bits) * columns
        lane = total((Resources(dsp=simd), words, sums, logic(added * bits + waiting), ring))
        return total((loops, pack, kept, values, weights, lane * pe))

    def template(self, node: RowConv, graph: Graph) -> Call:
        """Digits of packed words by block of outputs, block of inputs, PE and SIMD."""
        lanes, x = parallelism(node), graph.value(node.inputs[0])
        outputs, taps, inputs = node.weight.shape
        simd, pe = lanes.lanes_in, lanes.lanes_out // lanes.columns
        check_unroll(node, simd * pe * taps)
        packing = tap_packing(node.weight_type, x.qint, taps, lanes.columns)
        if packing is None:
            raise UserError(
                f"{taps} taps x {lanes.columns} columns of {node.weight_type} x {x.qint} do not fit a DSP slice",
                where=f"node {node.name}",
                hint="choose fewer columns",
            )
        sizes = {"height": x.shape[0], "width": x.shape[1], "columns": lanes.columns, "taps": taps, "pad": node.pad}
        sizes |= {"inputs": inputs, "outputs": outputs, "simd": simd, "pe": pe}
        types = {"in_t": x.qint, "out_t": node.output.qint, "digit_t": digit_type(node.weight)}
        types |= {"word_t": packing.word, "value_t": packing.value}
        words = outputs // lanes.lanes_out
        return Call(
            "row_conv",
            "row_conv",
            {**sizes, "spacing": packing.spacing, "chain": packing.chain},
            types,
            (_digits(node, graph, simd, pe),),
            (
                Buffer("columns", "RowColumns", Storage(impl(2 * inputs // simd, simd * x.qint.bits), (2,), (4,))),
                Buffer("results", "RowResults", Storage(impl(4 * words, node.output.qint.bits), (2, 4, 5))),
            ),
        )

    def completed(self, node: RowConv, x: Value, lanes: Parallelism) -> Parallelism:
        """Return ``lanes`` with all taps of all columns on one slice where they do not say otherwise."""
        return (
            lanes if lanes.products_per_dsp is not None else replace(lanes, products_per_dsp=node.taps * lanes.columns)
        )

    def facts(self, node: RowConv, lanes: Parallelism) -> dict[str, int]:
        """PE and SIMD of a column, and the columns."""
        pe = lanes.lanes_out // lanes.columns
        return {"PE": pe, "SIMD": lanes.lanes_in, "columns": lanes.columns} | told_products(lanes)


def _staggered(simd: int, chain: int, bits: int) -> Resources:
    """Return the registers in which ``simd`` operands wait for their turn in chains of so many slices."""
    several = total(delay(place % chain + 1, bits) for place in range(simd))
    return replace(several, ff=max(several.ff - simd * bits, 0))


def _columns(node: RowConv, x: Value) -> list[int]:
    """Columns that can be computed at once: without padding, whole steps reach past the row's edge."""
    return [
        columns
        for columns in divisors(x.shape[1])
        if columns > 1
        and tap_packing(node.weight_type, x.qint, node.taps, columns)
        and (node.pad <= columns if node.pad else (node.taps - 1) % columns == 0)
    ]


def _digits(node: RowConv, graph: Graph, simd: int, pe: int) -> Table:
    outputs, taps, inputs = node.weight.shape
    digits = tap_digits(node.weight[:, :, stream_order(graph, node.inputs[0])].transpose(0, 2, 1))
    blocks = digits.reshape(outputs // pe, pe, inputs // simd, simd, taps).transpose(0, 2, 1, 3, 4)
    weight, kind = blocks.reshape(-1, pe, simd, taps), digit_type(node.weight)
    return Table("digit", kind, weight, Storage(impl(len(weight), simd * taps * kind.bits), (2,), (3, 4)))


UNITS: Units = {RowConv: RowConvUnit()}
