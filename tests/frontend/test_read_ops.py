"""Operations of other exporters, from the QONNX file to the last code: the integer network equals the executor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.frontend.agreement import Agreement, compare
from toolchain.frontend.execute import execute_qonnx, execute_reference
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.lowering.pipeline import to_integer

Build = Callable[[Net], str]
CHANNELS_LAST = "qonnx.custom_op.channels_last"


def assert_exact(path: Path, images: int = 16) -> Agreement:
    """Read and lower: no code differs from QONNX's but at a tie; the fast executor is the slow one."""
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    x = np.random.default_rng(3).normal(0, 1, (images, *model.graph.input.shape)).astype(np.float32)
    taps = [model.output]
    rows = model.layout.from_ir(x)[:4]
    fast, slow = execute_qonnx(path, rows, taps), execute_reference(path, rows, taps)
    np.testing.assert_array_equal(fast[model.output], slow[model.output])
    found = compare(model, integer, x)
    assert found.codes > 0
    return found


def constants(op: str, position: int, value: Any) -> Build:
    """An input normalization by a constant on either side."""

    def build(net: Net) -> str:
        operands = [net.quant("x", 8, 0.05)]
        operands.insert(position, net.const(value))
        return net.quant(net.conv(net.add(op, *operands), net.weight(4, 4, 1, 1)), 5, 0.1)

    return build


def pad_conv(net: Net) -> str:
    x = net.add("Pad", net.quant("x", 6, 0.1), net.const([0, 0, 1, 0, 0, 0, 2, 1], np.int64))
    x = net.quant(net.conv(x, net.weight(3, 4, 3, 3), pads=[0, 1, 0, 0]), 4, 0.3)
    x = net.add("Pad", net.add("Relu", x), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    return net.quant(net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]), 4, 0.3)


def pad_average(net: Net) -> str:
    x = net.add("Pad", net.quant("x", 6, 0.1), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const(0.0))
    return net.quant(net.add("AveragePool", x, kernel_shape=[3, 3]), 6, 0.037)


def dilated_and_grouped(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    x = net.quant(net.conv(x, net.weight(6, 2, 3, 3), group=2, dilations=[2, 1], pads=[2, 1, 2, 1]), 5, 0.2)
    return net.quant(net.conv(x, net.weight(6, 1, 3, 3), group=6, dilations=[1, 2], strides=[2, 1]), 5, 0.2)


def pads_wider_than_the_kernel(net: Net) -> str:
    """Around one pixel, a dilated kernel, each channel's own filter; with a stride, and on one side only."""
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(6, 4, 1, 1), pads=[1, 1, 1, 1]), 5, 0.2)
    x = net.quant(net.conv(x, net.weight(6, 2, 2, 3), group=3, dilations=[2, 1], pads=[4, 0, 5, 3]), 5, 0.2)
    return net.quant(net.conv(x, net.weight(6, 1, 2, 1), group=6, strides=[2, 2], pads=[3, 2, 0, 0]), 5, 0.2)


def extremes(net: Net) -> str:
    """Of codes of unlike scales and of one scale, of sums, and with a number; twice in a row."""
    x = net.quant("x", 6, 0.1)
    a, b = (net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, scale) for scale in (0.231, 0.117))
    y = net.add("Min", net.add("Max", a, b), net.conv(x, net.weight(4, 4, 1, 1)))
    y = net.quant(net.add("Max", y, net.const(-0.4)), 5, 0.1)
    return net.quant(net.conv(net.add("Min", y, a), net.weight(3, 4, 1, 1)), 5, 0.2)


