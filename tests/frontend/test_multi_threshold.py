"""FINN's MultiThreshold: the integer network counts the thresholds that the executor counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_ops import assert_exact
from tests.onnx_models import Net, multi_threshold
from toolchain.errors import UserError
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_reference
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.model import MultiThreshold
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Encoding, InputType, QInt, Value
from toolchain.lowering.pipeline import to_integer

Build = Callable[[Net], str]


def falling_and_level(net: Net) -> str:
    """Negative, zero and positive scales of a channel in front of thresholds a channel."""
    x = net.conv(net.quant("x", 6, 0.1), net.weight(5, 4, 3, 3))
    x = net.add("Mul", x, net.const(np.array([-1, 0, 0.7, -0.3, 2]).reshape(5, 1, 1)))
    return net.thresholds(x, net.rng.normal(0, 1, (5, 6)), out_scale=0.7, out_bias=-1.4, data_layout="NCHW")


def behind_a_relu(net: Net) -> str:
    """Thresholds below, at and above what a ReLU lets through, and behind a leaky one that falls."""
    x = net.add("Relu", net.conv(net.quant("x", 6, 0.1), net.weight(3, 4, 3, 3)))
    x = net.thresholds(x, [[-1.0, 0.0, 0.0, 0.5, 1.5]])
    x = net.add("LeakyRelu", net.conv(x, net.weight(3, 3, 1, 1)), alpha=0.25)
    x = net.add("Mul", x, net.const(np.array([1, -1, -0.5]).reshape(3, 1, 1)))
    return net.thresholds(x, [[-0.8, -0.1, 0.0, 0.3, 9.0]], out_bias=-2.0)


def channels_last(net: Net) -> str:
    """Thresholds along the last axis, as data_layout says."""
    x = net.add("Transpose", net.quant("x", 6, 0.1), perm=[0, 2, 3, 1])
    x = net.thresholds(x, np.sort(net.rng.normal(0, 1, (4, 3))), data_layout="NHWC")
    return net.quant(net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), net.weight(3, 4, 1, 1)), 5, 0.2)


def of_a_sum(net: Net) -> str:
    """The sum of two branches with unlike scales."""
    x = net.quant("x", 6, 0.1)
    parts = [net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, scale) for scale in (0.25, 0.125)]
    return net.thresholds(net.add("Add", *parts), [[-0.6, -0.1, 0.2, 0.33, 0.8]])


def eight_bits(net: Net) -> str:
    """255 even thresholds: what a FINN network with 8-bit activations has."""
    x = net.conv(net.quant("x", 6, 0.1), net.weight(3, 4, 3, 3, per_channel=False))
    return net.thresholds(x, (np.arange(255)[None] - 127) * np.float32(0.02), out_bias=-128.0, out_scale=0.02)


CASES = (falling_and_level, behind_a_relu, channels_last, of_a_sum, eight_bits)


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_every_code_is_the_executors(build: Build, tmp_path: Path) -> None:
    net = Net((1, 4, 7, 6), seed=21)
    assert_exact(net.save(tmp_path / "net.onnx", build(net)))


def test_a_network_in_finns_form_is_exact_on_pixels(tmp_path: Path) -> None:
    """Annotated weights are integers, an input annotated UINT8 is pixels of step 1, no code differs."""
    model = read_qonnx(multi_threshold(tmp_path / "net.onnx"))
    integer = to_integer(model.graph, model.encoding)
    x = np.random.default_rng(0).integers(0, 256, (64, *model.graph.input.shape), dtype=np.uint8)
    found = compare(model, integer, x)
    expected = execute_reference(model.path, model.layout.from_ir(x.astype(np.float32)))[model.output]

    assert model.encoding == Encoding(InputType(0, 255))
    assert (found.images, found.top1, found.mismatches) == (64, 1.0, 0)
    ours = decode(integer.answer, evaluate(integer, encode(integer, x))[integer.output])
    np.testing.assert_allclose(ours.reshape(64, 3), expected, atol=1e-4)  # float32 sums of 180 products


def test_even_thresholds_become_a_multiplier_and_few_stay_thresholds(tmp_path: Path) -> None:
    """The cheaper unit is taken, as for quantizers."""
    kinds = {}
    for build in (eight_bits, of_a_sum):
        net = Net((1, 4, 7, 6), seed=21)
        integer = to_integer(read_qonnx(net.save(tmp_path / "net.onnx", build(net))).graph)
        kinds[build] = type(integer.nodes[-1])
    assert kinds == {eight_bits: MulShift, of_a_sum: Threshold}


@pytest.mark.parametrize(
    ("count", "scale", "bias", "expected"),
    [
        (1, 2.0, -1.0, (1, 0, -1, 2)),  # bipolar
        (3, 0.5, 0.0, (0.5, 0, 0, 1)),
        (7, 1.0, -4.0, (1, 0, -4, 1)),
        (3, 1.0, -1.5, (0.5, 0, -3, 2)),
        (3, 1.0, 0.25, (1, 0.25, 0, 1)),  # never 0: counts with an offset
        (2, 1.0, -5.0, (1, -5, 0, 1)),
    ],
)
def test_codes_hold_zero_where_the_values_pass_it(count: int, scale: float, bias: float, expected: tuple) -> None:
    """Unit, offset, start and step of the codes."""
    rows = np.arange(count, dtype=np.float64)[None]
    value = Value("y", (1, 1, 1), QInt(8, True))
    node = MultiThreshold(name="n", inputs=("x",), outputs=(value,), thresholds=rows, scale=scale, bias=bias)
    assert node.coding == expected


def refused(net: Net, output: str, path: Path) -> str:
    with pytest.raises(UserError) as error:
        to_integer(read_qonnx(net.save(path, output)).graph)
    return str(error.value)


def test_what_cannot_be_exact_is_refused(tmp_path: Path) -> None:
    """Thresholds along width, a falling staircase, a row too few, an annotation that the weights do not keep."""
    path, where = tmp_path / "net.onnx", "[net.onnx, node 'MultiThreshold_2' (MultiThreshold)]"
    for rows, attributes, message in (
        (np.zeros((4, 2)), {"data_layout": "NHCW"}, f"thresholds along axis 2 of NCHW {where}; set data_layout"),
        (np.zeros((1, 2)), {"out_scale": -1.0}, f"out_scale=-1, out_bias=0 {where}; give a finite bias"),
        (np.zeros((3, 2)), {}, f"thresholds of shape (3, 2) do not fit 4 channels {where}; give one row"),
        (np.full((1, 2), np.nan), {}, f"the thresholds holds NaN or infinity {where}"),
    ):
        net = Net((1, 4, 6, 6), seed=3)
        x = net.add("Relu", net.quant("x", 6, 0.1))
        assert refused(net, net.thresholds(x, rows, **attributes), path).startswith(message)

    for array in ([[[[5.0]]]], [[[[0.5]]]]):
        net = Net((1, 1, 6, 6), seed=3)
        message = refused(net, net.conv(net.quant("x", 6, 0.1), net.typed(array, "INT3")), path)
        assert message.startswith("the weight 'c3' is no INT3, as the file says [net.onnx, node 'Conv_1' (Conv)]")
