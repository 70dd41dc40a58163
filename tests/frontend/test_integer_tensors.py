"""Tensors of codes: put out, read in, and moved between QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from tests.onnx_models import Net
from tests.verdicts import demand_one_verdict
from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.probe import probe
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.types import UNIT_PIXEL
from toolchain.lowering.pipeline import to_integer

MOVES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "nothing": [],
    "a maximum": [("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]})],
    "a transpose": [("Transpose", {"perm": [0, 2, 3, 1]})],
    "a flatten of pixels": [("MaxPool", {"kernel_shape": [6, 6]}), ("Flatten", {})],
    "a pad": [("Pad", {"pads": [1, 2, 0, 1]})],
    "two moves": [("MaxPool", {"kernel_shape": [3, 3]}), ("Identity", {}), ("DepthToSpace", {"blocksize": 2})],
}


def moved(path: Path, moves: str, *, zero: int = 3, end: str = "codes", per_channel: bool = False) -> Path:
    """A convolution quantized to uint8, its codes moved, then put out, dequantized, or dequantized and multiplied."""
    net = Net((1, 3, 6, 6), seed=5)
    scale, point = net.const(0.05), net.const(zero, np.uint8)
    x = net.conv(coded(net, "x", 0.0213), weight(net, 8, 3, 3, 3), pads=[1] * 4)
    if per_channel:
        scale, point = net.const(np.linspace(0.03, 0.06, 8)), net.const([zero] * 8, np.uint8)
    x = net.add("QuantizeLinear", x, scale, point)
    for op, attributes in MOVES[moves]:
        if op == "Pad":  # with the zero point
            top, left, bottom, right = attributes["pads"]
            pads = net.const([0, 0, top, left, 0, 0, bottom, right], np.int64)
            x = net.add(op, x, pads, net.const(np.uint8(zero), np.uint8))
        else:
            x = net.add(op, x, **attributes)
    net.output = TensorProto.UINT8 if end == "codes" else TensorProto.FLOAT
    if end != "codes":
        x = net.add("DequantizeLinear", x, scale, point)
    if end == "layer":
        x = coded(net, net.conv(x, weight(net, 4, 2 if "two" in moves else 8, 1, 1)), 0.0131)
    return net.save(path, x)


def weight(net: Net, *shape: int) -> str:
    """Weights of 4 bits stored as int8, which onnxruntime runs."""
    codes = net.const(net.rng.integers(-7, 8, shape), np.int8)
    return net.add("DequantizeLinear", codes, net.const(0.0317), net.const(0, np.int8))


def coded(net: Net, x: str, scale: float) -> str:
    """A quantizer of two nodes."""
    pair = net.const(scale), net.const(2, np.uint8)
    return net.add("DequantizeLinear", net.add("QuantizeLinear", x, *pair), *pair)


def demand_equal(path: Path, pixels: np.ndarray, *, exact: bool) -> None:
    """The integer network is onnxruntime's run of the unmodified file, and every tap of the probe agrees."""
    model = read_qonnx(path)
    integer = to_integer(model.graph, chosen_encoding(model, None)[0])
    x = model.layout.from_ir(pixels)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x.astype(pixels.dtype)])
    ours = decode(integer.answer, evaluate(integer, encode(integer, pixels))[integer.output])
    difference = np.abs(model.output_layout(model.output).from_ir(ours) - theirs)
    assert difference.max() <= (0 if exact else 1e-6 * np.abs(theirs).max())
    assert compare(model, integer, pixels).mismatches == 0
    assert not any(tap.deviates for tap in probe(model, integer, pixels).taps)
    assert demand_one_verdict(path) is None


@pytest.mark.parametrize("zero", [0, 3])
@pytest.mark.parametrize("moves", [moves for moves in MOVES if moves != "a pad"])
def test_codes_are_the_output(moves: str, zero: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).uniform(0, 1, (3, 6, 6, 3)).astype(np.float32)
    demand_equal(moved(tmp_path / "net.onnx", moves, zero=zero), pixels, exact=True)


@pytest.mark.parametrize("end", ["real", "layer"])
@pytest.mark.parametrize("moves", [moves for moves in MOVES if moves != "a transpose"])
def test_codes_are_moved_in_front_of_dequantize_linear(moves: str, end: str, tmp_path: Path) -> None:
    if (moves, end) in (("a flatten of pixels", "layer"), ("a pad", "real")):
        pytest.skip("a convolution reads maps, and takes over pads")
    pixels = np.random.default_rng(1).uniform(0, 1, (3, 6, 6, 3)).astype(np.float32)
    demand_equal(moved(tmp_path / "net.onnx", moves, end=end), pixels, exact=False)


