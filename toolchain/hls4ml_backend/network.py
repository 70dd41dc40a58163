"""A MODEL-level graph as the QONNX that hls4ml's reader takes: channels last, every attribute and shape written out.

Names are the graph's own, C identifiers, and those with two underscores of this module's making: the graph's have none.
Nothing else of the user's file is passed on. A global average goes
out as an average over the whole map, a depthwise convolution as one, any other grouped one with zeros between groups:
hls4ml 1.3.0 reads the originals wrong or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from math import frexp
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Affine, LeakyRelu, Quantize, RealAdd, RealConv, RealPool, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array, Quantizer, Value
from toolchain.lowering.lower_spatial import dense_codes

LAST = "qonnx.custom_op.channels_last"
GENERAL = "qonnx.custom_op.general"
OPSET = 13
BIAS_BITS = 32


class Network:
    """The ONNX graph under construction."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values = graph.values()
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def source(self, node: Node, index: int = 0) -> Value:
        """Input ``index`` of ``node``."""
        return self.values[node.inputs[index]]

    def constant(self, name: str, array: Any) -> str:
        """An initializer of the graph."""
        self.constants[name] = np.asarray(array, dtype=np.float32)
        self.shapes[name] = self.constants[name].shape
        return name

    def add(
        self, op: str, name: str, inputs: Sequence[str], output: str, shape: tuple[int, ...], **attributes: Any
    ) -> str:
        """Append a node; returns ``output``."""
        self.shapes[output] = shape
        self.nodes.append(helper.make_node(op, list(inputs), [output], name, **attributes))
        return output

    def end(self) -> str:
        """The output's name; flattenings at the end are dropped: hls4ml, which removes them, does not find it then."""
        name = self.graph.output
        while self.nodes and self.nodes[-1].op_type == "Flatten" and self.nodes[-1].output[0] == name:
            del self.shapes[name]
            name = self.nodes.pop().input[0]
        return name

    def quant(self, x: str, name: str, output: str, shape: tuple[int, ...], scale: Any, bits: int, **rule: Any) -> str:
        """A Quant node with zero point 0; ``rule`` holds the attributes that are no defaults."""
        parameters = [self.constant(f"{name}__{key}", v) for key, v in (("s", scale), ("z", 0), ("b", bits))]
        attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | rule
        return self.add("Quant", name, [x, *parameters], output, shape, domain=GENERAL, **attributes)


def free(name: str) -> str:
    """``name``, or another one for what hls4ml keeps for itself: inputs of an exported nn.Sequential are called so."""
    return f"{name}__free" if name == "input" else name


