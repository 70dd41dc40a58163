"""The matrix-vector units: of all channels, by group, and with constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from toolchain.errors import FlowError, UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Array, Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.adder_graph import in_logic, product_graph
from toolchain.units.call import Buffer, Call, Storage, Table, check_unroll, impl, input_type, positions
from toolchain.units.fabric import (
    counts_bits,
    lane_bits,
    packing,
    product_range,
    product_type,
    products_per_dsp,
    stored_weight,
    word_type,
)
from toolchain.units.fabric_costs import (
    STREAM_LUT,
    accumulator,
    additions,
    banks,
    chosen_sum,
    control,
    dots,
    logic,
    memory,
    plane_dot,
)
from toolchain.units.lanes import divisors, single_products
from toolchain.units.limits import MAX_UNROLL
from toolchain.units.order import parallelism, stream_order
from toolchain.units.schedule import Phase, Schedule, ends, first
from toolchain.units.unit import Unit, Units, told_products


@dataclass(frozen=True)
class GroupSteps:
    """The loops of a grouped product: ``together`` groups at once, ``rounds`` of them a position.

    A round has blocks of outputs, and blocks of inputs within. ``simd`` and ``pe`` are those of a group.
    """

    together: int
    rounds: int
    output_blocks: int
    input_blocks: int
    simd: int
    pe: int

    @property
    def cycles(self) -> int:
        """The clock cycles of a round."""
        return self.output_blocks * self.input_blocks


def group_steps(node: MatVec | GroupedMatVec, lanes: Parallelism) -> GroupSteps:
    """The loops of ``node`` with ``lanes``; of a product of all channels those of a single group."""
    if isinstance(node, MatVec):
        outputs, inputs = node.weight.shape
        blocks = outputs // lanes.lanes_out, inputs // lanes.lanes_in
        return GroupSteps(1, 1, *blocks, lanes.lanes_in, lanes.lanes_out)
    together = node.together(lanes)
    simd, pe = lanes.lanes_in // together, lanes.lanes_out // together
    blocks = node.group_outputs // pe, node.group_inputs // simd
    return GroupSteps(together, node.groups // together, *blocks, simd, pe)


P = TypeVar("P", bound=MatVec | GroupedMatVec)


class _ProductUnit(Unit[P]):
    """PE dot products of SIMD terms, a weight memory each; of constants, all inputs and outputs at once."""

    reduces_windows = True

    def schedule(self, node: P, x: Value, lanes: Parallelism) -> Schedule:
        """A round of groups: the input is read during the first block of outputs, each block ends in a write."""
        steps = group_steps(node, lanes)
        every = steps.input_blocks
        one = Phase(steps.cycles, (first(every),), ends(steps.cycles, every))
        return Schedule((one,), x.shape[0] * x.shape[1] * steps.rounds)

    def cost(self, node: P, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Dot products, weight memories, and the inputs kept for other outputs of a round."""
        if lanes.constant:
            return total((logic(STREAM_LUT), additions(product_graph(node, x.qint), x.qint)))
        loops = group_steps(node, lanes)
        simd, pe, steps = loops.simd, loops.pe, loops.input_blocks
        products = products_per_dsp(lanes, node.weight_type, x.qint)
        stored = stored_weight(node, products)
        if not products and (node.signs or counts_bits(stored, x.qint)):
            found = _narrow_dots(node, x.qint, stored, terms=simd, count=pe, steps=steps)
        else:
            found = dots(node.weight_type, x.qint, node.output.qint, lanes, terms=simd, count=pe, steps=steps)
        weights = banks(pe * loops.together, loops.rounds * loops.cycles, simd * stored.bits)
        kept = memory(steps, simd * x.qint.bits, ultra=lanes.ultra) if loops.output_blocks > 1 else Resources()
        return total((control(), found * loops.together, weights, kept))

    def operands(self, node: P, x: Value) -> tuple[QInt, QInt]:
        """Return the types of weights and inputs."""
        return node.weight_type, x.qint

    def facts(self, node: P, lanes: Parallelism) -> dict[str, int]:
        """PE and SIMD of a group, and how many groups at once."""
        steps = group_steps(node, lanes)
        several = {"groups": steps.together} if steps.together > 1 else {}
        constant = {"constant": 1} if lanes.constant else {}
        return {"PE": steps.pe, "SIMD": steps.simd} | several | told_products(lanes) | constant

    def _products(self, node: P, x: Value, pe: int) -> list[int | None]:
        """Return the choices of products a DSP slice: 0 in LUTs, one, or several of ``pe`` outputs."""
        single = single_products(self.operands(node, x))
        return single if single == [0] else [*single, *(n for n in packing(*self.operands(node, x)) if pe % n == 0)]


