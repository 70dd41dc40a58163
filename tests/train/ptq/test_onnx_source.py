"""Float ONNX files as networks of layers: what onnxruntime computes, or a refusal that names the node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from toolchain.errors import UserError
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.onnx_source import read_float_onnx

MAP, SIGNAL, ROW = (2, 8, 8), (2, 12), (12,)


class File:
    """Nodes one after the other, with random constants."""

    def __init__(self, shape: tuple[int, ...], batch: int | str = "N") -> None:
        self.rng = np.random.default_rng(0)
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "x"

    def constant(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node that reads the last tensor and ``inputs``, or ``inputs`` alone if one of them is a tensor."""
        known = {name for node in self.nodes for name in node.output}
        read = inputs if known & set(inputs) else (self.last, *inputs)
        self.nodes.append(
            helper.make_node(op, read, [f"t{len(self.nodes)}"], name=f"{op.lower()}{len(known)}", **attributes)
        )
        self.last = self.nodes[-1].output[0]
        return self.last

    def save(self, path: Path, opset: int = 18) -> Path:
        output = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "float", [self.input], [output], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
        return path


def _ints(file: File, *values: int) -> str:
    return file.constant(np.array(values, dtype=np.int64))


def _norm(file: File) -> None:
    variance = file.constant(np.array([0.5, 2.0], dtype=np.float32))
    file.add("BatchNormalization", file.weight(2), file.weight(2), file.weight(2), variance, epsilon=0.1)


def _residual(file: File) -> None:
    start = file.add("Conv", file.weight(2, 2, 3, 3), file.weight(2), pads=[1, 1, 1, 1])
    file.add("Relu")
    file.add("Conv", file.weight(2, 2, 1, 1))
    file.add("Add", start, file.last)


def _concat(file: File) -> None:
    start = file.add("Relu")
    file.add("Concat", start, file.add("Conv", file.weight(3, 2, 1, 1)), axis=1)


def _dense(file: File) -> None:
    file.add("MatMul", file.weight(12, 5))
    file.add("Add", file.last, file.weight(5))


def _biases(file: File) -> None:
    """A product that is read more than once: neither constant is its bias."""
    product = file.add("MatMul", file.weight(12, 5))
    file.add("Add", file.add("Add", product, file.weight(5)), file.add("Add", product, file.weight(5)))


def _excite(file: File) -> None:
    start = file.add("Conv", file.weight(2, 2, 1, 1))
    file.add("GlobalAveragePool")
    file.add("Conv", file.weight(2, 2, 1, 1), file.weight(2))
    file.add("HardSigmoid", alpha=1 / 6)
    file.add("Mul", start, file.last)


def _row(file: File, keepdims: int = 1) -> None:
    """AdaptiveAvgPool1d and a flatten, as torch's exporter writes them."""
    file.add("Unsqueeze", _ints(file, -2))
    file.add("ReduceMean", _ints(file, -1, -2), keepdims=keepdims)
    if keepdims:
        file.add("Squeeze", _ints(file, -2))
        file.add("Flatten")


def _expanded(file: File) -> None:
    x = file.add("Relu")
    file.add("Sigmoid", file.add("ReduceMean", _ints(file, 2, 3)))
    file.add("Mul", x, file.add("Expand", file.last, _ints(file, 1, 2, 8, 8)))


def _gate_of_features(file: File) -> None:
    """Squeeze and excite with fully connected layers."""
    file.add("Flatten", file.add("GlobalAveragePool"))
    file.add("Gemm", file.weight(2, 2), file.weight(2))
    file.add("Sigmoid")
    file.add("Mul", "x", file.add("Reshape", file.last, _ints(file, -1, 2, 1, 1)))


def _decoded(file: File) -> None:
    """``nn.Unflatten``, whose batch torch's exporter computes from the shape by a quotient and a Mod."""
    features = file.add("Gemm", file.weight(12, 16))
    whole = file.add("Div", file.add("Shape", features, start=1), _ints(file, 16))
    left = file.add("Mod", file.add("Shape", features, start=1), _ints(file, 16))
    file.add("Concat", _ints(file, -1, 4), file.add("Add", file.add("Mul", whole, _ints(file, 2)), left), axis=0)
    file.add("Reshape", features, file.add("Concat", file.last, _ints(file, 2), axis=0))
    file.add("Conv", file.weight(3, 4, 2, 2))


def _strided(file: File) -> None:
    """``as_strided`` of a mean, as torch's newer exporter writes AdaptiveAvgPool2d of a map that was permuted."""
    file.add("ReduceMean", _ints(file, -1, -2))
    batch = file.input.type.tensor_type.shape.dim[0].dim_value or 1
    if file.input.type.tensor_type.shape.dim[0].dim_param:
        size = file.add("Gather", file.add("Shape", "t0"), file.constant(np.array(0)), axis=0)
        file.add("Range", file.constant(np.array(0)), size, file.constant(np.array(1)))
        file.add("Reshape", file.add("Mul", file.last, _ints(file, 2)), _ints(file, -1, 1, 1, 1))
        places = file.add("Add", file.last, file.constant(np.arange(2).reshape(1, 2, 1, 1)))
    else:
        places = file.constant(np.arange(2 * batch).reshape(batch, 2, 1, 1))
    file.add("Gather", file.add("Reshape", "t0", _ints(file, -1)), places, axis=0)


