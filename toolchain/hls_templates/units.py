"""The hardware unit of every operation: which header, with which parameters and tables of constants."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UserError
from toolchain.hls_templates import products, routing  # noqa: F401  they register their units
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
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, RowConv
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, QInt
from toolchain.units.fabric import (
    digit_type,
    product_type,
    products_per_dsp,
    scalings,
    tap_digits,
    tap_packing,
    widest_factor,
)


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
    base, base_sizes = _per_channel("base", node.base, lanes)
    low, high = node.line_range(kind.min, kind.max)
    half = (1 << node.shift) // 2
    total = QInt.holding(min(low, node.low, 0), max(high, node.high, 0) + half)
    constants |= {"dsp": _dsp(node, mul.type, kind), "shift": node.shift}
    numbers = {"low": among(node.low, node.high), "high": among(node.high, node.low)}
    types = {
        "in_t": kind,
        "out_t": node.output.qint,
        "mul_t": mul.type,
        "add_t": add.type,
        "base_t": base.type,
        "product_t": product_type(mul.type, kind),
        "sum_t": total,
    }
    constants |= mul_sizes | add_sizes | base_sizes
    return Unit("mul_shift", "mul_shift", constants, types, (mul, add, base), numbers=numbers)


@template.register
def _(node: GlobalSum, graph: Graph) -> Unit:
    types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
    return Unit("global_sum", "global_sum", channelwise(node, graph), types)


@template.register
def _(node: Add, graph: Graph) -> Unit:
    if widest_factor(node) is not None:
        return _scaled_add(node, graph)
    lanes = int(channelwise(node, graph)["lanes"])
    words = node.output.size // lanes
    numbers = {name: among(int(m[0])) for name, m in zip(("first", "second"), node.multipliers, strict=True)}
    types = {"a_t": input_type(graph, node), "b_t": input_type(graph, node, 1), "out_t": node.output.qint}
    return Unit("elementwise", "add", {"words": words, "lanes": lanes}, types, numbers=numbers)


def _scaled_add(node: Add, graph: Graph) -> Unit:
    """A sum with a factor a channel."""
    constants, lanes = channelwise(node, graph), parallelism(node)
    kinds = input_type(graph, node), input_type(graph, node, 1)
    widest = widest_factor(node)
    shared = 0 if widest is None else products_per_dsp(lanes, widest, kinds[0])
    types = {"a_t": kinds[0], "b_t": kinds[1], "out_t": node.output.qint}
    tables: list[Table] = []
    for name, scaling, kind in zip(("first", "second"), scalings(node), kinds, strict=True):
        table, sizes = _per_channel(name, scaling.factors, lanes.lanes_in)
        tables.append(table)
        constants |= {f"{name}_dsp": scaling.on_dsp(kind, shared), f"{name}_shift": scaling.shift, **sizes}
        types |= {f"{name}_t": table.type, f"{name}_product_t": product_type(table.type, kind)}
    return Unit("scaled_add", "scaled_add", constants, types, tuple(tables))


@template.register
def _(node: ArgMax, graph: Graph) -> Unit:
    shape = channelwise(node, graph)
    types = {"in_t": input_type(graph, node), "out_t": node.output.qint}
    constants = {"channels": shape["channels"], "lanes": shape["lanes"], "last": node.last}
    return Unit("argmax", "argmax", constants, types)
