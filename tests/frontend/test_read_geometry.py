"""Transposed convolutions, crops, blocks of positions as channels, shuffled channels and moves of any rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frontend.test_read_ops import assert_exact
from tests.onnx_models import Net
from tests.verdicts import demand_one_verdict
from toolchain.flow.coverage import check
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Permute, Reshape, Slice, SpaceToDepth
from toolchain.lowering.pipeline import to_integer

Build = Callable[[Net], str]
END = [(1 << 63) - 1]


def ints(net: Net, *numbers: int) -> str:
    return net.const(numbers, np.int64)


def end(net: Net, x: str, channels: int, kernel: int = 1) -> str:
    """A quantizer, a dense convolution that tells the channels apart, and a quantizer."""
    x = net.quant(net.add("Relu", x), 4, 0.2, signed=0)
    return net.quant(net.conv(x, net.weight(3, channels, kernel, kernel)), 5, 0.3)


def transposed(*kernel: int, group: int = 1, bias: bool = True, **attributes: Any) -> Build:
    """A transposed convolution of 4 to 6 channels with a scale a channel, behind a quantizer that has no zero point."""

    def build(net: Net) -> str:
        values = net.const(net.rng.normal(0, 0.4, (4, 6 // group, *kernel)))
        scale = net.rng.uniform(0.05, 0.2, (1, 6 // group, *[1] * len(kernel)))
        inputs = [net.quant("x", 5, 0.1), net.quant(values, 4, scale, narrow=1)]
        x = net.add(
            "ConvTranspose", *inputs, *([net.const(net.rng.normal(0, 1, 6))] if bias else []), group=group, **attributes
        )
        x = net.quant(net.add("Relu", x), 4, 0.21, signed=0)
        return net.quant(net.conv(x, net.weight(3, 6, *[1] * len(kernel))), 5, 0.3)

    return build


TRANSPOSED: dict[str, Build] = {
    "kernel and stride 2": transposed(2, 2, strides=[2, 2]),
    "kernel 3, stride 2": transposed(3, 3, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]),
    "kernel 4, stride 2": transposed(4, 4, strides=[2, 2], pads=[1] * 4),
    "kernel 3 without stride": transposed(3, 3, pads=[1, 0, 2, 1]),
    "kernel 2, stride 3": transposed(2, 2, strides=[3, 3]),
    "unlike axes": transposed(5, 2, strides=[3, 1], pads=[2, 0, 1, 1], bias=False),
    "groups": transposed(3, 3, strides=[2, 2], pads=[1, 1, 0, 0], group=2),
    "dilated": transposed(3, 2, strides=[2, 1], dilations=[2, 3], pads=[1, 1, 1, 1]),
    "same": transposed(3, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "a given shape": transposed(3, 3, strides=[2, 2], output_shape=[10, 12]),
}
SIGNALS: dict[str, Build] = {
    "kernel and stride 3": transposed(3, strides=[3]),
    "kernel 4, stride 2": transposed(4, strides=[2], pads=[1, 1]),
}


def cropped(net: Net) -> str:
    x = net.add("Slice", net.quant("x", 6, 0.1), ints(net, 1, 2), ints(net, -1, 5), ints(net, 2, 3))
    return end(net, net.conv(x, net.weight(4, 4, 3, 3), pads=[1] * 4), 4, 3)


def every_second(net: Net) -> str:
    """A Slice of a Slice takes from the map itself."""
    x = net.add("Slice", net.quant("x", 6, 0.1), ints(net, 1), net.const(END, np.int64), ints(net, 2), ints(net, 2))
    x = net.add("Slice", x, ints(net, 1), ints(net, 5), ints(net, 3))
    return end(net, net.add("Slice", x, ints(net, 0), net.const(END, np.int64), ints(net, 3), ints(net, 2)), 4)


def split_rows(net: Net) -> str:
    top = net.add("Split", net.quant("x", 6, 0.1), ints(net, 3, 3), axis=2)
    net.nodes[-1].output.append("bottom")
    return end(net, net.add("Concat", "bottom", top, axis=1), 8)


def focus(steps: int = 2, *, columns_first: bool = True) -> Build:
    """As YOLOv5 has it: rows, then columns, four parts joined."""

    def build(net: Net) -> str:
        x, parts = net.quant("x", 6, 0.1), []
        for a, b in np.ndindex(2, 2):
            row, column = (b, a) if columns_first else (a, b)
            half = net.add("Slice", x, ints(net, row), net.const(END, np.int64), ints(net, 2), ints(net, steps))
            parts.append(net.add("Slice", half, ints(net, column), ints(net, 6), ints(net, 3), ints(net, steps)))
        return end(net, net.conv(net.add("Concat", *parts, axis=1), net.weight(5, 16, 2, 2)), 5)

    return build


def moved(*steps: tuple[int, ...] | str, channels: int, layer: str = "dense") -> Build:
    """Reshapes to the sizes given and transposes by the digits given, then a layer."""

    def build(net: Net) -> str:
        x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(8, 4, 1, 1)), 4, net.rng.uniform(0.1, 0.3, (8, 1, 1)))
        for step in steps:
            if isinstance(step, str):
                x = net.add("Transpose", x, perm=[int(c) for c in step])
            else:
                x = net.add("Reshape", x, ints(net, *step))
        if layer == "by channel":
            x = net.quant(
                net.conv(
                    x,
                    net.weight(2 * channels, 1, 3, 3),
                    group=channels,
                    bias=net.const(net.rng.normal(0, 1, 2 * channels)),
                ),
                4,
                0.3,
            )
            channels_now = 2 * channels
        elif layer == "grouped":
            x = net.quant(net.conv(x, net.weight(4, channels // 2, 1, 1), group=2), 4, 0.3)
            channels_now = 4
        elif layer == "split":
            x = net.add("Split", x, ints(net, 3, channels - 3), axis=1)
            net.nodes[-1].output.append("rest")
            return end(net, x, 3)
        elif layer == "linear":
            return net.quant(
                net.add("MatMul", x, net.quant(net.const(net.rng.normal(0, 0.4, (channels, 3))), 4, 0.1)), 5, 0.3
            )
        elif layer == "signal":
            return net.quant(net.conv(x, net.weight(3, channels, 3)), 5, 0.3)
        else:
            channels_now = channels
        return end(net, x, channels_now)

    return build


SHUFFLE = ((1, 2, 4, 6, 6), "02134", (1, 8, 6, 6))


def linear(*factors: int, **attributes: Any) -> Build:
    def build(net: Net) -> str:
        x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(4, 4, 1, 1)), 4, net.rng.uniform(0.1, 0.3, (4, 1, 1)))
        return end(net, net.add("Resize", x, "", net.const([1, 1, *factors]), mode="linear", **attributes), 4)

    return build


def expanded(net: Net) -> str:
    """A gate of one position that is expanded to the map which it multiplies, as by torch's ``expand_as``."""
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(4, 4, 1, 1)), 4, 0.2)
    gate = net.quant(net.add("Sigmoid", net.quant(net.add("GlobalAveragePool", x), 6, 0.05)), 6, 1 / 64, signed=0)
    gate = net.quant(net.add("Expand", gate, ints(net, 1, 4, 6, 6)), 6, 1 / 64, signed=0)
    return end(net, net.add("Mul", net.add("Expand", x, ints(net, 6, 6)), gate), 4)