def _silu(file: File) -> None:
    start = file.add("Conv", file.weight(2, 2, 1, 1))
    file.add("Sigmoid")
    file.add("Mul", file.last, start)


def _number(file: File, value: float) -> str:
    return file.constant(np.float32(value))


def _written_gelu(file: File, first: bool = False) -> None:
    """As torch writes it below opset 20, and as tf2onnx does, which halves the input first."""
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    half = file.add("Mul", x, _number(file, 0.5)) if first else x
    file.add("Div", x, _number(file, 2**0.5))
    file.add("Erf")
    file.add("Add", file.last, _number(file, 1))
    file.add("Mul", half, file.last)
    if not first:
        file.add("Mul", file.last, _number(file, 0.5))


def _written_mish(file: File) -> None:
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    file.add("Softplus")
    file.add("Tanh")
    file.add("Mul", x, file.last)


def _written_softplus(file: File) -> None:
    """As torch's newer exporter writes it: the tensor itself above 20."""
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    above = file.add("Greater", x, _number(file, 20))
    file.add("Log", file.add("Add", file.add("Exp", x), _number(file, 1)))
    file.add("Where", above, x, file.last)


def _difference(file: File) -> None:
    file.add("Sub", "x", file.add("Conv", file.weight(2, 2, 1, 1)))


def _shifted_bounds(file: File) -> None:
    """A hard sigmoid whose slope is in the weights, as tf2onnx writes Keras'."""
    file.add("Add", file.add("Conv", file.weight(2, 2, 1, 1)), _number(file, 0.5))
    file.add("Max", file.add("Min", file.last, _number(file, 1)), _number(file, 0))


def _relu6_of_three_more(file: File, x: str) -> str:
    """``relu6(x + 3)``."""
    file.add("Add", x, _number(file, 3))
    return file.add("Clip", file.last, _number(file, 0), _number(file, 6))


def _written_hardswish(file: File, first: bool = False) -> None:
    """``x * relu6(x + 3) / 6``, and with the sixth taken first."""
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    _relu6_of_three_more(file, x)
    if first:
        file.add("Mul", file.last, _number(file, 1 / 6))
    file.add("Mul", x, file.last)
    if not first:
        file.add("Div", file.last, _number(file, 6))


def _written_gate(file: File) -> None:
    """A hard sigmoid of one tensor times another, and what is read twice."""
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    gate = file.add("Div", _relu6_of_three_more(file, file.add("GlobalAveragePool")), _number(file, 6))
    file.add("Mul", x, gate)
    file.add("Add", file.last, file.add("Mul", x, gate))


def _same_pool(file: File, op: str, mode: str, kernel: int, stride: int, **attributes: Any) -> None:
    file.add(op, kernel_shape=[kernel] * 2, strides=[stride] * 2, auto_pad=mode, **attributes)


def _bounds(file: File) -> None:
    """``clamp(-1, 6)`` and ``clamp(min=0)``, as torch's newer exporter writes them."""
    file.add("Max", _number(file, -1))
    file.add("Min", _number(file, 6))
    file.add("Conv", file.weight(2, 2, 1, 1))
    file.add("Max", file.last, _number(file, 0))


def _bounds_of_four_axes(file: File) -> None:
    """``clip(x, 0, 4)``, as tf2onnx writes it."""
    file.add("Min", file.constant(np.full((1, 1, 1, 1), 4, np.float32)))
    file.add("Max", file.constant(np.zeros((1, 1, 1, 1), np.float32)))


def _channels(file: File) -> None:
    """Numbers of the pixels' channels in front, as of Keras and of torchvision's moments."""
    file.add("Mul", _number(file, 1 / 255))
    file.add("Sub", file.last, file.weight(2, 1, 1))
    file.add("Div", file.last, file.weight(1, 2, 1, 1))
    file.add("Conv", file.weight(2, 2, 1, 1))


def _halved(file: File) -> None:
    """A function of a halved tensor, which is no layer."""
    file.add("Mul", _number(file, 0.5))
    file.add("Relu")
    file.add("Sub", _number(file, 1), file.last)


def _split(file: File) -> None:
    x = file.add("Conv", file.weight(5, 2, 1, 1))
    parts = ["first", "second"]
    file.nodes.append(helper.make_node("Split", [x, _ints(file, 2, 3)], parts, axis=1))
    file.nodes.append(helper.make_node("Concat", parts[::-1], ["turned"], axis=1))
    file.last = "turned"


def _repeated(file: File) -> None:
    """UpSampling1D of Keras, as tf2onnx writes it."""
    parts = [f"p{index}" for index in range(12)]
    file.nodes.append(helper.make_node("Split", ["x"], parts, axis=2, num_outputs=12))
    file.nodes.append(helper.make_node("Concat", [part for part in parts for _ in range(2)], ["twice"], axis=-1))
    file.last = "twice"


def _split_positions(file: File) -> None:
    file.nodes.append(helper.make_node("Split", ["x"], ["first", "second"], axis=2, num_outputs=2))
    file.nodes.append(helper.make_node("Concat", ["second", "first"], ["turned"], axis=1))
    file.last = "turned"