def freed(graph: Graph) -> Graph:
    """``graph`` with names that hls4ml takes."""

    def named(value: Value) -> Value:
        return replace(value, name=free(value.name))

    nodes = [
        replace(n, name=free(n.name), inputs=tuple(map(free, n.inputs)), outputs=tuple(map(named, n.outputs)))
        for n in graph.nodes
    ]
    return replace(graph, input=named(graph.input), nodes=tuple(nodes)).with_output_values([free(graph.output)])


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The QONNX model of ``graph``, whose nodes `toolchain.hls4ml_backend.refusals` has let through."""
    network = Network(graph)
    network.shapes[graph.input.name] = onnx_shape(graph.input)
    for node in graph.nodes:
        emit(node, network)
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in network.shapes.items()
    }
    ends = (graph.input.name, network.end())
    made = helper.make_graph(
        network.nodes,
        graph.name,
        [infos[ends[0]]],
        [infos[ends[1]]],
        [numpy_helper.from_array(array, name) for name, array in network.constants.items()],
        value_info=[info for name, info in infos.items() if name not in ends],
    )
    versions = {"": OPSET, GENERAL: 1, LAST: OPSET}  # channels-last nodes are standard ones of that opset
    opsets = [helper.make_opsetid(domain, number) for domain, number in versions.items()]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def onnx_shape(value: Value) -> tuple[int, ...]:
    """(1, H, W, C), or (1, C) of a single position."""
    return (1, *value.shape) if value.shape[:2] != (1, 1) else (1, value.shape[2])


@singledispatch
def emit(node: Node, network: Network) -> None:
    """Append the ONNX nodes of one MODEL node."""
    raise TypeError(f"no ONNX form of {type(node).__name__}")


def has_form(node: Node) -> bool:
    """Return whether ``emit`` has a form for such nodes."""
    return emit.dispatch(type(node)) is not emit.dispatch(object)


@emit.register
def _(node: RealConv, network: Network) -> None:
    weights = f"{node.name}__w"
    source = network.source(node)
    flat = len(onnx_shape(source)) == 2
    codes, groups = node.codes, node.groups
    if groups > 1 and not is_depthwise(node, source):
        codes, groups = dense_codes(node, source.shape[2]), 1
    array = codes.reshape(len(codes), -1).T if flat else codes
    simple = _power_of_two(node.scale)
    scale = float(node.scale[0]) if simple else 1.0
    raw = network.constant(f"{weights}__raw", array * scale)
    kind = {"signed": int(node.weight_type.signed)}
    network.quant(raw, weights, f"{weights}__q", array.shape, scale, node.weight_type.bits, **kind)
    bias = [_bias(node, network)] if simple and node.bias is not None else []
    shape, inputs = onnx_shape(node.output), [source.name, f"{weights}__q"]
    end = node.output.name if simple and not (flat and bias) else f"{node.name}__product"
    if flat:
        network.add("MatMul", node.name, inputs, end, shape)
    else:
        window = {"kernel_shape": list(codes.shape[1:3]), "strides": list(node.stride), "pads": list(node.pads)}
        facts = {"dilations": list(node.dilation), "group": groups, "domain": LAST}
        network.add("Conv", node.name, [*inputs, *bias], end, shape, **window, **facts)
    if not simple:
        shift = np.zeros(1) if node.bias is None else node.bias
        _normalize(network, f"{node.name}__scale", end, node.output, node.scale, shift)
    elif flat and bias:
        network.add("Add", f"{node.name}__add", [end, *bias], node.output.name, shape)


def _power_of_two(scale: Array) -> bool:
    """Return whether hls4ml stores the weights as fixed-point numbers; other scales go behind a product of integers."""
    return bool((scale == scale[0]).all()) and frexp(float(scale[0]))[0] == 0.5


def is_depthwise(node: RealConv, source: Value) -> bool:
    """Return whether each output channel reads the input channel of its own number."""
    return node.groups == source.shape[2] == len(node.codes)


def _bias(node: RealConv, network: Network) -> str:
    """The bias on the finest power-of-two grid that holds it in 32 bits: hls4ml takes its type from the quantizer."""
    assert node.bias is not None
    largest = float(np.abs(node.bias).max(initial=0.0)) or 1.0
    scale = 2.0 ** (int(np.floor(np.log2(largest))) + 2 - BIAS_BITS)
    name = f"{node.name}__bias"
    raw = network.constant(f"{name}__raw", node.bias)
    return network.quant(raw, name, f"{name}__q", node.bias.shape, scale, BIAS_BITS)


@emit.register
def _(node: Affine, network: Network) -> None:
    _normalize(network, node.name, network.source(node).name, node.output, node.scale, node.shift)


def _normalize(network: Network, name: str, x: str, output: Value, scale: Array, shift: Array) -> None:
    """A BatchNormalization that multiplies by ``scale`` and adds ``shift``, one or one a channel."""
    channels, shape = output.shape[2], onnx_shape(output)
    scale, shift = (np.broadcast_to(a, (channels,)) for a in (scale, shift))
    parts = {"gamma": scale, "beta": shift, "mean": np.zeros(channels), "variance": np.ones(channels)}
    inputs = [x, *(network.constant(f"{name}__{key}", array) for key, array in parts.items())]
    domain = {"domain": LAST} if len(shape) == 4 else {}
    network.add("BatchNormalization", name, inputs, output.name, shape, epsilon=0.0, **domain)


@emit.register
def _(node: Relu, network: Network) -> None:
    network.add("Relu", node.name, [network.source(node).name], node.output.name, onnx_shape(node.output))


@emit.register
def _(node: LeakyRelu, network: Network) -> None:
    inputs, shape = [network.source(node).name], onnx_shape(node.output)
    network.add("LeakyRelu", node.name, inputs, node.output.name, shape, alpha=float(node.slope[0]))


@emit.register
def _(node: Quantize, network: Network) -> None:
    quantizer, x, shape = node.quantizer, network.source(node).name, onnx_shape(node.output)
    scale = np.asarray(quantizer.scale)
    form = quant_form(quantizer)
    if form is None:
        raise TypeError(f"no Quant node has the codes {quantizer.low}..{quantizer.high}")
    bits, signed, narrow = form
    rule = {"signed": signed, "narrow": narrow, "rounding_mode": quantizer.rounding}
    if _power_of_two(scale) and not quantizer.zero_point:
        network.quant(x, node.name, node.output.name, shape, scale[0], bits, **rule)
        return
    # hls4ml moves other scales behind sums and past forks, and ends far off; those of a batch norm stay in place
    name, place, zero = node.name, node.output, np.full(1, quantizer.zero_point)
    _normalize(network, f"{name}__down", x, replace(place, name=f"{name}__position"), 1 / scale, zero)
    network.quant(f"{name}__position", name, f"{name}__code", shape, 1.0, bits, **rule)
    _normalize(network, f"{name}__up", f"{name}__code", place, scale, -zero * scale)


def quant_form(quantizer: Quantizer) -> tuple[int, int, int] | None:
    """(bits, signed, narrow) of the Quant node with these limits; None when there is none."""
    for bits in range(1, 33):
        for narrow in (0, 1):
            if (quantizer.low, quantizer.high) == (0, (1 << bits) - 1 - narrow):
                return bits, 0, narrow
            if (quantizer.low, quantizer.high) == (-(1 << bits - 1) + narrow, (1 << bits - 1) - 1):
                return bits, 1, narrow
    return None


@emit.register
def _(node: RealPool, network: Network) -> None:
    source = network.source(node)
    op = "MaxPool" if node.kind == "max" else "AveragePool"
    window = {"kernel_shape": list(node.kernel), "strides": list(node.stride), "pads": list(node.pads)}
    shape = onnx_shape(node.output)
    pooled = node.output.name if len(shape) == 4 else f"{node.name}__map"
    if node.kernel == source.shape[:2]:
        window["strides"] = list(node.kernel)  # a single window: hls4ml's streams want the stride to be the kernel
    network.add(op, node.name, [source.name], pooled, (1, *node.output.shape), domain=LAST, **window)
    if pooled != node.output.name:
        network.add("Flatten", f"{node.name}__flat", [pooled], node.output.name, shape)


@emit.register
def _(node: RealAdd, network: Network) -> None:
    inputs = [network.source(node, i).name for i in (0, 1)]
    network.add("Add", node.name, inputs, node.output.name, onnx_shape(node.output))


@emit.register
def _(node: Reshape, network: Network) -> None:
    network.add("Flatten", node.name, [network.source(node).name], node.output.name, onnx_shape(node.output))