MOVES: dict[str, Build] = {
    "a position expanded": expanded,
    "linear by 2": linear(2, 2),
    "linear by 3 and 2": linear(3, 2, coordinate_transformation_mode="pytorch_half_pixel"),
    "linear columns by 4": linear(1, 4),
    "linear as TensorFlow had it": linear(2, 2, coordinate_transformation_mode="asymmetric"),
    "a crop": cropped,
    "every second row and column": every_second,
    "rows split": split_rows,
    "Focus": focus(),
    "Focus by rows": focus(columns_first=False),
    "parts of steps of 3": focus(3),
    "SpaceToDepth": lambda net: end(net, net.add("SpaceToDepth", net.quant("x", 6, 0.1), blocksize=2), 16),
    "a shuffle": moved(*SHUFFLE, channels=8),
    "a shuffle in front of filters": moved(*SHUFFLE, channels=8, layer="by channel"),
    "a shuffle in front of groups": moved(*SHUFFLE, channels=8, layer="grouped"),
    "a shuffle in front of a split": moved(*SHUFFLE, channels=8, layer="split"),
    "a shuffle of flat maps": moved((1, 2, 4, -1), "0213", (1, -1, 6, 6), channels=8),
    "pixels from channels": moved((1, 2, 2, 2, 6, 6), "014253", (1, 2, 12, 12), channels=2),
    "pixels from channels, blocks first": moved((1, 2, 2, 2, 6, 6), "034152", (1, 2, 12, 12), channels=2),
    "pixels from channels in no order of ONNX": moved((1, 2, 2, 2, 6, 6), "024153", (1, 2, 12, 12), channels=2),
    "channels from pixels": moved((1, 8, 3, 2, 3, 2), "013524", (1, 32, 3, 3), channels=32),
    "channels from columns": moved((1, 8, 6, 3, 2), "01423", (1, 16, 6, 3), channels=16),
    "a sequence of columns": moved("0312", (1, 6, 48), channels=48, layer="linear"),
    "a sequence of positions": moved((1, 8, 36), "021", channels=8, layer="linear"),
    "a signal of positions": moved((1, 8, 36), channels=8, layer="signal"),
    "a flattened shuffle": moved(*SHUFFLE, (1, 288), channels=288, layer="linear"),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolutions(case: str, tmp_path: Path) -> None:
    path = TRANSPOSED[case](net := Net((1, 4, 5, 6), seed=31))
    found = assert_exact(net.save(tmp_path / "net.onnx", path))
    assert found.mismatches == 0
    assert check(tmp_path / "net.onnx").supported


@pytest.mark.parametrize("case", SIGNALS)
def test_transposed_convolutions_of_signals(case: str, tmp_path: Path) -> None:
    path = SIGNALS[case](net := Net((1, 4, 7), seed=31))
    assert assert_exact(net.save(tmp_path / "net.onnx", path)).mismatches == 0


@pytest.mark.parametrize("case", MOVES)
def test_moves(case: str, tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6), seed=32)
    path = net.save(tmp_path / "net.onnx", MOVES[case](net))
    assert_exact(path)
    assert check(path).supported