def _shuffle(file: File) -> None:
    file.add("Conv", file.weight(6, 2, 1, 1))
    file.add("Reshape", _ints(file, 0, 2, 3, 8, 8))
    file.add("Transpose", perm=[0, 2, 1, 3, 4])
    file.add("Reshape", _ints(file, 0, -1, 8, 8))


def _transposed_groups(file: File) -> None:
    """Outputs of unequal strides, from a kernel with holes, with rows that only padding outputs reach."""
    attributes = {"strides": [2, 3], "dilations": [2, 1], "output_padding": [1, 0], "group": 2}
    file.add("ConvTranspose", file.weight(2, 2, 3, 2), file.weight(4), **attributes)


def _resize(file: File, **attributes: Any) -> None:
    file.add("Resize", "", file.constant(np.float32([1, 1, 2, 3])), **attributes)


def _resize_to_size(file: File) -> None:
    """``F.interpolate(y, size=x.shape[2:], mode="bilinear")``."""
    x = file.add("Conv", file.weight(2, 2, 1, 1))
    y = file.add("Conv", x, file.weight(2, 2, 1, 1), strides=[2, 2])
    batch, sizes = file.add("Shape", y, start=0, end=2), file.add("Shape", x, start=2)
    file.add("Resize", y, "", "", file.add("Concat", batch, sizes, axis=0), mode="linear")
    file.add("Add", x, file.last)


