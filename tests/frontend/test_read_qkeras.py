"""A file that qonnx 0.4.0 made of a network of QKeras 0.9.0 (TensorFlow 2.15.1, tf2onnx 1.16.1), seeded, not trained.

Convolutions of 4-bit weights with biases, quantized_relu, a pool, a batch normalization, a dense layer and a Softmax;
pictures (N, 12, 12, 1), which tf2onnx reshapes instead of transposing. The converter leaves out the QActivation in
front of the first layer. ``data/qkeras.npz`` holds pictures and the probabilities that Keras gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import Net
from toolchain.flow.coverage import check
from toolchain.flow.inputs import chosen_encoding
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.input_types import parse_input
from toolchain.lowering.pipeline import to_integer

DATA = Path(__file__).parent / "data"
INPUT = parse_input("int8:1/128")


def test_a_network_of_qkeras_is_exact_and_gives_what_keras_gave() -> None:
    path = DATA / "qkeras.onnx"
    assert check(path, INPUT).supported
    with np.load(DATA / "qkeras.npz") as stored:
        x = np.clip(np.rint(stored["x"] * 128), -127, 127).astype(np.float32) / 128  # as the QActivation rounded
        (found,) = execute_qonnx(path, x).values()
        np.testing.assert_allclose(found, stored["y"], rtol=0, atol=1e-6)  # Softmax in float32
    model = read_qonnx(path)
    agreement = compare(model, to_integer(model.graph, chosen_encoding(model, INPUT)[0]), model.layout.to_ir(x))
    assert (agreement.codes, agreement.mismatches) == (7488, 0)


def as_map(net: Net, x: str, channels: int, length: int, axis: int) -> str:
    """Return the signal ``x`` (1, length, channels) as a map of one row or, for the axis 2, of one column."""
    x = net.add("Unsqueeze", x, net.const([axis], np.int64))
    if channels > 1:
        return net.add("Transpose", net.quant(x, 6, 0.1), perm=[0, 3, 1, 2])
    return net.add("Reshape", x, net.const([-1, 1, length, 1] if axis == 2 else [-1, 1, 1, length], np.int64))


def as_signal(net: Net, x: str, axis: int) -> str:
    """Return the map ``x``, whose ``axis`` has size 1, as a signal, its channels last."""
    return net.add("Transpose", net.add("Squeeze", x, net.const([axis], np.int64)), perm=[0, 2, 1])


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("first", ["Conv", "MaxPool"])
def test_signals_are_read_as_tf2onnx_writes_them(first: str, channels: int, tmp_path: Path) -> None:
    """Conv1D on a map of one row, MaxPooling1D on one of one column, around signals with the channels last.

    onnxruntime quantizes such a map.
    """
    net = Net((1, 12, channels), seed=1)
    x, length, parts = net.quant("x", 6, 0.1), 12, ["Conv", "MaxPool"]
    for part in parts if first == "Conv" else parts[::-1]:
        if part == "Conv":
            ends = [net.const(np.float32(0.25)), net.const(3, np.int8)]
            x = net.add("QuantizeLinear", as_map(net, x, channels, length, -3), *ends)
            x = net.conv(net.add("DequantizeLinear", x, *ends), net.weight(4, channels, 1, 3))
            x = net.quant(net.add("Relu", as_signal(net, x, 2)), 4, 0.2, signed=0)
            channels, length = 4, length - 2
        else:
            x = as_map(net, x, channels, length, 2)
            x = as_signal(net, net.add("MaxPool", x, kernel_shape=[2, 1], strides=[2, 1]), 3)
            length //= 2
    x = net.add("Reshape", x, net.const([-1, channels * length], np.int64))
    weight = net.quant(net.const(net.rng.normal(0, 0.3, (channels * length, 3))), 4, 0.125)
    path = net.save(tmp_path / "net.onnx", net.add("MatMul", x, weight))
    model = read_qonnx(path)
    signals = np.random.default_rng(2).normal(0, 1, (6, *model.graph.input.shape)).astype(np.float32)
    found = compare(model, to_integer(model.graph), signals)
    assert (model.layout.axes, found.mismatches) == ("NWC", 0) and found.codes > 0


def test_features_that_keras_reshapes_are_a_map_with_a_quantizer_in_between(tmp_path: Path) -> None:
    """Reshape((2, 2, 3)) behind a Dense layer; onnxruntime quantizes what it makes before it is transposed."""
    net = Net((1, 5), seed=1)
    x, ends = net.quant("x", 6, 0.125), [net.const(np.float32(0.25)), net.const(0, np.int8)]
    x = net.add("MatMul", x, net.quant(net.const(net.rng.normal(0, 0.3, (5, 12))), 4, 0.125))
    x = net.add("Reshape", net.add("DequantizeLinear", net.add("QuantizeLinear", x, *ends), *ends),
                net.const([-1, 2, 2, 3], np.int64))  # fmt: skip
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", x, *ends), *ends)
    x = net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), net.weight(4, 3, 2, 2))
    model = read_qonnx(net.save(tmp_path / "net.onnx", x))
    features = np.random.default_rng(2).normal(0, 1, (6, 1, 1, 5)).astype(np.float32)
    found = compare(model, to_integer(model.graph), features)
    assert found.mismatches == 0 and found.codes > 0