FORMS: dict[str, list[type]] = {
    "Focus": [SpaceToDepth],
    "parts of steps of 3": [Crop, Crop, Crop, Crop, Concat],
    "every second row and column": [Crop],
    "a shuffle": [],
    "a shuffle in front of filters": [],
    "a shuffle in front of groups": [Permute],
    "a shuffle in front of a split": [Permute, Slice],
    "pixels from channels": [DepthToSpace],
    "pixels from channels in no order of ONNX": [Permute, DepthToSpace],
    "channels from pixels": [SpaceToDepth],
    "a sequence of positions": [Reshape],
    "a flattened shuffle": [Reshape],
}


@pytest.mark.parametrize("case", FORMS)
def test_moves_take_the_hardware_that_they_need(case: str, tmp_path: Path) -> None:
    """Shuffled channels that a layer can take in any order take none."""
    net = Net((1, 4, 6, 6), seed=32)
    graph = to_integer(read_qonnx(net.save(tmp_path / "net.onnx", MOVES[case](net))).graph)
    kinds = (SpaceToDepth, DepthToSpace, Crop, Permute, Slice, Concat, Reshape)
    assert [type(node) for node in graph.nodes if isinstance(node, kinds)] == FORMS[case]


def test_the_stride_of_a_transposed_convolution_takes_no_cycles_of_zeros(tmp_path: Path) -> None:
    """A kernel of 3 and a stride of 2: one product of 2 x 2 taps a block of outputs instead of 3 x 3 each."""
    net = Net((1, 4, 5, 6), seed=31)
    path = net.save(tmp_path / "net.onnx", TRANSPOSED["kernel 3, stride 2"](net))
    graph = to_integer(read_qonnx(path).graph)
    product = next(node for node in graph.nodes if hasattr(node, "weight"))
    assert product.weight.shape == (24, 16)
    assert product.output.shape == (6, 7, 24)