CASES: dict[str, tuple[tuple[int, ...], Any, list[str]]] = {
    "conv": (MAP, lambda f: f.add("Conv", f.weight(4, 1, 3, 2), f.weight(4), group=2, strides=[2, 1]), ["Conv2d"]),
    "same upper": (MAP, lambda f: f.add("Conv", f.weight(3, 2, 2, 4), auto_pad="SAME_UPPER"), ["ZeroPad2d", "Conv2d"]),
    "same lower": (MAP, lambda f: f.add("Conv", f.weight(3, 2, 3, 3), auto_pad="SAME_LOWER"), ["Conv2d"]),
    "conv1d": (SIGNAL, lambda f: f.add("Conv", f.weight(3, 2, 5), pads=[2, 2], dilations=[1]), ["Conv1d"]),
    "gemm": (ROW, lambda f: f.add("Gemm", f.weight(5, 12), f.weight(5), transB=1, alpha=0.5, beta=2.0), ["Linear"]),
    "matmul": (ROW, _dense, ["Linear"]),
    "norm": (MAP, _norm, ["BatchNorm2d"]),
    "residual": (MAP, _residual, ["Conv2d", "ReLU", "Conv2d", "add"]),
    "squeeze and excite": (MAP, _excite, ["Conv2d", "AdaptiveAvgPool2d", "Conv2d", "Hardsigmoid", "mul"]),
    "a gate expanded": (MAP, _expanded, ["ReLU", "AdaptiveAvgPool2d", "Sigmoid", "mul"]),
    "a pool with strides": (MAP, _strided, ["AdaptiveAvgPool2d"]),
    "features as a map": (
        MAP,
        _gate_of_features,
        ["AdaptiveAvgPool2d", "Flatten", "Linear", "Sigmoid", "Unflatten", "mul"],
    ),
    "features as a map, by two": (
        ROW,
        lambda f: [f.add("Unsqueeze", _ints(f, -1)) for _ in range(2)],
        ["Unflatten", "Unflatten"],
    ),
    "features as a map of more positions": (ROW, _decoded, ["Linear", "Unflatten", "Conv2d"]),
    "features as a signal": (
        ROW,
        lambda f: (f.add("Unsqueeze", _ints(f, 1)), f.add("Conv", f.weight(2, 1, 3))),
        ["Unflatten", "Conv1d"],
    ),
    "silu": (MAP, _silu, ["Conv2d", "SiLU"]),
    "smooth": (
        MAP,
        lambda f: (f.add("HardSwish"), f.add("Elu", alpha=0.5), f.add("Tanh")),
        ["Hardswish", "ELU", "Tanh"],
    ),
    "absolute softplus": (
        MAP,
        lambda f: (f.add("Softplus"), _silu(f), f.add("Abs")),
        ["Softplus", "Conv2d", "SiLU", "Abs"],
    ),
    "softplus, written": (MAP, _written_softplus, ["Conv2d", "Softplus"]),
    "square": (MAP, lambda f: (f.add("Relu"), f.add("Pow", _number(f, 2))), ["ReLU", "mul"]),
    "difference": (MAP, _difference, ["Conv2d", "BatchNorm2d", "add"]),
    "bounds of a shifted line": (MAP, _shifted_bounds, ["Conv2d", "BatchNorm2d", "Hardtanh", "ReLU"]),
    "concat": (MAP, _concat, ["ReLU", "Conv2d", "cat"]),
    "relu6": (MAP, lambda f: f.add("Clip", f.constant(np.float32(0)), f.constant(np.float32(6))), ["ReLU6"]),
    "clip": (MAP, lambda f: f.add("Clip", f.constant(np.float32(-1)), f.constant(np.float32(1))), ["Hardtanh"]),
    "clip, below": (MAP, lambda f: f.add("Clip", f.constant(np.float32(-1))), ["Hardtanh"]),
    "clip, infinity": (
        MAP,
        lambda f: f.add("Clip", f.constant(np.float32(0)), f.constant(np.float32("inf"))),
        ["ReLU"],
    ),
    "leaky": (MAP, lambda f: f.add("LeakyRelu", alpha=0.25), ["LeakyReLU"]),
    "max": (MAP, lambda f: f.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), ["MaxPool2d"]),
    "max, same upper": (MAP, lambda f: _same_pool(f, "MaxPool", "SAME_UPPER", 3, 2), ["MaxPool2d"]),
    "max, same lower": (MAP, lambda f: _same_pool(f, "MaxPool", "SAME_LOWER", 3, 2), ["MaxPool2d"]),
    "max, same, odd": ((2, 7, 9), lambda f: _same_pool(f, "MaxPool", "SAME_UPPER", 2, 2), ["MaxPool2d"]),
    "max, unequal, a signal": (
        SIGNAL,
        lambda f: f.add("MaxPool", kernel_shape=[4], strides=[3], pads=[1, 2]),
        ["MaxPool1d"],
    ),
    "max, unequal, behind a ReLU": (
        MAP,
        lambda f: (f.add("Relu"), _same_pool(f, "MaxPool", "SAME_UPPER", 2, 1)),
        ["ReLU", "ZeroPad2d", "MaxPool2d"],
    ),
    "average, unequal": (
        MAP,
        lambda f: _same_pool(f, "AveragePool", "SAME_UPPER", 3, 2, count_include_pad=1),
        ["ZeroPad2d", "AvgPool2d"],
    ),
    "average": (MAP, lambda f: f.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), ["AvgPool2d"]),
    "average, pads out": (MAP, lambda f: f.add("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), ["AvgPool2d"]),
    "global": (MAP, lambda f: (f.add("GlobalAveragePool"), f.add("Flatten")), ["AdaptiveAvgPool2d", "Flatten"]),
    "global max": (MAP, lambda f: f.add("GlobalMaxPool"), ["AdaptiveMaxPool2d"]),
    "mean": (MAP, lambda f: f.add("ReduceMean", _ints(f, 2, 3), keepdims=0), ["AdaptiveAvgPool2d", "Flatten"]),
    "sum": (
        MAP,
        lambda f: f.add("ReduceSum", _ints(f, 2, 3), keepdims=0),
        ["AdaptiveAvgPool2d", "Flatten", "BatchNorm1d"],
    ),
    "sum of a signal": (SIGNAL, lambda f: f.add("ReduceSum", _ints(f, -1)), ["AdaptiveAvgPool1d", "BatchNorm1d"]),
    "mean, rows first": (
        MAP,
        lambda f: (f.add("ReduceMean", _ints(f, 2)), f.add("ReduceMean", _ints(f, 3)), f.add("Flatten")),
        ["AdaptiveAvgPool2d", "Flatten"],
    ),
    "mean, columns first": (
        MAP,
        lambda f: [f.add("ReduceMean", _ints(f, -1), keepdims=0) for _ in range(2)],
        ["AdaptiveAvgPool2d", "Flatten"],
    ),
    "max, one axis kept": (
        MAP,
        lambda f: (f.add("ReduceMax", _ints(f, 3)), f.add("ReduceMax", _ints(f, 2), keepdims=0)),
        ["AdaptiveMaxPool2d", "Flatten"],
    ),
    "mean1d": (SIGNAL, lambda f: f.add("ReduceMean", _ints(f, -1)), ["AdaptiveAvgPool1d"]),
    "row": (SIGNAL, _row, ["AdaptiveAvgPool1d", "Flatten"]),
    "row, flattened": (SIGNAL, lambda f: _row(f, keepdims=0), ["AdaptiveAvgPool1d", "Flatten"]),
    "reshape": (MAP, lambda f: f.add("Reshape", _ints(f, 0, -1)), ["Flatten"]),
    "squeeze": ((2, 1, 9), lambda f: f.add("Squeeze", _ints(f, 2)), ["Flatten"]),
    "squeeze, all axes": (
        MAP,
        lambda f: (f.add("GlobalAveragePool"), f.add("Squeeze")),
        ["AdaptiveAvgPool2d", "Flatten"],
    ),
    "pad": (MAP, lambda f: f.add("Pad", _ints(f, 0, 0, 1, 2, 0, 0, 0, 1)), ["ZeroPad2d"]),
    "pad, axes": (MAP, lambda f: f.add("Pad", _ints(f, 1, 0, 2, 3), "", _ints(f, 2, -1)), ["ZeroPad2d"]),
    "pad, a signal": (SIGNAL, lambda f: f.add("Pad", _ints(f, 0, 0, 2, 0, 0, 1)), ["ZeroPad2d"]),
    "pad, nothing": (SIGNAL, lambda f: (f.add("Pad", _ints(f, *[0] * 6)), f.add("Relu")), ["ReLU"]),
    "causal": (SIGNAL, lambda f: f.add("Conv", f.weight(3, 2, 3), pads=[4, 0], dilations=[2]), ["ZeroPad2d", "Conv1d"]),
    "casts": (MAP, lambda f: (f.add("Cast", to=TensorProto.DOUBLE), f.add("Cast", to=TensorProto.FLOAT)), []),
    "dropout": (MAP, lambda f: f.add("Dropout", _number(f, 0.5), f.constant(np.array(False))), []),
    "bias, one row": (ROW, lambda f: f.add("Gemm", f.weight(12, 5), f.weight(1, 5)), ["Linear"]),
    "bias, one number": (ROW, lambda f: f.add("Gemm", f.weight(12, 5), f.weight(1, 1)), ["Linear"]),
    "gelu, written": (MAP, _written_gelu, ["Conv2d", "GELU"]),
    "gelu, halved first": (MAP, lambda f: _written_gelu(f, first=True), ["Conv2d", "GELU"]),
    "mish, written": (MAP, _written_mish, ["Conv2d", "Mish"]),
    "a position again": (
        MAP,
        lambda f: (
            f.add("ReduceMean", _ints(f, 2, 3), keepdims=0),
            f.add("Unsqueeze", _ints(f, -1, -2)),
            f.add("Relu"),
        ),
        ["AdaptiveAvgPool2d", "ReLU"],
    ),
    "a position again, reshaped": (
        MAP,
        lambda f: (f.add("GlobalMaxPool"), f.add("Flatten"), f.add("Reshape", _ints(f, 0, 2, 1, 1))),
        ["AdaptiveMaxPool2d"],
    ),
    "hard swish, written": (MAP, _written_hardswish, ["Conv2d", "Hardswish"]),
    "hard swish, a sixth first": (MAP, lambda f: _written_hardswish(f, first=True), ["Conv2d", "Hardswish"]),
    "gate, written": (MAP, _written_gate, ["Conv2d", "AdaptiveAvgPool2d", "Hardsigmoid", "mul", "mul", "add"]),
    "bounds": (MAP, _bounds, ["Hardtanh", "Conv2d", "ReLU"]),
    "bounds, of four axes": (MAP, _bounds_of_four_axes, ["Hardtanh"]),
    "a slope a channel": (MAP, lambda f: f.add("PRelu", f.constant(np.float32([[[0.25]], [[2]]]))), ["PReLU"]),
    "one slope": (MAP, lambda f: f.add("PRelu", f.constant(np.float32([[[0.25]]]))), ["LeakyReLU"]),
    "channels": (MAP, _channels, ["BatchNorm2d", "BatchNorm2d", "BatchNorm2d", "Conv2d"]),
    "halved": (MAP, _halved, ["BatchNorm2d", "ReLU", "BatchNorm2d"]),
    "bias, twice": (ROW, _biases, ["Linear", "BatchNorm1d", "BatchNorm1d", "add"]),
    "hard sigmoid of another slope": (MAP, lambda f: f.add("HardSigmoid"), ["BatchNorm2d", "Hardtanh"]),
    "split": (MAP, _split, ["Conv2d", "ChannelSlice", "ChannelSlice", "cat"]),
    "slice": (MAP, lambda f: f.add("Slice", _ints(f, 0, 1), _ints(f, 8, 9), _ints(f, 2, 1)), ["ChannelSlice"]),
    "slice, everything": (
        MAP,
        lambda f: (f.add("Slice", _ints(f, 0), _ints(f, 9), _ints(f, 1)), f.add("Relu")),
        ["ReLU"],
    ),
    "slice, positions": (
        MAP,
        lambda f: f.add("Slice", _ints(f, 1, 0, 1), _ints(f, 99, 1, -1), _ints(f, -1, 1, 2), _ints(f, 3, 1, 1)),
        ["ChannelSlice", "PositionSlice"],
    ),
    "split, positions": (SIGNAL, _split_positions, ["PositionSlice", "PositionSlice", "cat"]),
    "each position twice": (SIGNAL, _repeated, ["Upsample"]),
    "gather, the last": (
        SIGNAL,
        lambda f: f.add("Gather", f.constant(np.array(-1)), axis=2),
        ["PositionSlice", "Flatten"],
    ),
    "gather, a row": (MAP, lambda f: f.add("Gather", f.constant(np.array(3)), axis=2), ["PositionSlice", "Flatten"]),
    "gather, some": (MAP, lambda f: f.add("Gather", _ints(f, 1, 4, 7), axis=3), ["PositionSlice"]),
    "shuffle": (MAP, _shuffle, ["Conv2d", "ChannelShuffle"]),
    "resize": (MAP, _resize, ["Upsample"]),
    "resize, asymmetric": (
        MAP,
        lambda f: _resize(f, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        ["Upsample"],
    ),
    "depth to space": (
        MAP,
        lambda f: (f.add("Conv", f.weight(4, 2, 1, 1)), f.add("DepthToSpace", blocksize=2, mode="CRD")),
        ["Conv2d", "PixelShuffle"],
    ),
    "depth to space, apart": (
        MAP,
        lambda f: (f.add("Conv", f.weight(8, 2, 1, 1)), f.add("DepthToSpace", blocksize=2)),
        ["Conv2d", "ChannelShuffle", "PixelShuffle"],
    ),
    "space to depth": (
        MAP,
        lambda f: f.add("SpaceToDepth", blocksize=2),
        ["PixelUnshuffle", "ChannelShuffle"],
    ),
    "transposed": (
        MAP,
        lambda f: f.add("ConvTranspose", f.weight(2, 3, 2, 2), f.weight(3), strides=[2, 2]),
        ["Conv2d", "PixelShuffle"],
    ),
    "transposed, pads": (
        MAP,
        lambda f: f.add("ConvTranspose", f.weight(2, 3, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
        ["Conv2d", "PixelShuffle", "PositionSlice"],
    ),
    "transposed, groups": (MAP, _transposed_groups, ["Conv2d", "BlockShuffle", "PositionSlice"]),
    "transposed, no stride": (MAP, lambda f: f.add("ConvTranspose", f.weight(2, 3, 3, 3)), ["Conv2d"]),
    "transposed, a signal": (
        SIGNAL,
        lambda f: f.add("ConvTranspose", f.weight(2, 3, 3), f.weight(3), strides=[2], auto_pad="SAME_UPPER"),
        ["ZeroPad2d", "Conv1d", "BlockShuffle"],
    ),
    "resize, to the size of another map": (MAP, _resize_to_size, ["Conv2d", "Conv2d", "LinearUpsample", "add"]),
    "resize, to a size": (MAP, lambda f: f.add("Resize", "", "", _ints(f, 8, 24), axes=[2, 3]), ["Upsample"]),
    "resize, linear": (
        MAP,
        lambda f: _resize(f, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        ["LinearUpsample"],
    ),
    "resize, linear, a signal": (
        SIGNAL,
        lambda f: f.add("Resize", "", f.constant(np.float32([1, 1, 3])), mode="linear"),
        ["LinearUpsample"],
    ),
    "resize, a signal": (
        SIGNAL,
        lambda f: f.add("Resize", "", f.constant(np.float32([1, 1, 2]))),
        ["Upsample"],
    ),
    "softmax": (ROW, lambda f: (f.add("Gemm", f.weight(12, 3)), f.add("Identity")), ["Linear"]),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_becomes_the_layers_that_onnxruntime_agrees_with(name: str, tmp_path: Path) -> None:
    """Reading compares both on random inputs; the fold of constants and a batch of one are read as well."""
    shape, make, layers = CASES[name]
    for batch in ("N", 1, 3):
        file = File(shape, batch)
        make(file)
        network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
        nodes = [node for node in network.graph.nodes if node.op not in ("placeholder", "output")]  # type: ignore[union-attr]
        kinds = []
        for node in nodes:
            layer = layer_of(network, node)  # type: ignore[arg-type]
            kinds.append(type(layer).__name__ if layer is not None else node.target.__name__)
        assert (found, kinds, network.training) == (shape, layers, False)


@pytest.mark.parametrize("sizes", [(3, -1), (3, 128), (-1, 128)])
def test_a_reshape_with_the_files_batch_in_it_is_a_flatten(sizes: tuple[int, ...], tmp_path: Path) -> None:
    file = File(MAP, 3)
    file.add("Reshape", _ints(file, *sizes))
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert [type(layer) for layer in network.children()] == [torch.nn.Flatten]


def test_a_reshape_to_a_part_of_the_shape_reads_that_part(tmp_path: Path) -> None:
    """As of ``x.reshape(x.shape[0], -1)`` from opset 15 on."""
    file = File(MAP)
    x = file.add("Relu")
    batch = file.add("Shape", x, start=0, end=1)
    file.add("Reshape", x, file.add("Concat", batch, _ints(file, -1), axis=0))
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert [type(layer) for layer in network.children()] == [torch.nn.ReLU, torch.nn.Flatten]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_softmax_at_the_end_is_the_hosts(op: str, tmp_path: Path) -> None:
    """Also in front of views there."""
    file = File(ROW)
    file.add("Gemm", file.weight(12, 3))
    file.add(op)
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert [str(node.target) for node in network.graph.nodes] == ["input", "gemm0", "output"]  # type: ignore[union-attr]
    file = File(MAP)
    file.add("GlobalAveragePool")
    file.add(op, axis=1)
    file.add("Identity", file.add("Flatten"))
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert [type(layer) for layer in network.children()] == [torch.nn.AdaptiveAvgPool2d, torch.nn.Flatten]


def test_a_classifier_of_skl2onnx_is_read_as_far_as_its_probabilities(tmp_path: Path) -> None:
    """A Scaler and layers; the label beside the probabilities is the host's."""
    file = File((3,))
    scales = {"offset": [0.5, 0.0, -1.0], "scale": [2.0, 1.0, 0.25]}
    file.nodes.append(helper.make_node("Scaler", ["x"], ["scaled"], domain="ai.onnx.ml", **scales))
    file.nodes.append(helper.make_node("MatMul", ["scaled", file.weight(3, 4)], ["sums"]))
    file.nodes.append(helper.make_node("Softmax", ["sums"], ["shares"], axis=-1))
    file.nodes.append(helper.make_node("ArgMax", ["shares"], ["label"], axis=1, keepdims=0))
    file.last = "shares"
    path = file.save(tmp_path / "float.onnx")
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, None))
    onnx.save(model, path)
    network, _ = read_float_onnx(path)
    assert [type(layer) for layer in network.children()] == [torch.nn.BatchNorm1d, torch.nn.Linear]


@pytest.mark.parametrize(
    ("shape", "make", "message"),
    [
        (MAP, lambda f: f.add("InstanceNormalization", f.weight(2), f.weight(2)),
         "InstanceNormalization cannot be quantized after training [float.onnx, node 'instancenormalization0' (Instance"
         "Normalization)]; its moments differ from input to input: train with BatchNorm"),
        (MAP, lambda f: f.add("Exp"), "Exp cannot be quantized after training [float.onnx, node 'exp0' (Exp)]; known"),
        (MAP, lambda f: f.add("Pow", _number(f, 3)), "a power that is no square [float.onnx, node 'pow0' (Pow)]; k"),
        (MAP, lambda f: f.add("Max", f.add("Relu"), f.add("GlobalMaxPool", f.last)),
         "it takes the Max of tensors [float.onnx, node 'max2' (Max)]; clamp a tensor by numbers, or export builds it"),
        (MAP, lambda f: f.add("Erfc"), "Erfc is no operation of ONNX [float.onnx, node 'erfc0' (Erfc)]; the converter"),
        (MAP, lambda f: f.add("Add", f.weight(8)),
         "it adds a constant of the shape (8,) [float.onnx, node 'add0' (Add)]; give one number a channel, or put it "
         "into the bias of a layer"),
        (MAP, lambda f: f.add("Div", _number(f, 1), f.add("Relu")), "it divides a constant"),
        (MAP, lambda f: f.add("Sub", f.add("Relu"), f.add("GlobalMaxPool", f.last)),
         "it subtracts (2, 2, 1, 1) from (2, 2, 8, 8) [float.onnx, node 'sub2' (Sub)]; subtract tensors of one shape"),
        (MAP, lambda f: f.add("Mul", f.weight(2, 8, 8)), "it multiplies by a constant of the shape (2, 8, 8)"),
        (MAP, lambda f: f.add("Reshape", _ints(f, 0, 4, 32)), "it reshapes from (2, 2, 8, 8) to (2, 4, 32)"),
        (MAP, lambda f: f.add("Reshape", _ints(f, 0, 2, 1, 8, 8)),
         "it parts the channels of (2, 2, 8, 8) into 2 groups [float.onnx, node 'reshape0' (Reshape)]; shuffle them, "
         "or flatten to (N, features); export builds it in a network that is quantized elsewhere"),
        (MAP, lambda f: _resize(f, mode="linear", coordinate_transformation_mode="align_corners"),
         "it makes other values than a map has [float.onnx, node 'resize0' (Resize)]; enlarge a map, mode='nearest', "),
        (MAP, lambda f: _resize(f, coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
         "nearest pixels that are not 2 copies of each along H [float.onnx, node 'resize0' (Resize)]; use coordina"),
        (MAP, lambda f: f.add("Slice", _ints(f, 7), _ints(f, -9), _ints(f, 2), _ints(f, -1)),
         "it takes every -1. element from 7 to -1 of axis 2 [float.onnx, node 'slice0' (Slice)]; take channels that"),
        (MAP, lambda f: f.add("Slice", _ints(f, 0), _ints(f, 2), _ints(f, 1), _ints(f, 2)),
         "it takes every 2. element from 0 to 2 of axis 1 [float.onnx, node 'slice0' (Slice)]; take channels that"),
        (MAP, lambda f: f.add("Gather", _ints(f, 0, 3, 1), axis=2),
         "it gathers the elements [0, 3, 1] of axis 2 [float.onnx, node 'gather0' (Gather)]; take channels that lie"),
        (MAP, lambda f: f.add("Gather", f.constant(np.array(0)), axis=1), "it gathers the elements 0 of axis 1"),
        (ROW, lambda f: f.add("ConvTranspose", f.weight(12, 2, 3)), "a convolution of 0 axes [float.onnx, node 'conv"),
        (MAP, lambda f: (f.add("GlobalAveragePool"), f.add("Expand", _ints(f, 1, 2, 8, 8)), f.add("Relu")),
         "it repeats something else than one position for a product [float.onnx, node 'expand1' (Expand)]; export"),
        (MAP, lambda f: f.add("Flatten", axis=2), "it reshapes from (2, 2, 8, 8) to (4, 64); only to"),
        (ROW, lambda f: f.add("ArgMax", axis=1),
         "ArgMax cannot be quantized after training [float.onnx, node 'argmax0' (ArgMax)]; return the logits"),
        (MAP, lambda f: f.add("ReduceMean", _ints(f, 1)), "it reduces the axes [1]"),
        (MAP, lambda f: (f.add("ReduceMean", _ints(f, 2)), f.add("ReduceMax", _ints(f, 3))),
         "it reduces the axes [2] [float.onnx, node 'reducemean0' (ReduceMean)]; reduce the whole map, and nothing"),
        (MAP, lambda f: (f.add("ReduceMean", _ints(f, 3)), f.add("Relu")),
         "it reduces the axes [3] [float.onnx, node 'reducemean0' (ReduceMean)]; reduce the whole map, and nothing"),
        (MAP, lambda f: _same_pool(f, "MaxPool", "SAME_UPPER", 2, 1),
         "a maximum with the pads [0, 0, 1, 1] over numbers that may be negative [float.onnx, node 'maxpool0' (MaxPool)"
         "]; pad all sides alike, or put it behind a ReLU"),
        (MAP, lambda f: _same_pool(f, "AveragePool", "SAME_UPPER", 3, 2),
         "an average with the pads [0, 0, 1, 1], which do not count [float.onnx, node 'averagepool0' (AveragePool)]; "
         "pad all sides alike, or set count_include_pad=1"),
        (SIGNAL, lambda f: f.add("Unsqueeze", _ints(f, 1)), "it adds the axes [1] to (2, 2, 12) [float.onnx, node "
         "'unsqueeze0' (Unsqueeze)]; keep signals (N, channels, length) and maps as they are"),
        (SIGNAL, lambda f: (f.add("Unsqueeze", _ints(f, 2)), f.add("DepthToSpace", blocksize=1)),
         "it reads a signal as a map of one row"),
        (MAP, lambda f: f.add("Concat", f.last, f.weight(1), axis=2), "'c0' is a constant here"),
        (MAP, lambda f: f.add("Concat", "x", f.add("Relu"), axis=2), "it concatenates along axis 2 [float.onnx, node"),
        (MAP, lambda f: (f.add("Softmax"), f.add("Relu")), "Softmax inside the network"),
        (SIGNAL, lambda f: (f.add("MatMul", f.weight(12, 5)), f.add("Add", f.last, f.weight(1, 2, 5))),
         "it adds a constant of the shape (1, 2, 5) [float.onnx, node 'add1' (Add)]; give one number a channel, or"),
        (ROW, lambda f: f.add("Gemm", f.weight(12, 5), f.weight(2, 5)),
         "a bias of the shape (2, 5) [float.onnx, node 'gemm0' (Gemm)]; give one number an output"),
        (MAP, lambda f: f.add("Clip", f.constant(np.float32(1)), f.constant(np.float32(0))),
         "the minimum 1 is not below the maximum 0 [float.onnx, node 'clip0' (Clip)]; give a minimum below"),
        (MAP, lambda f: f.add("Cast", to=TensorProto.FLOAT16),
         "it casts to float16 [float.onnx, node 'cast0' (Cast)]; export the network in float32"),
        (MAP, lambda f: f.add("Dropout", _number(f, 0.5), f.constant(np.array(True))),
         "a dropout in training mode [float.onnx, node 'dropout0' (Dropout)]; export the network in eval mode"),
        (MAP, lambda f: f.add("BatchNormalization", *[f.weight(2)] * 4, training_mode=1),
         "a batch norm in training mode [float.onnx, node 'batchnormalization0' (BatchNormalization)]; export the net"),
        (MAP, lambda f: f.add("BatchNormalization", *[f.weight(2, 8, 8)] * 4),
         "a batch norm of the shape (2, 8, 8) [float.onnx, node 'batchnormalization0' (BatchNormalization)]; give one"),
        (ROW, lambda f: f.add("Reshape", _ints(f, -1, 3, 2, 1, 2)),
         "it reshapes from (2, 12) to (2, 3, 2, 1, 2); only to (N, -1) [float.onnx, node 'reshape0' (Reshape)]; fl"),
        (SIGNAL, lambda f: f.add("LayerNormalization", f.weight(12)),
         "a norm of the axes from 2 on of (2, 2, 12) [float.onnx, node 'layernormalization0' (LayerNormalization)]; "),
        (MAP, lambda f: f.add("Gather", f.add("Reshape", _ints(f, -1)), _ints(f, 1, 0)),
         "Gather cannot be quantized after training [float.onnx, node 'gather1' (Gather)]; export builds it in a netw"),
        (MAP, lambda f: f.add("PRelu", f.weight(2, 8, 8)),
         "a PRelu with slopes of the shape (2, 8, 8) [float.onnx, node 'prelu0' (PRelu)]; give one slope a channel, "),
        (MAP, lambda f: f.add("Pad", _ints(f, 1, 1), "", _ints(f, 1)), "a Pad that is no zeros around a map or"),
        (MAP, lambda f: f.add("AveragePool", kernel_shape=[2, 2], dilations=[2, 1]),
         "an average with the dilations [2, 1] [float.onnx, node 'averagepool0' (AveragePool)]; leave dilations out"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_its_node(
    shape: tuple[int, ...], make: Any, message: str, tmp_path: Path
) -> None:
    file = File(shape)
    make(file)
    with pytest.raises(UserError) as caught:
        read_float_onnx(file.save(tmp_path / "float.onnx", opset=19))
    assert message in str(caught.value) and "node '" in caught.value.where


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_both_gelus_of_opset_20_are_read(approximate: str, tmp_path: Path) -> None:
    file = File(MAP)
    file.add("Gelu", approximate=approximate)
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx", opset=20))
    assert [(type(layer), layer.approximate) for layer in network.children()] == [(torch.nn.GELU, approximate)]


def _infinite(file: File) -> None:
    file.add("Conv", file.constant(np.full((2, 2, 1, 1), np.inf, dtype=np.float32)))


def _fixed(file: File) -> None:
    file.nodes.append(helper.make_node("Identity", [file.weight(3)], ["fixed"]))
    file.last = "fixed"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_infinite, "the network gives NaN or infinity for random inputs [float.onnx]; train it again"),
        (_fixed, "the output 'fixed' does not depend on the input [float.onnx]; export it again"),
    ],
)
def test_a_network_without_a_result_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    file = File(MAP)
    make(file)
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        read_float_onnx(file.save(tmp_path / "float.onnx"))


def test_a_file_that_onnxruntime_does_not_take_is_to_be_exported_again(tmp_path: Path) -> None:
    file = File(MAP)
    file.add("Conv", file.weight(2, 2, 1, 1), pads=[-1, 0, 0, 0])
    with pytest.raises(UserError, match=r"^onnxruntime does not run the file: .*; export the model again$"):
        read_float_onnx(file.save(tmp_path / "float.onnx"))
