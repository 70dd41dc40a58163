"""The units that add two values: elementwise, or each operand times a factor a channel."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.ir.channels import shrink_rows
from toolchain.ir.digits import signed_digits, trailing_zeros
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.types import Array, Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, Table, among, channelwise, input_type, per_channel
from toolchain.units.fabric import product_type, products_per_dsp
from toolchain.units.fabric_costs import STREAM_LUT, logic, multiplier, rom, scaled_copies
from toolchain.units.lanes import divisors
from toolchain.units.order import parallelism
from toolchain.units.schedule import Schedule, word_by_word
from toolchain.units.unit import Unit, Units

NARROW_FACTOR = 4
"""A product with a scaled operand of so few bits takes fewer LUTs than a DSP slice is worth."""


@dataclass(frozen=True)
class Scaling:
    """Scaling of one operand of an Add: by ``factors`` (C or 1,) of ``type``, then by 2**shift."""

    factors: Array
    shift: int
    type: QInt

    @property
    def per_channel(self) -> bool:
        """Whether the factor comes from a table; one factor for all channels is built from shifts and additions."""
        return len(self.factors) > 1

    def on_dsp(self, operand: QInt, products: int) -> bool:
        """Return whether the product with ``operand`` is on a DSP slice, in a unit of so many ``products`` a slice."""
        return products > 0 and self.per_channel and min(self.type.bits, operand.bits) > NARROW_FACTOR


def scalings(node: Add) -> tuple[Scaling, Scaling]:
    """Return the scalings of the two operands of ``node``; zeros in which all factors end are a shift."""
    first, second = (_scaling(multipliers) for multipliers in node.multipliers)
    return first, second


def _scaling(multipliers: Array) -> Scaling:
    shift = trailing_zeros(multipliers)
    factors = multipliers >> shift
    factors = shrink_rows(factors)
    return Scaling(factors, shift, QInt.holding(int(factors.min()), int(factors.max())))


def widest_factor(node: Add) -> QInt | None:
    """Type of the widest factors that come from a table; None when none do."""
    kinds = [scaling.type for scaling in scalings(node) if scaling.per_channel]
    return max(kinds, key=lambda kind: kind.bits, default=None)


class AddUnit(Unit[Add]):
    """``elementwise.hpp``, or ``scaled_add.hpp`` with factors a channel."""

    def options(self, node: Add, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Factors a channel of more than two bits are multiplied in LUTs or, where wide, on DSP slices."""
        widest = widest_factor(node)
        products = (None,) if widest is None else (0,) if widest.bits <= 2 else (0, 1)
        return [Parallelism(p, p, n) for p in divisors(x.shape[2]) for n in products]

    def schedule(self, node: Add, x: Value, lanes: Parallelism) -> Schedule:
        """A word of both in, a word out."""
        return word_by_word(x.size // lanes.lanes_in, 2)

    def cost(self, node: Add, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """One adder a lane, and the products of both operands: additions of one factor, else multipliers, a memory."""
        turns, widest = x.shape[2] // lanes.lanes_in, widest_factor(node)
        products = 0 if widest is None else products_per_dsp(lanes, widest, x.qint)
        parts = [logic(node.output.qint.bits)]
        for scaling, operand in zip(scalings(node), (x.qint, (others or (x,))[0].qint), strict=True):
            if scaling.per_channel:
                dsp = scaling.on_dsp(operand, products)
                parts += [multiplier(scaling.type, operand, dsp=dsp), rom(turns, scaling.type.bits)]
            else:
                parts.append(scaled_copies(signed_digits(scaling.factors), operand.bits))
        return total((logic(STREAM_LUT), total(parts) * lanes.lanes_in))

    def operands(self, node: Add, x: Value) -> tuple[QInt, QInt] | None:
        """The widest factors from a table, and inputs; none without a table."""
        widest = widest_factor(node)
        return None if widest is None else (widest, x.qint)

    def template(self, node: Add, graph: Graph) -> Call:
        """One factor an operand, or tables of them."""
        if widest_factor(node) is not None:
            return _scaled_add(node, graph)
        lanes = int(channelwise(node, graph)["lanes"])
        words = node.output.size // lanes
        numbers = {name: among(int(m[0])) for name, m in zip(("first", "second"), node.multipliers, strict=True)}
        types = {"a_t": input_type(graph, node), "b_t": input_type(graph, node, 1), "out_t": node.output.qint}
        return Call("elementwise", "add", {"words": words, "lanes": lanes}, types, numbers=numbers)


def _scaled_add(node: Add, graph: Graph) -> Call:
    constants, lanes = channelwise(node, graph), parallelism(node)
    kinds = input_type(graph, node), input_type(graph, node, 1)
    widest = widest_factor(node)
    shared = 0 if widest is None else products_per_dsp(lanes, widest, kinds[0])
    types = {"a_t": kinds[0], "b_t": kinds[1], "out_t": node.output.qint}
    tables: list[Table] = []
    for name, scaling, kind in zip(("first", "second"), scalings(node), kinds, strict=True):
        table, sizes = per_channel(name, scaling.factors, lanes.lanes_in)
        tables.append(table)
        constants |= {f"{name}_dsp": scaling.on_dsp(kind, shared), f"{name}_shift": scaling.shift, **sizes}
        types |= {f"{name}_t": table.type, f"{name}_product_t": product_type(table.type, kind)}
    return Call("scaled_add", "scaled_add", constants, types, tuple(tables))


UNITS: Units = {Add: AddUnit()}