def test_a_shuffled_output_has_the_order_of_the_file(tmp_path: Path) -> None:
    net = Net((1, 8, 6, 6), seed=33)
    x = net.quant("x", 6, 0.1)
    for step in SHUFFLE:
        x = (
            net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
            if step == "02134"
            else net.add("Reshape", x, ints(net, *step))
        )
    assert assert_exact(net.save(tmp_path / "net.onnx", x)).output_error < 1e-6


def test_codes_are_shuffled_in_front_of_dequantize_linear(tmp_path: Path) -> None:
    net = Net((1, 8, 6, 6), seed=34)
    scale, zero = net.const(0.05), net.const(3, np.uint8)
    x = net.add("QuantizeLinear", "x", scale, zero)
    x = net.add(
        "Reshape",
        net.add("Transpose", net.add("Reshape", x, ints(net, 1, 2, 4, 6, 6)), perm=[0, 2, 1, 3, 4]),
        ints(net, 1, 8, 6, 6),
    )
    x = net.add("DequantizeLinear", x, scale, zero)
    assert_exact(net.save(tmp_path / "net.onnx", end(net, x, 8)))


def pair(net: Net, x: str) -> str:
    parameters = net.const(0.05), net.const(3, np.uint8)
    return net.add("DequantizeLinear", net.add("QuantizeLinear", x, *parameters), *parameters)


@pytest.mark.parametrize(
    "between",
    [
        pair,
        lambda net, x: net.add("DequantizeLinear", net.add("QuantizeLinear", x, net.const(0.05)), net.const(0.05)),
        lambda net, x: net.quant(net.add("LeakyRelu", x, alpha=0.25), 5, 0.3, 2),
        lambda net, x: net.quant(net.add("Sigmoid", x), 5, 0.04, signed=0),
    ],
    ids=["quantizers", "quantizers without a zero point", "a leaky ReLU", "a curve"],
)
def test_a_shuffle_is_exact_with_what_every_number_passes_between_its_moves(between: Any, tmp_path: Path) -> None:
    """As onnxruntime writes it, which quantizes behind every node: tensors of five axes have no form of their own."""
    net = Net((1, 4, 6, 6), seed=35)
    x = pair(net, net.conv(pair(net, "x"), net.weight(8, 4, 1, 1)))
    x = between(net, net.add("Reshape", x, ints(net, 1, 2, 4, 6, 6)))
    x = pair(net, net.add("Transpose", x, perm=[0, 2, 1, 3, 4]))
    x = pair(net, net.add("Reshape", x, ints(net, 1, 8, 6, 6)))
    path = net.save(tmp_path / "net.onnx", end(net, x, 8))
    assert_exact(path)
    assert demand_one_verdict(path) is None


def test_codes_moved_to_five_axes_are_quantized_anew_in_front_of_the_move(tmp_path: Path) -> None:
    net = Net((1, 8, 6, 6), seed=36)
    given = net.const(0.05), net.const(3, np.uint8)
    codes = net.add("Reshape", net.add("QuantizeLinear", "x", *given), ints(net, 1, 2, 4, 6, 6))
    x = pair(net, net.add("Relu", net.add("DequantizeLinear", codes, *given)))
    x = net.add("Reshape", net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), ints(net, 1, 8, 6, 6))
    assert_exact(net.save(tmp_path / "net.onnx", end(net, x, 8)))