def average_of_the_map_alone(net: Net) -> str:
    """Pads that do not count: in front of a quantizer and of a ReLU, with zero points, strides, and pads unreached."""
    x = net.quant("x", 6, 0.1)
    x = net.quant(net.add("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 6, 0.037)
    x = net.quant(net.conv(x, net.weight(5, 4, 1, 1)), 5, 0.2, 4.0, signed=0)
    x = net.add("Relu", net.add("AveragePool", x, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 2, 0, 1]))
    return net.quant(net.conv(net.quant(x, 5, 0.1), net.weight(3, 5, 1, 1)), 5, 0.2)


def leaky(net: Net) -> str:
    x = net.conv(net.quant("x", 6, 0.1), net.weight(5, 4, 3, 3))
    x = net.quant(net.add("LeakyRelu", net.batch_norm(x, 5), alpha=0.3), 5, 0.2)
    x = net.conv(x, net.weight(5, 5, 1, 1))
    slope = net.const(np.array([0, 0.125, 0.01, 1, 2]).reshape(5, 1, 1))
    return net.quant(net.batch_norm(net.add("PRelu", x, slope), 5), 8, 0.05)


def gelu_by_tanh(net: Net) -> str:
    """As torch writes it below opset 20, and the square of codes."""
    x = net.conv(net.quant("x", 6, 0.1), net.weight(5, 4, 3, 3))
    cube = net.add("Mul", net.add("Pow", x, net.const(3.0)), net.const(0.044715))
    inner = net.add("Mul", net.add("Add", x, cube), net.const((2 / np.pi) ** 0.5))
    gate = net.add("Add", net.add("Tanh", inner), net.const(1.0))
    x = net.quant(net.add("Mul", net.add("Mul", x, net.const(0.5)), gate), 6, 0.05)
    return net.quant(net.add("Pow", x, net.const(2.0)), 5, 0.07, signed=0)


def relu6(net: Net) -> str:
    x = net.conv(net.quant("x", 6, 0.1), net.weight(5, 4, 3, 3))
    x = net.quant(net.add("Clip", net.batch_norm(x, 5), net.const(0.0), net.const(0.6)), 4, 0.05, signed=0)
    x = net.add("Clip", net.conv(x, net.weight(2, 5, 1, 1)), net.const(-0.3), net.const(0.25))
    return net.quant(x, 6, 0.03)


def bias_quantizers(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    bias = net.quant(net.const(net.rng.normal(0, 1, 5)), 16, 2.0**-9)
    x = net.quant(net.conv(x, net.weight(5, 4, 3, 3), bias=bias), 5, 0.2)
    scalar, single = net.const(0.37), net.quant(net.const([0.21]), 8, 0.01)
    x = net.quant(net.conv(x, net.weight(4, 5, 1, 1), bias=scalar), 5, 0.2)
    return net.quant(net.conv(x, net.weight(3, 4, 1, 1), bias=single), 5, 0.2)


def quant_of_quant(net: Net) -> str:
    x = net.quant(net.quant("x", 8, 0.03), 4, 0.21)
    weight = net.quant(net.weight(3, 4, 1, 1, bits=6), 4, 0.1)
    x = net.quant(net.conv(x, weight), 8, 0.05)
    return net.quant(net.quant(x, 5, 0.23, signed=0), 3, 0.5, rounding_mode="FLOOR")


def three_branches(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    parts = [net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, scale) for scale in (0.25, 0.125, 0.0625)]
    total = net.add("Add", net.add("Add", parts[0], parts[1]), net.add("Add", parts[2], x))
    return net.quant(net.add("Relu", total), 5, 0.2, signed=0)


def unequal_branches(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    parts = [net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, scale) for scale in (0.231, 0.117)]
    return net.quant(net.add("LeakyRelu", net.add("Add", *parts), alpha=0.1), 6, 0.077)


def weights_with_a_zero_point(net: Net) -> str:
    weight = net.quant(net.const(net.rng.normal(0, 1, (3, 4, 2, 2))), 4, 0.2, 3.0)
    return net.quant(net.conv(net.quant("x", 6, 0.1, 5.0, signed=0), weight, pads=[1, 0, 0, 1]), 6, 0.21)


def weights_with_a_zero_point_a_channel(net: Net) -> str:
    """As Brevitas' ShiftedUint8WeightPerChannelFloat writes them."""
    zero, scale = np.array([7.0, 0.0, 15.0]), np.array([0.2, 0.13, 0.31])
    shape = (3, 1, 1, 1)
    weight = net.const(net.rng.normal(0, 1, (3, 4, 2, 2)))
    weight = net.quant(weight, 4, scale.reshape(shape), zero.reshape(shape), signed=0)
    return net.quant(net.conv(net.quant("x", 6, 0.1), weight), 6, 0.21)


def channels_last(net: Net) -> str:
    x = net.add("Transpose", net.quant("x", 6, 0.1), perm=[0, 2, 3, 1])
    weight = net.quant(net.const(net.rng.normal(0, 0.3, (5, 3, 3, 4))), 4, 0.1)
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "group": 1, "pads": [1, 1, 1, 1]}
    x = net.add("Conv", x, weight, domain=CHANNELS_LAST, **window)
    parameters = [net.const(net.rng.uniform(0.5, 1, 5)) for _ in range(4)]
    x = net.add("BatchNormalization", x, *parameters, domain=CHANNELS_LAST, epsilon=1e-5)
    x = net.quant(x, 4, 0.3)
    return net.add(
        "MaxPool",
        x,
        domain=CHANNELS_LAST,
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[0] * 4,
        dilations=[1, 1],
        ceil_mode=0,
    )


MAPS: dict[str, Build] = {
    "pad in front of a convolution and a maximum": pad_conv,
    "pad in front of an average": pad_average,
    "dilated, grouped and depthwise convolutions": dilated_and_grouped,
    "pads wider than the kernel": pads_wider_than_the_kernel,
    "the larger and the smaller of two": extremes,
    "averages whose pads do not count": average_of_the_map_alone,
    "LeakyRelu and PRelu": leaky,
    "GELU by tanh, and a square": gelu_by_tanh,
    "Clip inside the range": relu6,
    "bias quantizers, scalar and single biases": bias_quantizers,
    "Quant of Quant": quant_of_quant,
    "four terms": three_branches,
    "two unlike scales behind a leaky ReLU": unequal_branches,
    "zero points of weights": weights_with_a_zero_point,
    "a zero point a channel of weights": weights_with_a_zero_point_a_channel,
    "channels-last nodes": channels_last,
    "Mul": constants("Mul", 1, 2.0),
    "Add of a channel vector": constants("Add", 0, np.arange(4).reshape(4, 1, 1) / 8),
    "Sub from a constant": constants("Sub", 0, 0.5),
    "Div": constants("Div", 1, np.float32(0.7)),
}


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("case", MAPS)
def test_every_code_of(case: str, batch: int | str, tmp_path: Path) -> None:
    net = Net((batch, 4, 9, 8), seed=11)
    assert_exact(net.save(tmp_path / "net.onnx", MAPS[case](net)))


def row_network(net: Net) -> str:
    x = net.conv(net.quant("x", 6, 0.1), net.weight(5, 3, 4), strides=[2], pads=[2, 1])
    x = net.quant(net.add("Relu", net.batch_norm(x, 5)), 4, 0.2, signed=0)
    x = net.add("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.quant(net.conv(x, net.weight(5, 1, 3), group=5, dilations=[2]), 5, 0.1)
    return net.linear(net.add("Flatten", x), 10, 3)


def row_average(net: Net) -> str:
    x = net.add("Pad", net.quant("x", 6, 0.1), net.const([0, 0, 1, 0, 0, 2], np.int64))
    x = net.quant(net.conv(x, net.weight(4, 3, 3)), 6, 0.1)
    x = net.quant(net.add("AveragePool", x, kernel_shape=[2]), 6, 0.07)
    return net.linear(net.add("Flatten", net.quant(net.add("GlobalAveragePool", x), 6, 0.03)), 4, 3)


def row_to_map(net: Net) -> str:
    x = net.add("Unsqueeze", net.quant("x", 6, 0.1), net.const([2], np.int64))
    return net.quant(net.conv(x, net.weight(4, 3, 1, 3)), 6, 0.1)


@pytest.mark.parametrize("build", [row_network, row_average, row_to_map], ids=lambda build: build.__name__)
def test_one_dimensional_networks(build: Build, tmp_path: Path) -> None:
    net = Net((1, 3, 23), seed=12)
    model = net.save(tmp_path / "net.onnx", build(net))
    assert_exact(model)
    assert read_qonnx(model).layout.shape == (1, 23, 3)


@pytest.mark.parametrize(
    ("op", "attributes", "shape"),
    [
        ("GlobalMaxPool", {}, (1, 3, 6, 5)),
        ("GlobalMaxPool", {}, (1, 3, 9)),
        ("ReduceMax", {"axes": [2, 3], "keepdims": 0}, (1, 3, 6, 5)),
        ("ReduceMax", {"axes": [-1, -2], "keepdims": 1}, (1, 3, 6, 5)),
    ],
)
def test_the_largest_of_a_map(op: str, attributes: dict[str, Any], shape: tuple[int, ...], tmp_path: Path) -> None:
    """Also of sums whose scales are negative, and with the axes gone."""
    net = Net(shape, seed=21)
    rank = len(shape) - 2
    x = net.batch_norm(net.conv(net.quant("x", 6, 0.1), net.weight(4, 3, *[3] * rank)), 4)
    x = net.quant(net.add(op, x, **attributes), 6, 0.2)
    x = x if attributes.get("keepdims") == 0 else net.add("Flatten", x)
    assert_exact(net.save(tmp_path / "net.onnx", net.linear(x, 4, 3)))


@pytest.mark.parametrize("op", ["Sum", "Sub"])
def test_sums_and_differences_of_two_activations(op: str, tmp_path: Path) -> None:
    """Of unlike scales, quantized before or not, either way round."""
    net = Net((1, 3, 6, 5), seed=23)
    x = net.quant("x", 6, 0.1)
    a = net.quant(net.conv(x, net.weight(4, 3, 1, 1)), 5, 0.2)
    b = net.conv(x, net.weight(4, 3, 1, 1))
    c = net.quant(net.add(op, a, b), 6, 0.15)
    assert_exact(net.save(tmp_path / "net.onnx", net.quant(net.add(op, c, a), 5, 0.3)))


def test_the_largest_over_channels_is_refused(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 5), seed=22)
    path = net.save(tmp_path / "net.onnx", net.add("ReduceMax", net.quant("x"), name="top", axes=[1], keepdims=0))
    with pytest.raises(UserError, match=r"^the largest over the axes .*'top' .ReduceMax.*take it"):
        read_qonnx(path)


def test_a_channels_last_input(tmp_path: Path) -> None:
    """(N, H, W, C) straight into channels-last nodes, and (N, W, C) into a MatMul."""
    net = Net((1, 6, 5, 3), seed=13)
    weight = net.quant(net.const(net.rng.normal(0, 0.3, (4, 3, 3, 3))), 4, 0.1)
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "group": 1, "pads": [0] * 4}
    x = net.add("Conv", net.quant("x", 6, 0.1), weight, domain=CHANNELS_LAST, **window)
    path = net.save(tmp_path / "net.onnx", net.quant(x, 5, 0.2))
    assert_exact(path)
    assert read_qonnx(path).layout.axes == "NHWC"

    net = Net((1, 7, 4), seed=14)
    path = net.save(
        tmp_path / "row.onnx", net.quant(net.add("MatMul", net.quant("x"), net.weight(4, 3, per_channel=False)))
    )
    assert_exact(path)
    assert read_qonnx(path).layout.axes == "NWC"