class MatVecUnit(_ProductUnit[MatVec]):
    """``matvec.hpp``, ``bit_planes.hpp`` where bits are counted, ``constant.hpp``."""

    def options(self, node: MatVec, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """SIMD is what the window delivers, or any divisor of K; PE any divisor of N; all at once of constants."""
        outputs, k = node.weight.shape
        simd = [upstream.lanes_out] if upstream else divisors(k)
        pairs = [(s, pe) for s in simd for pe in divisors(outputs) if s * pe <= MAX_UNROLL]
        constant = [Parallelism(k, outputs, constant=True)] if k in simd and in_logic(node.weight, node.digits) else []
        return [*(Parallelism(s, pe, n) for s, pe in pairs for n in self._products(node, x, pe)), *constant]

    def template(self, node: MatVec, graph: Graph) -> Call:
        """Weights by block of outputs, block of inputs, PE and SIMD, in the order of the stream."""
        lanes, kind = parallelism(node), input_type(graph, node)
        if lanes.constant:
            return _constant(node, graph)
        simd, pe = lanes.lanes_in, lanes.lanes_out
        multiplier = _multiplier(node, kind, pe)
        check_unroll(node, simd * pe)
        outputs, inputs = node.weight.shape
        ordered = node.weight[:, stream_order(graph, node.inputs[0])]
        blocks = ordered.reshape(outputs // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
        sizes = {"inputs": inputs, "outputs": outputs, "simd": simd, "pe": pe}
        names = ("bit_planes", "matvec_narrow") if multiplier.narrow else ("matvec", "matvec")
        return _product_unit(node, graph, names, multiplier, sizes, blocks.reshape(-1, pe, simd))


class GroupedMatVecUnit(_ProductUnit[GroupedMatVec]):
    """The units in ``grouped.hpp`` and ``constant.hpp``."""

    def options(self, node: GroupedMatVec, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Within a group as a matrix-vector product, or several whole groups at once; all of them of constants.

        A word of the window holds channels of one group or those of whole groups, and the outputs of groups that are
        multiplied at once leave at once, so that they keep their order.
        """
        channels = node.weight.shape[2]
        pairs: list[tuple[int, int, int]] = []  # SIMD and PE of all groups together, PE of one
        words = [upstream] if upstream else _plain_words(x.shape[2] // node.taps, node.taps)
        for word in words:
            if channels % word.lanes_in == 0:
                pairs += [(word.lanes_out, pe, pe) for pe in divisors(node.group_outputs)]
            elif word.lanes_in % channels == 0:
                outputs = word.lanes_in // channels * node.group_outputs
                pairs.append((word.lanes_out, outputs, node.group_outputs))
        found = [
            Parallelism(simd, outputs, n)
            for simd, outputs, pe in pairs
            if simd * pe <= MAX_UNROLL
            for n in self._products(node, x, pe)
        ]
        whole = x.shape[2] in [word.lanes_out for word in words] and in_logic(node.weight, node.digits)
        return [*found, *([Parallelism(x.shape[2], len(node.weight), constant=True)] if whole else [])]

    def template(self, node: GroupedMatVec, graph: Graph) -> Call:
        """Call the unit of the loops of ``group_steps``, or of constants where weights are part of the logic."""
        lanes = parallelism(node)
        if lanes.constant:
            return _constant(node, graph)
        together, width = node.together(lanes), node.weight.shape[2]
        simd, pe = lanes.lanes_in // together, lanes.lanes_out // together
        check_unroll(node, lanes.lanes_in * pe)
        side_by_side = width if together > 1 else simd
        weight = _group_weights(node, graph, together, simd, pe, side_by_side)
        multiplier = _multiplier(node, input_type(graph, node), pe)
        sizes = {
            "rounds": node.groups // together,
            "together": together,
            "lanes": side_by_side,
            "inputs": node.group_inputs * together,
            "outputs": node.group_outputs * together,
            "simd": lanes.lanes_in,
            "pe": lanes.lanes_out,
        }
        names = ("grouped", "matvec_grouped_narrow" if multiplier.narrow else "matvec_grouped")
        return _product_unit(node, graph, names, multiplier, sizes, weight)


UNITS: Units = {MatVec: MatVecUnit(), GroupedMatVec: GroupedMatVecUnit()}


def _plain_words(channels: int, taps: int) -> list[Parallelism]:
    """The words of a stream in plain order: of some channels, or with taps that of a window with all channels."""
    if taps == 1:
        return [Parallelism(n, n) for n in divisors(channels)]
    return [Parallelism(channels, channels), Parallelism(channels, channels * taps)]


def _narrow_dots(
    node: MatVec | GroupedMatVec, act: QInt, stored: QInt, *, terms: int, count: int, steps: int
) -> Resources:
    """``count`` dot products by counting bits; with signs for weights one sum of all inputs, taken from each."""
    bits = node.output.qint.bits
    dot = plane_dot(terms, stored.bits, act.bits) if counts_bits(stored, act) else chosen_sum(terms, act.bits)
    less = logic(bits) if node.signs else Resources()
    lane = total((dot, less, accumulator(bits) if steps > 1 else Resources()))
    return lane * count + (dot if node.signs else Resources())


def _group_weights(node: GroupedMatVec, graph: Graph, together: int, simd: int, pe: int, side_by_side: int) -> Array:
    """Weights (fold, together, pe, simd) in the order of the stream, a fold being (round, output block, input block).

    A word of the stream has ``simd`` inputs of every group, ``side_by_side`` of one behind those of another.
    """
    _, taps, channels = node.weight.shape
    order = stream_order(graph, node.inputs[0])
    places = order.reshape(-1, node.group_inputs // simd, simd // side_by_side, together, side_by_side)
    places = places.transpose(0, 3, 1, 2, 4).reshape(node.groups, -1, simd)  # (group, input block, lane)
    tap, channel = np.divmod(places, node.groups * channels)
    group = np.arange(node.groups)[:, None, None]
    if not np.array_equal(channel // channels, np.broadcast_to(group, channel.shape)):
        raise FlowError(f"node '{node.name}' cannot read '{node.inputs[0]}' in the order of its stream")
    filters = node.weight.reshape(node.groups, -1, taps, channels)
    ordered = filters[group, :, tap, channel % channels]  # (group, input block, lane, output)
    blocks = ordered.reshape(-1, together, node.group_inputs // simd, simd, node.group_outputs // pe, pe)
    return blocks.transpose(0, 4, 2, 1, 5, 3).reshape(-1, together, pe, simd)


@dataclass(frozen=True)
class _Multiplier:
    """Multipliers of a matrix-vector unit as its Config names them; ``narrow`` ones are those of ``bit_planes.hpp``."""

    constants: dict[str, int | bool]
    types: dict[str, QInt]
    lists: dict[str, tuple[int, ...]] = field(default_factory=dict)
    narrow: bool = False


def _multiplier(node: MatVec | GroupedMatVec, act: QInt, pe: int) -> _Multiplier:
    """Products in LUTs or bits counted, one a DSP slice, or those of ``pe`` consecutive outputs packed into one."""
    lanes, weight = parallelism(node), node.weight_type
    count = products_per_dsp(lanes, weight, act)
    constants: dict[str, int | bool] = {"products_per_dsp": count}
    types = {"product_t": product_type(weight, act)}
    planes = counts_bits(stored_weight(node, count), act)
    if count == 0 and (planes or node.signs):
        return _Multiplier({"planes": planes, "signs": node.signs}, {}, narrow=True)
    if count <= 1:
        return _Multiplier(constants, types)
    found = packing(weight, act)
    if count not in found or pe % count:
        legal = ", ".join(str(n) for n in (0, 1, *found) if n == 0 or pe % n == 0)
        raise UserError(
            f"{pe} outputs a cycle cannot take {count} products {weight} x {act} from a DSP slice",
            where=f"node {node.name}",
            hint=f"products_per_dsp can be {legal}",
        )
    offsets = found[count]
    types["word_t"] = word_type((weight.min, weight.max), offsets)
    types["wide_t"] = word_type(product_range(weight, act), offsets)
    return _Multiplier(constants | {"lane_bits": lane_bits(weight, act)}, types, {"offsets": offsets})


def _product_unit(
    node: MatVec | GroupedMatVec,
    graph: Graph,
    names: tuple[str, str],
    multiplier: _Multiplier,
    sizes: dict[str, int],
    weight: Array,
) -> Call:
    """The unit of header and function ``names`` with the loops ``sizes``; every PE has a memory of its own.

    ``weight`` is (fold, ..., SIMD) in the order of the stream.
    """
    kind, steps = input_type(graph, node), sizes["inputs"] // sizes["simd"]
    stored = stored_weight(node, products_per_dsp(parallelism(node), node.weight_type, kind))
    weight = weight if stored == node.weight_type else (weight > 0).astype(np.int64)
    split = tuple(range(2, weight.ndim))
    storage = Storage(impl(len(weight), weight.shape[-1] * stored.bits), partition=split, reshape=(weight.ndim,))
    vector = Storage(impl(steps, sizes["simd"] * kind.bits, ultra=parallelism(node).ultra), reshape=(2,))
    return Call(
        *names,
        {"positions": positions(graph, node), **sizes, **multiplier.constants},
        {"in_t": kind, "out_t": node.output.qint, "weight_t": stored, **multiplier.types},
        (Table("weight", stored, weight, storage),),
        (Buffer("vector", "MatvecVector", vector),),
        lists=multiplier.lists,
    )


def _constant(node: MatVec | GroupedMatVec, graph: Graph) -> Call:
    """The weights as a network of additions."""
    lanes, kind = parallelism(node), input_type(graph, node)
    outputs, inputs = len(node.weight), graph.value(node.inputs[0]).shape[2]
    if (lanes.lanes_in, lanes.lanes_out) != (inputs, outputs):
        raise UserError(
            f"constant weights with lanes_in {lanes.lanes_in} and lanes_out {lanes.lanes_out}",
            where=f"node {node.name}",
            hint=f"a unit of constants takes {inputs} and gives {outputs} at once",
        )
    constants: dict[str, int | bool] = {"positions": positions(graph, node), "inputs": inputs, "outputs": outputs}
    network = product_graph(node, kind).reordered(stream_order(graph, node.inputs[0]))
    types = {"in_t": kind, "out_t": node.output.qint}
    return Call("constant", "matvec_constant", constants, types, network=network)
