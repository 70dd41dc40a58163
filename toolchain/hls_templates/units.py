"""The hardware unit of every operation: which header, with which parameters and tables of constants."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolchain.errors import FlowError, UserError
from toolchain.hls_templates import routing  # noqa: F401  registers its units
from toolchain.hls_templates.adder_graph import adder_graph
from toolchain.hls_templates.fabric import (
    counts_bits,
    digit_type,
    lane_bits,
    packing,
    product_range,
    product_type,
    products_per_dsp,
    stored_weight,
    tap_digits,
    tap_packing,
    word_type,
)
from toolchain.hls_templates.literals import Constant, among
from toolchain.hls_templates.streams import parallelism, require_order, stream_order, window_order
from toolchain.hls_templates.unit import (
    Buffer,
    Storage,
    Table,
    Unit,
    channelwise,
    check_unroll,
    impl,
    input_type,
    positions,
    table_type,
    template,
)
from toolchain.ir.graph import Graph
from toolchain.ir.ops import (
    Add,
    ArgMax,
    Array,
    Depthwise,
    GlobalSum,
    GroupedMatVec,
    MatVec,
    MulShift,
    Node,
    Pool,
    RowConv,
    Threshold,
    Window,
)
from toolchain.ir.ranges import line_range
from toolchain.ir.types import QInt


def _dsp(node: Node, weight: QInt, act: QInt) -> bool:
    """Whether the products of a unit that shares none are on DSP slices."""
    count = products_per_dsp(parallelism(node), weight, act)
    if count > 1:
        raise UserError(
            f"{count} products a DSP slice, {type(node).__name__} takes 0 or 1",
            where=f"node {node.name}",
            hint="only outputs of a matrix-vector product share their inputs",
        )
    return count == 1


@template.register
def _(node: Window, graph: Graph) -> Unit:
    require_order(graph, node, np.arange)
    x, lanes = graph.value(node.inputs[0]), parallelism(node)
    (height, width, channels), (out_height, out_width, _) = x.shape, node.output.shape
    parallel = node.taps > 1 and lanes.lanes_out == lanes.lanes_in * node.taps
    check_unroll(node, lanes.lanes_out)
    span = (node.kernel[0] - 1) * node.dilation[0] + 1
    rows = span + node.stride[0] + max(0, height - node.stride[0] * out_height)
    words, bits = width * channels // lanes.lanes_in, lanes.lanes_in * x.qint.bits
    if parallel:
        storage = Storage(impl(words, bits), partition=(1,))
    else:
        storage = Storage(impl(rows * words, bits))
    return Unit(
        "window",
        "window_parallel" if parallel else "window_serial",
        {
            "height": height,
            "width": width,
            "channels": channels,
            "lanes": lanes.lanes_in,
            "out_height": out_height,
            "out_width": out_width,
            "kernel_h": node.kernel[0],
            "kernel_w": node.kernel[1],
            "stride_h": node.stride[0],
            "stride_w": node.stride[1],
            "dilation_h": node.dilation[0],
            "dilation_w": node.dilation[1],
            "pad_top": node.pads[0],
            "pad_left": node.pads[1],
        },
        {"type": x.qint},
        buffers=(Buffer("rows", "WindowRows", storage, packed=True),),
        numbers={"pad_value": Constant(node.pad_value, x.qint)},
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
    outputs, inputs = node.matrix.shape
    if (lanes.lanes_in, lanes.lanes_out) != (inputs, outputs):
        raise UserError(
            f"constant weights with lanes_in {lanes.lanes_in} and lanes_out {lanes.lanes_out}",
            where=f"node {node.name}",
            hint=f"a unit of constants takes {inputs} and gives {outputs} at once",
        )
    constants: dict[str, int | bool] = {"positions": positions(graph, node), "inputs": inputs, "outputs": outputs}
    network = adder_graph(node.matrix, kind).reordered(stream_order(graph, node.inputs[0]))
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


@template.register
def _(node: RowConv, graph: Graph) -> Unit:
    lanes, x = parallelism(node), graph.value(node.inputs[0])
    outputs, taps, inputs = node.weight.shape
    height, width, _ = x.shape
    simd, pe = lanes.lanes_in, lanes.lanes_out // lanes.columns
    check_unroll(node, simd * pe * taps)
    packing = tap_packing(node.weight_type, x.qint, taps, lanes.columns)
    if packing is None:
        raise UserError(
            f"{taps} taps x {lanes.columns} columns of {node.weight_type} x {x.qint} do not fit a DSP slice",
            where=f"node {node.name}",
            hint="choose fewer columns",
        )
    digits = tap_digits(node.weight[:, :, stream_order(graph, x.name)].transpose(0, 2, 1))
    blocks = digits.reshape(outputs // pe, pe, inputs // simd, simd, taps).transpose(0, 2, 1, 3, 4)
    weight, kind = blocks.reshape(-1, pe, simd, taps), digit_type(node.weight)
    words = outputs // lanes.lanes_out
    return Unit(
        "row_conv",
        "row_conv",
        {
            "height": height,
            "width": width,
            "columns": lanes.columns,
            "taps": taps,
            "pad": node.pad,
            "inputs": inputs,
            "outputs": outputs,
            "simd": simd,
            "pe": pe,
            "spacing": packing.spacing,
            "chain": packing.chain,
        },
        {
            "in_t": x.qint,
            "out_t": node.output.qint,
            "digit_t": kind,
            "word_t": packing.word,
            "value_t": packing.value,
        },
        (Table("digit", kind, weight, Storage(impl(len(weight), simd * taps * kind.bits), (2,), (3, 4))),),
        (
            Buffer("columns", "RowColumns", Storage(impl(2 * inputs // simd, simd * x.qint.bits), (2,), (4,))),
            Buffer("results", "RowResults", Storage(impl(4 * words, node.output.qint.bits), (2, 4, 5))),
        ),
    )


@template.register
def _(node: Depthwise, graph: Graph) -> Unit:
    lanes, kind = parallelism(node), input_type(graph, node)
    taps, channels = node.weight.shape
    width = lanes.lanes_out
    parallel = lanes.lanes_in // width
    check_unroll(node, lanes.lanes_in)
    require_order(graph, node, lambda count: window_order(taps, count // taps, width))
    blocks = node.weight.reshape(taps, channels // width, width).transpose(1, 0, 2)
    weight = blocks.reshape(-1, parallel, width)
    storage = Storage(impl(len(weight), parallel * node.weight_type.bits), partition=(3,), reshape=(2,))
    return Unit(
        "depthwise",
        "depthwise",
        {
            "positions": positions(graph, node),
            "channels": channels,
            "lanes": width,
            "taps": taps,
            "parallel": parallel,
            "dsp": _dsp(node, node.weight_type, kind),
        },
        {
            "in_t": kind,
            "out_t": node.output.qint,
            "weight_t": node.weight_type,
            "product_t": product_type(node.weight_type, kind),
        },
        (Table("weight", node.weight_type, weight, storage),),
    )


@template.register
def _(node: Pool, graph: Graph) -> Unit:
    lanes = parallelism(node)
    check_unroll(node, lanes.lanes_in)
    require_order(graph, node, lambda count: window_order(node.taps, count // node.taps, lanes.lanes_out))
    return Unit(
        "pool",
        "pool",
        {
            "positions": positions(graph, node),
            "channels": node.output.shape[2],
            "lanes": lanes.lanes_out,
            "taps": node.taps,
            "parallel": lanes.lanes_in // lanes.lanes_out,
            "maximum": node.kind == "max",
        },
        {"in_t": input_type(graph, node), "out_t": node.output.qint},
    )


def _per_channel(name: str, values: Array, lanes: int) -> tuple[Table, dict[str, int | bool]]:
    """A table of one entry, or one a channel, split by lane, and its two sizes as parameters."""
    if np.all(values == values[:1]):
        values = values[:1]
    width = lanes if len(values) > 1 else 1
    shaped = values.reshape(len(values) // width, width, *values.shape[1:])
    kind = table_type(shaped)
    depth = kind.bits * (values.shape[1] if values.ndim > 1 else 1)
    reshape = (3,) if values.ndim > 1 else ()
    table = Table(name, kind, shaped, Storage(impl(len(shaped), depth), partition=(2,), reshape=reshape))
    return table, {f"{name}_blocks": shaped.shape[0], f"{name}_lanes": width}


@template.register
def _(node: Threshold, graph: Graph) -> Unit:
    kind = input_type(graph, node)
    constants = channelwise(node, graph)
    lanes = int(constants["lanes"])
    steps = node.thresholds.shape[1]
    check_unroll(node, lanes * steps)
    reachable = np.clip(node.thresholds, kind.min, kind.max + 1)  # the rest always or never holds
    tables: list[Table] = []
    for name, values in (("threshold", reachable), ("start", node.start), ("step", node.step)):
        table, sizes = _per_channel(name, values, lanes)
        tables.append(table)
        constants |= sizes
    types = {"in_t": kind, "out_t": node.output.qint, "count_t": QInt.holding(0, steps), "span_t": _span(node)}
    types |= {f"{table.name}_t": table.type for table in tables}
    return Unit("threshold", "threshold", constants | {"steps": steps}, types, tuple(tables))


def _span(node: Threshold) -> QInt:
    """A type that holds every step, every count and their products."""
    ends = [int(end) for end in (node.step.min(), node.step.max())]
    steps = node.thresholds.shape[1]
    return QInt.holding(min(*ends, min(ends) * steps, 0), max(*ends, max(ends) * steps, steps))


@template.register
def _(node: MulShift, graph: Graph) -> Unit:
    kind = input_type(graph, node)
    constants = channelwise(node, graph)
    lanes = int(constants["lanes"])
    mul, mul_sizes = _per_channel("mul", node.mul, lanes)
    add, add_sizes = _per_channel("add", node.add, lanes)
    low, high = line_range(node, kind.min, kind.max)
    half = (1 << node.shift) // 2
    total = QInt.holding(min(low, node.low, 0), max(high, node.high, 0) + half)
    constants |= {"dsp": _dsp(node, mul.type, kind), "shift": node.shift}
    numbers = {"low": among(node.low, node.high), "high": among(node.high, node.low)}
    types = {
        "in_t": kind,
        "out_t": node.output.qint,
        "mul_t": mul.type,
        "add_t": add.type,
        "product_t": product_type(mul.type, kind),
        "sum_t": total,
    }
    return Unit("mul_shift", "mul_shift", constants | mul_sizes | add_sizes, types, (mul, add), numbers=numbers)


@template.register
def _(node: GlobalSum, graph: Graph) -> Unit:
    types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
    return Unit("global_sum", "global_sum", channelwise(node, graph), types)


@template.register
def _(node: Add, graph: Graph) -> Unit:
    lanes = int(channelwise(node, graph)["lanes"])
    words = node.output.size // lanes
    numbers = {name: among(factor) for name, factor in zip(("first", "second"), node.multipliers, strict=True)}
    types = {"a_t": input_type(graph, node), "b_t": input_type(graph, node, 1), "out_t": node.output.qint}
    return Unit("elementwise", "add", {"words": words, "lanes": lanes}, types, numbers=numbers)


@template.register
def _(node: ArgMax, graph: Graph) -> Unit:
    shape = channelwise(node, graph)
    types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
    constants = {"channels": shape["channels"], "lanes": shape["lanes"], "last": node.last}
    return Unit("argmax", "argmax", constants, types)
