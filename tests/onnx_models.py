"""Small QONNX files for tests, built node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
PIXELS = {"fpgaflow.input": '{"pixel": {"scale": ["1/255"], "offset": ["0"]}}'}
"""Metadata of a network that reads pixel / 255."""


class Net:
    """A QONNX graph under construction. Methods append a node and return the name of its output tensor."""

    def __init__(self, shape: tuple[int | str, ...], *, seed: int = 0, opset: int = 13, domain: str = "onnx.brevitas"):
        self.rng = np.random.default_rng(seed)
        self.shape, self.opset, self.domain = shape, opset, domain
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.metadata: dict[str, str] = {}
        self.datatypes: dict[str, str] = {}
        self.input = self.output = TensorProto.FLOAT
        self.others: dict[str, tuple[int | str, ...]] = {}
        """Inputs beside "x", with their shapes."""

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype=dtype)
        return name

    def add(self, op: str, *inputs: str, name: str | None = None, out: str | None = None, **attributes: Any) -> str:
        """A node with one output; names follow the position unless given."""
        index = len(self.nodes)
        out = out or f"t{index}"
        label = f"{op}_{index}" if name is None else name
        self.nodes.append(helper.make_node(op, list(inputs), [out], label, **attributes))
        return out

    def quant(
        self, x: str, bits: float = 4, scale: Any = 0.25, zero: float = 0, *, name: str | None = None, **attributes: Any
    ) -> str:
        """A Quant node; ``signed``, ``narrow`` and ``rounding_mode`` as given, signed=1 and narrow=0 by default."""
        attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
        attributes = {key: value for key, value in attributes.items() if value is not None}
        parameters = [self.const(scale), self.const(zero), self.const(bits)]
        return self.add("Quant", x, *parameters, name=name, domain=self.domain, **attributes)

    def weight(self, *shape: int, bits: int = 3, per_channel: bool = True) -> str:
        """A random quantized weight."""
        scales = (shape[0],) + (1,) * (len(shape) - 1) if per_channel else ()
        scale = self.rng.uniform(0.05, 0.2, scales)
        return self.quant(self.const(self.rng.normal(0, 0.3, shape)), bits, scale, narrow=1)

    def typed(self, array: Any, datatype: str) -> str:
        """A float32 initializer that the file says holds the QONNX ``datatype``."""
        name = self.const(array)
        self.datatypes[name] = datatype
        return name

    def thresholds(self, x: str, rows: Any, **attributes: Any) -> str:
        """A MultiThreshold; ``out_scale``, ``out_bias`` and ``data_layout`` as given."""
        attributes = {"out_dtype": "INT32", "domain": "qonnx.custom_op.general"} | attributes
        return self.add("MultiThreshold", x, self.const(rows), **attributes)

    def conv(self, x: str, weight: str, *, bias: str = "", **attributes: Any) -> str:
        """A convolution."""
        return self.add("Conv", x, weight, *([bias] if bias else []), **attributes)

    def batch_norm(self, x: str, channels: int) -> str:
        """A batch normalization, about half of whose scales are negative."""
        gamma, beta, mean = (self.const(self.rng.normal(0, 1, channels)) for _ in range(3))
        return self.add("BatchNormalization", x, gamma, beta, mean, self.const(self.rng.uniform(0.5, 2, channels)))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """A Gemm with a bias."""
        return self.add("Gemm", x, self.weight(outputs, inputs), self.const(self.rng.normal(0, 1, outputs)), transB=1)

    def save(self, path: Path, output: str, *others: str, index: bool = False) -> Path:
        """Write the graph with its ``output``, which holds integers when ``index``, and ``others``."""
        kind = TensorProto.INT64 if index else self.output
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(n, self.input, s) for n, s in {"x": self.shape, **self.others}.items()],
            [helper.make_tensor_value_info(output, kind, None), *map(helper.make_empty_tensor_value_info, others)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        for tensor, datatype in self.datatypes.items():
            note = onnx.TensorAnnotation(tensor_name=tensor)
            note.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
            graph.quantization_annotation.append(note)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("onnx.brevitas", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 21 else 13)
        helper.set_model_props(model, self.metadata)
        path.write_bytes(model.SerializeToString())
        return path


def conv_bn_relu(path: Path) -> Path:
    """Quant, conv with per-channel scales and scalar bias, BN with negative scales, ReLU, unsigned Quant."""
    net = Net((1, 3, 8, 8), seed=1)
    x = net.conv(net.quant("x", 8, 1 / 64), net.weight(5, 3, 3, 3), bias=net.const(0.3), pads=[1, 1, 1, 1])
    x = net.add("Relu", net.batch_norm(x, 5))
    return net.save(path, net.quant(x, 4, 0.21, signed=0))


def residual(path: Path) -> Path:
    """Two branches with unequal scales, added; strides and asymmetric pads."""
    net = Net(("batch", 4, 9, 7), seed=2)
    x = net.quant("x", 5, 0.1)
    a = net.quant(net.conv(x, net.weight(6, 4, 3, 3), pads=[0, 1, 2, 1], strides=[2, 2]), 4, 0.3)
    b = net.quant(net.conv(x, net.weight(6, 4, 1, 1), strides=[2, 2]), 6, 0.07, narrow=1)
    return net.save(path, net.quant(net.add("Relu", net.add("Add", a, b)), 4, 0.25, signed=0))


def depthwise(path: Path) -> Path:
    """Depthwise, dilated and grouped convolutions with per-channel activation scales, then the global average."""
    net = Net((1, 6, 10, 10), seed=3)
    x = net.quant("x", 6, net.rng.uniform(0.03, 0.09, (1, 6, 1, 1)))
    x = net.quant(net.conv(x, net.weight(6, 1, 3, 3), group=6, auto_pad="SAME_UPPER", strides=[2, 2]), 6, 0.05)
    x = net.quant(net.conv(x, net.weight(9, 2, 3, 3), group=3, dilations=[2, 2], pads=[2, 2, 2, 2]), 6, 0.1)
    x = net.add("GlobalAveragePool", x)
    return net.save(path, net.linear(net.add("Flatten", net.quant(x, 8, 0.0137)), 9, 4))


def flatten_linear(path: Path) -> Path:
    """Conv, max pool, then Shape/Gather/Concat/Reshape to (N, features) and per-element constants before the Gemm."""
    net = Net((1, 2, 6, 6), seed=4)
    x = net.quant(net.conv(net.quant("x", 6, 0.05), net.weight(3, 2, 3, 3)), 5, 0.1)
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    batch = net.add("Gather", net.add("Shape", x), net.const(0, np.int64), axis=0)
    first = net.add("Unsqueeze", batch, net.const([0], np.int64))
    x = net.add("Reshape", x, net.add("Concat", first, net.const([-1], np.int64), axis=0))
    x = net.add("Mul", x, net.const(net.rng.uniform(0.5, 1.5, 12)))
    x = net.quant(net.add("Sub", x, net.const(net.rng.normal(0, 0.1, (1, 12)))), 6, net.rng.uniform(0.04, 0.1, (1, 12)))
    return net.save(path, net.linear(x, 12, 5))


def old_style(path: Path) -> Path:
    """Opset 9, bare Quant without rounding mode, weights behind Transpose, Clip with attributes, Div and Pow."""
    net = Net((1, 1, 4, 4), seed=5, opset=9, domain="")
    x = net.add("Flatten", net.quant("x", 4, 0.2, rounding_mode=None, signed=None, narrow=None), name="")
    weight = net.add("Transpose", net.weight(7, 16), perm=[1, 0])
    x = net.add("Clip", net.batch_norm(net.add("MatMul", x, weight), 7), min=0.0)
    x = net.quant(x, 2, 0.3, signed=0, rounding_mode=None)
    x = net.add("MatMul", x, net.add("Transpose", net.weight(3, 7, per_channel=False), perm=[1, 0]))
    root = net.add("Pow", net.const(2.0), net.const(0.5))
    return net.save(path, net.add("Add", net.add("Div", x, root), net.const([0.1, -0.2, 0.3])))


def bipolar(path: Path) -> Path:
    """Bipolar weights and activations, a 1-bit Quant, channels-last input, mean over the map."""
    net = Net((1, 5, 5, 3), seed=6)
    x = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    x = net.add("BipolarQuant", x, net.const(0.5), domain="qonnx.custom_op.general")
    raw = net.const(net.rng.normal(0, 1, (4, 3, 2, 2)))
    weight = net.add("BipolarQuant", raw, net.const(0.25), domain="qonnx.custom_op.general")
    x = net.quant(net.conv(x, weight), 1, 0.7)
    x = net.add("ReduceMean", net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, 0.1), axes=[2, 3], keepdims=0)
    return net.save(path, net.linear(x, 4, 3))


def multi_threshold(path: Path) -> Path:
    """FINN's form: annotated integer weights, a bipolar, a signed and an unsigned MultiThreshold, pads, pixels in."""
    net = Net((1, 2, 6, 6), seed=7)
    net.datatypes["x"] = "UINT8"
    x = net.add("Sub", net.add("Mul", net.add("Div", "x", net.const(255.0)), net.const(2.0)), net.const(1.0))
    x = net.thresholds(x, [[0.0]], out_scale=2.0, out_bias=-1.0, domain="finn.custom_op.general")
    x = net.conv(x, net.typed(net.rng.choice([-1, 1], (4, 2, 3, 3)), "BIPOLAR"), pads=[1, 1, 1, 1])
    x = net.batch_norm(x, 4)
    x = net.thresholds(x, net.rng.normal(0, 2, (4, 7)), out_bias=-4.0, data_layout="NCHW")
    x = net.conv(x, net.typed(net.rng.integers(-4, 4, (5, 4, 1, 1)), "INT3"))
    x = net.thresholds(net.add("Mul", x, net.const(0.3)), [[-1.4, 0.25, 0.25, 2.0]], out_scale=0.5, out_bias=0.15)
    return net.save(path, net.linear(net.add("Flatten", x), 180, 3))


def few_bits_qdq(path: Path) -> Path:
    """Codes of 4 and 2 bits without zero points, their type by output_dtype; weights stored in 4 bits."""
    net = Net((1, 2, 6, 6), seed=8, opset=25)

    def coded(x: str, scale: float, kind: Any) -> str:
        step = net.const(scale)
        return net.add("DequantizeLinear", net.add("QuantizeLinear", x, step, output_dtype=kind), step)

    stored = net.const(net.rng.integers(-8, 8, (4, 2, 3, 3)), ml_dtypes.int4)
    weight = net.add("DequantizeLinear", stored, net.const(net.rng.uniform(0.05, 0.2, 4)), axis=0)
    x = net.conv(coded("x", 0.07, TensorProto.INT4), weight, pads=[1] * 4)
    x = coded(net.add("Relu", x), 0.2, TensorProto.UINT2)
    return net.save(path, coded(net.conv(x, net.weight(3, 4, 1, 1)), 0.1, TensorProto.INT8))


NETS = (conv_bn_relu, residual, depthwise, flatten_linear, old_style, bipolar)
