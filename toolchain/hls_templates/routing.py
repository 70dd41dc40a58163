"""The hardware units that copy, join, pick and spread the words of streams and change nothing in them."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UserError
from toolchain.hls_templates.streams import parallelism, require_order
from toolchain.hls_templates.unit import (
    Buffer,
    Storage,
    Unit,
    channelwise,
    check_unroll,
    impl,
    input_type,
    positions,
    template,
)
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Concat, DepthToSpace, Slice, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.wiring import Fork, WidthConvert


@template.register
def _(node: Fork, graph: Graph) -> Unit:
    lanes = parallelism(node).lanes_in
    words = node.outputs[0].size // lanes
    constants: dict[str, int | bool] = {"words": words, "lanes": lanes}
    return Unit("elementwise", "fork", constants, {"in_t": input_type(graph, node)}, variadic="outputs")


@template.register
def _(node: Concat, graph: Graph) -> Unit:
    lanes = int(channelwise(node, graph)["lanes"])
    blocks = tuple(channels // lanes for channels in node.channels)
    constants: dict[str, int | bool] = {"positions": positions(graph, node), "total": sum(blocks), "lanes": lanes}
    types = {"out_t": node.output.qint}
    return Unit("channels", "concat", constants, types, variadic="inputs", lists={"blocks": blocks})


@template.register
def _(node: Slice, graph: Graph) -> Unit:
    constants = channelwise(node, graph)
    lanes = int(constants["lanes"])
    constants |= {"first": node.start // lanes, "last": (node.start + node.output.shape[2]) // lanes}
    return Unit("channels", "slice", constants, {"in_t": input_type(graph, node)})


@template.register
def _(node: Upsample, graph: Graph) -> Unit:
    return _spread(node, graph, node.factors, (0, 0), (0, 0))


@template.register
def _(node: DepthToSpace, graph: Graph) -> Unit:
    b, words = node.block, node.output.shape[2] // parallelism(node).lanes_out
    if node.channels_first:
        return _spread(node, graph, (b, b), (0, 0), (b, 1))
    return _spread(node, graph, (b, b), (b * words, words), (0, 0))


def _spread(
    node: Node, graph: Graph, factors: tuple[int, int], steps: tuple[int, int], offsets: tuple[int, int]
) -> Unit:
    """The unit that makes ``factors`` positions from each; the next one's channels lie ``steps`` words on, or
    ``offsets`` lanes."""
    require_order(graph, node, np.arange)
    x, lanes = graph.value(node.inputs[0]), parallelism(node)
    check_unroll(node, lanes.lanes_in)
    in_words, out_words = x.shape[2] // lanes.lanes_in, node.output.shape[2] // lanes.lanes_out
    constants: dict[str, int | bool] = {"height": x.shape[0], "width": x.shape[1]}
    constants |= {"in_words": in_words, "out_words": out_words}
    for name, pair in (("factor", factors), ("step", steps), ("lane", offsets)):
        constants |= {f"{name}_h": pair[0], f"{name}_w": pair[1]}
    constants |= {"lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
    storage = Storage(impl(2 * x.shape[1] * in_words, lanes.lanes_in * x.qint.bits))
    rows = Buffer("rows", "SpreadRows", storage, packed=True)
    return Unit("spread", "spread", constants, {"type": x.qint}, buffers=(rows,))


@template.register
def _(node: WidthConvert, graph: Graph) -> Unit:
    lanes = parallelism(node)
    wider = lanes.lanes_out > lanes.lanes_in
    ratio, rest = divmod(max(lanes.lanes_in, lanes.lanes_out), min(lanes.lanes_in, lanes.lanes_out))
    if rest:
        raise UserError(f"{lanes.lanes_in} lanes to {lanes.lanes_out}: not a whole ratio", where=f"node {node.name}")
    words = node.output.size // min(lanes.lanes_in, lanes.lanes_out)
    if words % ratio:
        raise UserError(f"a frame does not fill its last word of {ratio} parts", where=f"node {node.name}")
    constants: dict[str, int | bool] = {"words": words, "lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
    function = "widen" if wider else "narrow"
    return Unit("elementwise", function, constants, {"in_t": input_type(graph, node)})
