"""Types of the codes between QuantizeLinear and DequantizeLinear: onnxruntime on the untouched file is the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_qonnx, execute_reference
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.model import Quantize, RealConv
from toolchain.lowering.pipeline import to_integer

TYPES = {
    "int2": (TensorProto.INT2, -2, 1),
    "uint2": (TensorProto.UINT2, 0, 3),
    "int4": (TensorProto.INT4, -8, 7),
    "uint4": (TensorProto.UINT4, 0, 15),
    "int8": (TensorProto.INT8, -128, 127),
    "uint8": (TensorProto.UINT8, 0, 255),
    "int16": (TensorProto.INT16, -(1 << 15), (1 << 15) - 1),
    "uint16": (TensorProto.UINT16, 0, (1 << 16) - 1),
}


def numpy_type(name: str) -> Any:
    return getattr(ml_dtypes if name[-1] in "24" else np, name)


def coded(net: Net, x: str, scale: Any, name: str, zero: int | None, **attributes: Any) -> str:
    """Codes of type ``name``, told by a zero point or, without one, by output_dtype."""
    parameters = [net.const(scale)]
    at = {key: value for key, value in attributes.items() if key != "output_dtype"}
    if zero is None:
        attributes.setdefault("output_dtype", TYPES[name][0])
    else:
        parameters.append(net.const(np.full(np.shape(scale), zero), numpy_type(name)))
    return net.add("DequantizeLinear", net.add("QuantizeLinear", x, *parameters, **attributes), *parameters, **at)


def judged(path: Path, images: np.ndarray) -> np.ndarray:
    """The output by onnxruntime, image by image, without any rewriting."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])


@pytest.mark.parametrize("zero", [None, 0, 1], ids=["output_dtype", "zero point 0", "zero point 1"])
@pytest.mark.parametrize("name", TYPES)
def test_the_type_of_the_codes_gives_their_range(name: str, zero: int | None, tmp_path: Path) -> None:
    """Activations and weights of 2 to 16 bits: range, integer network, and both executions equal onnxruntime's."""
    _, low, high = TYPES[name]
    zero = -zero if zero and low < 0 else zero
    net = Net((1, 3, 5, 5), seed=len(name), opset=25)
    x = coded(net, "x", 3.1 / max(high, 2), name, zero)
    weight_type = name if "16" not in name else "int8"
    weight = coded(net, net.const(net.rng.normal(0, 0.6, (4, 3, 2, 2))), 0.19, weight_type, zero)
    path = net.save(
        tmp_path / "net.onnx", coded(net, net.conv(x, weight), (9.7 if high > 7 else 2) / max(high, 2), name, zero)
    )
    quantizer = next(n.quantizer for n in read_qonnx(path).graph.nodes if isinstance(n, Quantize))
    assert (quantizer.low, quantizer.high) == (low - (zero or 0), high - (zero or 0))
    check(path)


def test_weights_beyond_all_codes_become_the_outermost_ones(tmp_path: Path) -> None:
    """As by onnxruntime, though their number of steps is no int64, or infinity even in float32."""
    net = Net((1, 1, 2, 2), opset=25)
    x = coded(net, "x", 0.1, "int8", 0)
    weight = coded(net, net.const(np.float32([1e20, -1e20, 3e38, -3e38]).reshape(4, 1, 1, 1)), 0.25, "int8", 0)
    path = net.save(tmp_path / "net.onnx", coded(net, net.conv(x, weight), 0.5, "int8", 0))
    (conv,) = (node for node in read_qonnx(path).graph.nodes if isinstance(node, RealConv))
    assert conv.codes.ravel().tolist() == [127, -128, 127, -128]
    check(path)