def test_codes_of_channels_with_scales_of_their_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).uniform(0, 1, (3, 6, 6, 3)).astype(np.float32)
    for moves, end in (("nothing", "codes"), ("a maximum", "codes"), ("a maximum", "layer")):
        path = moved(tmp_path / "net.onnx", moves, end=end, per_channel=True)
        demand_equal(path, pixels, exact=end == "codes")


def integer_input(path: Path, kind: Any, zero: int) -> Path:
    """A convolution of an input of the integers ``kind``, which DequantizeLinear tells the worth of."""
    net = Net((1, 3, 6, 6), seed=6)
    net.input = TensorProto.INT8 if kind is np.int8 else TensorProto.UINT8
    x = net.add("DequantizeLinear", "x", net.const(1 / 255), net.const(zero, kind))
    return net.save(path, coded(net, net.conv(x, weight(net, 4, 3, 3, 3)), 0.0213))


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("zero", [0, 7])
def test_an_input_of_integers_is_worth_what_dequantize_linear_says(zero: int, kind: Any, tmp_path: Path) -> None:
    path, limits = integer_input(tmp_path / "net.onnx", kind, zero), np.iinfo(kind)
    codes = np.random.default_rng(2).integers(limits.min, limits.max + 1, (3, 6, 6, 3), dtype=kind)
    demand_equal(path, codes, exact=False)


def test_an_input_of_integers_is_given_no_other_type(tmp_path: Path) -> None:
    path = integer_input(tmp_path / "net.onnx", np.uint8, 0)
    with pytest.raises(UserError, match="the file's input holds uint8, and --input gives it another type"):
        chosen_encoding(read_qonnx(path), UNIT_PIXEL)
    with pytest.raises(UserError, match="gives it another type"):
        check(path, UNIT_PIXEL)


def test_an_input_of_uint8_is_moved_and_cast(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 6), seed=6)
    net.input = TensorProto.UINT8
    x = net.add("MaxPool", "x", kernel_shape=[2, 2])
    x = net.add("Div", net.add("Cast", x, to=TensorProto.FLOAT), net.const(255))
    path = net.save(tmp_path / "net.onnx", coded(net, net.conv(x, weight(net, 4, 3, 3, 3)), 0.0213))
    demand_equal(path, np.random.default_rng(2).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8), exact=False)


def test_codes_with_unlike_zero_points_are_not_joined(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    scale = net.const(0.1)
    parts = [net.add("QuantizeLinear", "x", scale, net.const(zero, np.uint8)) for zero in (0, 1)]
    x = net.add("DequantizeLinear", net.add("Concat", *parts, axis=1), scale, net.const(0, np.uint8))
    path = net.save(tmp_path / "net.onnx", x)
    with pytest.raises(UserError, match="codes of unlike types or zero points .*Concat"):
        read_qonnx(path)
    assert demand_one_verdict(path) is not None


def test_a_pad_with_another_code_than_the_zero_point_is_refused_by_its_worth(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    pair = net.const(0.5), net.const(3, np.uint8)
    x = net.add("Pad", net.add("QuantizeLinear", "x", *pair), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    x = net.conv(net.add("DequantizeLinear", x, *pair), weight(net, 4, 3, 3, 3))
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", x))
    assert fault is not None and (fault.what, fault.hint) == ("a Pad with -1.5 in front of it", "pad with zeros")


@pytest.mark.parametrize("op", ["Relu", "Conv", "AveragePool"])
def test_what_computes_on_codes_is_named(op: str, tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    codes = net.add("QuantizeLinear", net.add("Relu", net.quant("x")), net.const(0.1), net.const(0, np.uint8))
    more = [net.weight(2, 3, 1, 1)] if op == "Conv" else []
    x = net.add(op, codes, *more, name="at fault", **({"kernel_shape": [2, 2]} if op == "AveragePool" else {}))
    path = net.save(tmp_path / "net.onnx", net.add("DequantizeLinear", x, net.const(0.1), net.const(0, np.uint8)))
    fault = demand_one_verdict(path)
    assert fault is not None
    assert "it reads the codes" in fault.what
    assert "'at fault'" in fault.where