def qcdq(net: Net, x: str, scale: Any, zero: int, kind: Any, clip: tuple[int, int] | None = None, axis: int = 1) -> str:
    """QuantizeLinear, Clip, DequantizeLinear."""
    shape = np.shape(scale)
    parameters = [net.const(scale), net.const(np.full(shape, zero), kind)]
    x = net.add("QuantizeLinear", x, *parameters, axis=axis)
    if clip:
        x = net.add("Clip", x, net.const(clip[0], kind), net.const(clip[1], kind))
    return net.add("DequantizeLinear", x, *parameters, axis=axis)


@pytest.mark.parametrize("zero,kind", [(0, np.int8), (17, np.uint8), (-3, np.int8)])
def test_quantize_and_dequantize_linear(zero: int, kind: Any, tmp_path: Path) -> None:
    """Activations with a zero point, few-bit weights per channel, weights and biases stored as integers."""
    net = Net((1, 4, 6, 6), seed=15)
    x = qcdq(net, "x", 0.05, zero, kind)
    weight = qcdq(
        net, net.const(net.rng.normal(0, 0.3, (5, 4, 3, 3))), [0.1, 0.07, 0.2, 0.3, 0.04], 0, np.int8, (-7, 7), 0
    )
    bias = net.add("DequantizeLinear", net.const(net.rng.integers(-99, 99, 5), np.int32), net.const(0.01))
    x = net.add("Relu", net.conv(x, weight, bias=bias, pads=[1] * 4))
    x = qcdq(net, x, 0.11, 0, np.uint8, (0, 15))
    stored = net.const(net.rng.integers(0, 255, (3, 5, 1, 1)), np.uint8)
    weight = net.add("DequantizeLinear", stored, net.const(0.02), net.const(131, np.uint8))
    assert_exact(net.save(tmp_path / "net.onnx", qcdq(net, net.conv(x, weight), 0.07, 2, np.int8)))