@pytest.mark.parametrize("name,low,high", [("int4", -8, 7), ("uint4", 0, 15), ("int2", -2, 1)])
def test_stored_codes_of_few_bits_are_weights(name: str, low: int, high: int, tmp_path: Path) -> None:
    """An initializer in 2 or 4 bits, packed in the file, behind DequantizeLinear with a scale a channel."""
    net = Net((1, 3, 4, 4), seed=5, opset=25)
    stored = net.const(net.rng.integers(low, high + 1, (5, 3, 2, 2)), numpy_type(name))
    zero = net.const(np.full(5, 1), numpy_type(name))
    weight = net.add("DequantizeLinear", stored, net.const(net.rng.uniform(0.1, 0.3, 5)), zero, axis=0)
    x = coded(net, net.conv(coded(net, "x", 0.1, "int8", 0), weight), 0.3, "int8", 0)
    check(net.save(tmp_path / "net.onnx", x))


@pytest.mark.parametrize("name", ["int4", "int8"])
def test_scales_in_blocks(name: str, tmp_path: Path) -> None:
    """One scale a block of features, and of output channels of a weight; a block may end beyond the tensor."""
    net = Net((1, 7), seed=6, opset=21)
    x = coded(net, "x", [[0.1, 0.2, 0.3]], name, 1, axis=1, block_size=3)
    scale = net.rng.uniform(0.1, 0.3, (2, 1)).repeat(7, axis=1)
    weight = coded(net, net.const(net.rng.normal(0, 0.5, (5, 7))), scale, name, 0, axis=0, block_size=4)
    check(net.save(tmp_path / "net.onnx", coded(net, net.add("Gemm", x, weight, transB=1), 0.3, name, 0)))


def check(path: Path) -> None:
    """Both executions equal onnxruntime on the untouched file, and the integer network agrees with them."""
    model = read_qonnx(path)
    shape = model.layout.onnx_shape(1)[1:]
    images = np.random.default_rng(3).normal(0, 2, (6, *shape)).astype(np.float32)
    expected = judged(path, images)
    np.testing.assert_array_equal(execute_qonnx(path, images)[model.output], expected)
    np.testing.assert_array_equal(execute_reference(path, images)[model.output], expected)
    assert len(np.unique(expected)) > 1
    assert compare(model, to_integer(model.graph), model.layout.to_ir(images)).images == 6


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "two types": ([0.1, np.int8(0)], {"output_dtype": TensorProto.INT4}, "output_dtype int4 and a zero point"),
    "integers of 32 bits": ([0.1, np.int32(0)], {}, "codes of type int32"),
    "floats of 8 bits": ([0.1], {"output_dtype": TensorProto.FLOAT8E4M3FN}, "codes of type float8e4m3fn"),
    "half precision": ([0.1], {"precision": TensorProto.FLOAT16}, "a division in float16"),
    "too few blocks": ([[[[0.1]], [[0.2]]]], {"block_size": 1}, "parameters of shape .1, 2, 1, 1. along"),
    "scales along rows": ([[[[0.1], [0.2]], [[0.1], [0.2]], [[0.1], [0.2]]]], {"block_size": 1}, "the scale differs"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """What no integer type, or no scale a channel, stands for is refused by the name of the node."""
    (scale, *zero), attributes, message = REFUSED[case]
    net = Net((1, 3, 2, 1), opset=25)
    scale = net.const([scale] if np.ndim(scale) == 3 else scale)
    points = [net.const(z, z.dtype) for z in zero]
    at = {key: value for key, value in attributes.items() if key == "block_size"}
    x = net.add("QuantizeLinear", "x", scale, *points, name="q", **attributes)
    path = net.save(tmp_path / "net.onnx", net.add("DequantizeLinear", x, scale, *points, name="dq", **at))
    with pytest.raises(UserError, match=f"^{message}.*node 'd?q'"):
        read_qonnx(path)


def test_an_absent_zero_point_is_zero(tmp_path: Path) -> None:
    """Codes with a zero point that DequantizeLinear does not take away stand for other values."""
    net = Net((1, 3), opset=21)
    x = net.add("QuantizeLinear", "x", net.const(0.1), net.const(3, np.int8))
    path = net.save(tmp_path / "net.onnx", net.add("DequantizeLinear", x, net.const(0.1)))
    with pytest.raises(UserError, match="^its scale or zero point is not that of its QuantizeLinear"):
        read_qonnx(path)