@pytest.mark.parametrize("scale", [0.05, np.linspace(0.03, 0.06, 4)], ids=["one scale", "a scale a channel"])
def test_a_quantizer_behind_a_pad_with_zeros_goes_in_front_of_it(scale: Any, tmp_path: Path) -> None:
    """As onnxruntime writes it, of what is quantized already and of what is not."""
    net = Net((1, 4, 6, 5), seed=38)
    x = net.add(
        "Pad", net.add("Relu", net.conv(pair(net, "x"), net.weight(4, 4, 1, 1))), ints(net, 0, 0, 1, 0, 0, 0, 2, 1)
    )
    given = net.const(scale), net.const(np.full(np.shape(scale), 3), np.uint8)
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", x, *given), *given)
    x = net.add("Pad", pair(net, net.conv(x, net.weight(4, 4, 3, 3))), ints(net, 0, 0, 0, 1, 0, 0, 0, 1))
    path = net.save(tmp_path / "net.onnx", pair(net, net.conv(pair(net, x), net.weight(3, 4, 3, 3))))
    assert_exact(path)
    assert demand_one_verdict(path) is None


def test_a_quantizer_behind_a_pad_with_another_number_is_refused(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 5), seed=39)
    x = net.add("Pad", net.quant("x"), ints(net, 0, 0, 1, 0, 0, 0, 2, 1), net.const(0.5))
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", net.conv(pair(net, x), net.weight(4, 4, 1, 1))))
    assert fault is not None and fault.what == "a Pad in front of it"


def test_a_quantizer_of_several_scales_on_five_axes_is_refused(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6), seed=37)
    x = net.add("Reshape", net.quant("x"), ints(net, 1, 2, 2, 6, 6))
    x = net.quant(x, 4, np.array([0.25, 0.5]).reshape(2, 1, 1, 1), name="apart")
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", net.add("Reshape", x, ints(net, 1, 4, 6, 6))))
    assert fault is not None and fault.what.startswith("it reads 't1' of shape (1, 2, 2, 6, 6)")


REFUSED: dict[str, tuple[Build, str]] = {
    "channels": (
        lambda net: net.add("ConvTranspose", net.quant("x"), net.weight(3, 4, 2, 2), name="up"),
        "weight (3, 4, 2, 2) in 1 groups does not fit 4 channels",
    ),
    "padding": (
        lambda net: net.add("ConvTranspose", net.quant("x"), net.weight(4, 4, 2, 2), pads=[7] * 4, name="up"),
        "6 positions to -7 by a kernel of 2 and a stride of 1",
    ),
    "strides": (
        lambda net: net.add("ConvTranspose", net.quant("x"), net.weight(4, 4, 2, 2), strides=[2], name="up"),
        "strides [2]",
    ),
    "exchanged rows and columns": (
        lambda net: net.add("Softmax", net.add("Transpose", net.quant("x"), perm=[0, 1, 3, 2]), name="up"),
        "it reads 't1' of shape (1, 4, 6, 6), whose elements are moved from (1, 4, 6, 6) (NCHW)",
    ),
    "five axes": (
        lambda net: net.add("Softmax", net.add("Reshape", net.quant("x"), ints(net, 1, 2, 2, 6, 6)), name="up"),
        "it reads 't1' of shape (1, 2, 2, 6, 6), whose elements are moved from (1, 4, 6, 6) (NCHW)",
    ),
    "expanded rows": (
        lambda net: net.add(
            "Expand", net.add("MaxPool", net.quant("x"), kernel_shape=[1, 6]), ints(net, 6, 6), name="up"
        ),
        "(1, 4, 6, 1) to (6, 6)",
    ),
    "codes": (
        lambda net: net.add(
            "DequantizeLinear",
            net.add(
                "Resize",
                net.add("QuantizeLinear", "x", net.const(0.1), net.const(3, np.uint8)),
                "",
                net.const([1, 1, 2, 2]),
                mode="linear",
                name="up",
            ),
            net.const(0.1),
            net.const(3, np.uint8),
        ),
        "a linear Resize of codes, which it rounds",
    ),
    "blocks": (
        lambda net: net.add("SpaceToDepth", net.quant("x"), blocksize=4, name="up"),
        "a map of 6x6 in blocks of 4x4",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    build, what = REFUSED[case]
    net = Net((1, 4, 6, 6), seed=35)
    x = build(net)
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", net.quant(x)))
    assert fault is not None
    assert fault.what == what
    assert "'up'" in fault.where