def test_odd_zero_points_round_before_they_add(tmp_path: Path) -> None:
    """QuantizeLinear of a half with zero point 1 gives an odd code: the half goes to even before the zero point."""
    net = Net((1, 1, 4, 4))
    path = net.save(tmp_path / "net.onnx", qcdq(net, net.quant("x", 8, 0.25), 0.5, 1, np.int8))
    assert assert_exact(path).mismatches == 0


@pytest.mark.parametrize("ends", [(0, 15), (-8, 5)])
def test_a_clip_of_int8_codes_is_their_range(ends: tuple[int, int], tmp_path: Path) -> None:
    net = Net((1, 1, 4, 4))
    path = net.save(tmp_path / "net.onnx", qcdq(net, net.quant("x", 8, 0.0625), 0.125, 0, np.int8, ends))
    assert assert_exact(path).mismatches == 0
    quantizer = read_qonnx(path).graph.nodes[-1].quantizer  # type: ignore[attr-defined]
    assert (quantizer.low, quantizer.high) == ends


def test_both_of_two_quantizers_in_a_row_round(tmp_path: Path) -> None:
    net = Net((1, 1, 4, 4))
    x = qcdq(net, net.quant("x", 8, 0.125), 0.25, 0, np.int8)
    path = net.save(tmp_path / "net.onnx", qcdq(net, x, 0.625, 0, np.int8))
    assert assert_exact(path).mismatches == 0
    graph = read_qonnx(path).graph
    assert [node.quantizer.unit for node in graph.nodes] == [(0.125,), (0.25,), (0.625,)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("rounding", ["FLOOR", "ROUND"])
def test_trunc_behind_an_average_pool(rounding: str, second: bool, tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8), seed=16, domain="qonnx.custom_op.general")
    x = net.quant("x", 8, 0.0625, signed=0)
    x = net.add("Mul", net.add("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4]), net.const(16.0))
    numbers = [0.0625, 0.0, 12.0, 1.0, 8.0] if second else [0.0625, 0.0, 12.0, 8.0]
    attributes = {"rounding_mode": rounding} | ({"signed": 0} if second else {})
    x = net.add("Trunc", x, *map(net.const, numbers), domain=net.domain, **attributes)
    found = assert_exact(net.save(tmp_path / "net.onnx", net.linear(net.add("Flatten", x), 12, 3)))
    assert found.mismatches == 0


@pytest.mark.parametrize("rounding", ["FLOOR", "ROUND"])
@pytest.mark.parametrize("bits,kernel,of_sum", [(2, 3, 5), (8, 7, 14)])
def test_trunc_of_averages_whose_scale_is_a_rounded_quotient(
    bits: int, kernel: int, of_sum: int, rounding: str, tmp_path: Path
) -> None:
    """As Brevitas exports ``TruncAvgPool2d``: scales of 1/9 and 1/49 in float32, of which no average is a multiple."""
    net = Net((1, 3, 2 * kernel, 2 * kernel), seed=16, domain="qonnx.custom_op.general")
    x = net.add("AveragePool", net.quant("x", bits, 0.3, signed=0), kernel_shape=[kernel] * 2, strides=[kernel] * 2)
    scale = 0.3 / kernel**2
    numbers = [scale, 0.0, float(of_sum), scale * 2 ** (of_sum - bits), float(bits)]
    x = net.add("Trunc", x, *map(net.const, numbers), domain=net.domain, rounding_mode=rounding, signed=0)
    found = assert_exact(net.save(tmp_path / "net.onnx", net.linear(net.add("Flatten", x), 12, 3)))
    assert found.mismatches == 0


REFUSED: dict[str, tuple[Build, str]] = {
    "pad that is not folded": (
        lambda net: net.add("Relu", net.add("Pad", net.quant("x"), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))),
        "a Pad in front of it",
    ),
    "pad of channels": (
        lambda net: net.add("Pad", net.quant("x"), net.const([0, 1, 0, 0, 0, 0, 0, 0], np.int64)),
        r"pads \[0, 1, 0, 0, 0, 0, 0, 0\]",
    ),
    "reflected pad": (
        lambda net: net.add("Pad", net.quant("x"), net.const([0] * 8, np.int64), mode="reflect"),
        "a Pad that copies elements",
    ),
    "falling leak": (lambda net: net.add("LeakyRelu", net.quant("x"), alpha=-0.1), "a slope of -0.1, which makes"),
    "codes without a value": (
        lambda net: net.add("Relu", net.add("QuantizeLinear", net.quant("x"), net.const(0.1), net.const(0, np.int8))),
        "it reads the codes 't1'",
    ),
    "two scales": (
        lambda net: net.add(
            "DequantizeLinear", net.add("QuantizeLinear", net.quant("x"), net.const(0.1), net.const(0, np.int8)),
            net.const(0.2), net.const(0, np.int8),
        ),
        "its scale or zero point is not that of its QuantizeLinear",
    ),
    "negative scale": (
        lambda net: net.add("QuantizeLinear", net.quant("x"), net.const(-0.1), net.const(0, np.int8)),
        "the scale is not a positive number everywhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    net = Net((1, 2, 3, 3))
    with pytest.raises(UserError, match=f"^{message}"):
        read_qonnx(net.save(tmp_path / "net.onnx", build(net)))


@pytest.mark.parametrize("last", [0, 1])
def test_argmax_of_equal_classes(last: int, tmp_path: Path) -> None:
    """Codes of two bits often tie: the first of equal classes, or the last, as the executor says."""
    net = Net((1, 6), seed=17)
    x = net.add("ArgMax", net.quant("x", 2, 1.0), axis=1, select_last_index=last)
    path = net.save(tmp_path / "net.onnx", x, index=True)
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    rows = np.random.default_rng(5).normal(0, 1, (64, 6)).astype(np.float32)
    expected = execute_qonnx(path, rows, [model.output])[model.output]
    codes = encode(integer, rows.reshape(-1, 1, 1, 6))

    np.testing.assert_array_equal(evaluate(integer, codes)[integer.output].reshape(-1), expected.reshape(-1))
    assert ((codes == codes.max(axis=3, keepdims=True)).sum(axis=3) > 1).sum() > 16
