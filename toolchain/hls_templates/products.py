"""The hardware units of matrix-vector products: of all channels, by group, and with constants."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolchain.errors import FlowError, UserError
from toolchain.hls_templates.streams import parallelism, stream_order
from toolchain.hls_templates.unit import (
    Buffer,
    Storage,
    Table,
    Unit,
    check_unroll,
    impl,
    input_type,
    positions,
    template,
)
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Array, QInt
from toolchain.units.adder_graph import product_graph
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


@template.register
def _(node: MatVec, graph: Graph) -> Unit:
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


@template.register
def _(node: GroupedMatVec, graph: Graph) -> Unit:
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


def _product_unit(
    node: MatVec | GroupedMatVec,
    graph: Graph,
    names: tuple[str, str],
    multiplier: _Multiplier,
    sizes: dict[str, int],
    weight: Array,
) -> Unit:
    """The unit of header and function ``names`` with the loops ``sizes``; every PE has a memory of its own.

    ``weight`` is (fold, ..., SIMD) in the order of the stream.
    """
    kind, steps = input_type(graph, node), sizes["inputs"] // sizes["simd"]
    stored = stored_weight(node, products_per_dsp(parallelism(node), node.weight_type, kind))
    weight = weight if stored == node.weight_type else (weight > 0).astype(np.int64)
    split = tuple(range(2, weight.ndim))
    storage = Storage(impl(len(weight), weight.shape[-1] * stored.bits), partition=split, reshape=(weight.ndim,))
    vector = Storage(impl(steps, sizes["simd"] * kind.bits), reshape=(2,))
    return Unit(
        *names,
        {"positions": positions(graph, node), **sizes, **multiplier.constants},
        {"in_t": kind, "out_t": node.output.qint, "weight_t": stored, **multiplier.types},
        (Table("weight", stored, weight, storage),),
        (Buffer("vector", "MatvecVector", vector),),
        lists=multiplier.lists,
    )


def _constant(node: MatVec | GroupedMatVec, graph: Graph) -> Unit:
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
    return Unit("constant", "matvec_constant", constants, types, network=network)


@dataclass(frozen=True)
class _Multiplier:
    """What a Config says of a matrix-vector unit's products; ``narrow`` ones are those of ``bit_planes.hpp``."""

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
