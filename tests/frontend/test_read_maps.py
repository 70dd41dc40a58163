"""Joined, split, resized and rearranged maps, from the QONNX file to the last code; scales may differ everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_ops import CHANNELS_LAST, assert_exact
from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import Concat, DepthToSpace, Upsample
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.lowering.pipeline import to_integer

Build = Callable[[Net], str]


def branches(net: Net, *scales: object, outputs: int = 3) -> list[str]:
    """Quantized convolutions of the quantized input, one a scale."""
    x = net.quant("x", 6, 0.1)
    return [net.quant(net.conv(x, net.weight(outputs, 4, 1, 1)), 4, scale) for scale in scales]


def equal_scales(net: Net) -> str:
    x = net.add("Concat", *branches(net, 0.2, 0.2, 0.2), axis=1)
    return net.quant(net.conv(x, net.weight(5, 9, 3, 3), pads=[1] * 4), 5, 0.3)


def unequal_scales_and_a_quantizer(net: Net) -> str:
    x = net.quant(net.add("Concat", *branches(net, 0.231, 0.117, 0.5), axis=-3), 5, 0.177)
    return net.quant(net.conv(x, net.weight(5, 9, 3, 3), pads=[1] * 4), 5, 0.3)


def unequal_scales_and_a_convolution(net: Net) -> str:
    x = net.add("Concat", *branches(net, 0.25, 0.0625, 0.5), axis=1)
    return net.quant(net.conv(x, net.weight(5, 9, 3, 3), pads=[1] * 4), 5, 0.3)


def odd_scales_and_a_convolution(net: Net) -> str:
    x = net.add("Concat", *branches(net, 0.231, 0.117), axis=1)
    return net.quant(net.conv(x, net.weight(5, 6, 3, 3), pads=[1] * 4), 5, 0.3)


def three_odd_scales(net: Net) -> str:
    """Behind a BatchNorm; a pool reads the joined map as well, and a grouped convolution across its parts."""
    x = net.batch_norm(net.add("Concat", *branches(net, 0.231, 0.117, 0.3, outputs=2), axis=1), 6)
    pooled = net.quant(net.add("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1), 4, 0.3)
    y = net.quant(net.conv(x, net.weight(6, 3, 1, 1), group=2, bias=net.const([1, 2, 3, 4, 5, 6])), 5, 0.3)
    return net.quant(net.add("Add", pooled, y), 5, 0.3)


def zero_points(net: Net) -> str:
    """Each branch has another code of zero, and the convolution pads."""
    x = net.quant("x", 6, 0.1)
    parts = [net.quant(net.conv(x, net.weight(3, 4, 1, 1)), 4, 0.25, zero, signed=0) for zero in (3.0, 8.0)]
    x = net.add("Concat", *parts, axis=1)
    depthwise = net.quant(net.conv(x, net.weight(6, 1, 3, 3), group=6, pads=[1] * 4), 5, 0.3)
    dense = net.quant(net.conv(x, net.weight(6, 6, 3, 3), pads=[1] * 4), 5, 0.3)
    return net.quant(net.add("Add", depthwise, dense), 5, 0.4)


def unquantized_branches(net: Net) -> str:
    """Accumulators behind BatchNorms, a ReLU, a leaky ReLU and a sum, joined in front of one quantizer."""
    x = net.quant("x", 6, 0.1)
    parts = [net.batch_norm(net.conv(x, net.weight(3, 4, 1, 1)), 3) for _ in range(3)]
    total = net.add("Relu", net.add("Add", *branches(net, 0.231, 0.117)))
    ends = [net.add("Relu", parts[0]), net.add("LeakyRelu", parts[1], alpha=0.1), parts[2], total]
    return net.quant(net.add("Concat", *ends, axis=1), 6, 0.1)


def joined_and_added(net: Net) -> str:
    """A sum of two values whose scales differ by channel, and a maximum over one of them."""
    a, b, c, d = branches(net, 0.25, 0.125, 0.5, 0.3125)
    left, right = net.add("Concat", a, b, axis=1), net.add("Concat", c, d, axis=1)
    total = net.quant(net.add("Add", left, right), 5, 0.3)
    return net.quant(net.add("Concat", total, net.add("MaxPool", left, kernel_shape=[1, 1]), axis=1), 5, 0.21)


def split_and_joined(net: Net) -> str:
    """Parts of unlike sizes, one of them unused, joined in another order; the whole is read as well."""
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(9, 4, 1, 1)), 5, net.rng.uniform(0.1, 0.2, (9, 1, 1)))
    net.add("Split", x, axis=1, split=[2, 3, 4])
    net.nodes[-1].output.extend(["second", "third"])
    relu = net.add("Relu", "third")
    return net.quant(net.add("Concat", relu, net.nodes[-2].output[0], x, axis=1), 4, 0.2)


def shuffled(net: Net) -> str:
    """The two halves of a ShuffleNet block: Slice, a branch, Concat."""
    x = net.quant("x", 6, 0.1)
    halves = [
        net.add("Slice", x, *(net.const(v, np.int64) for v in ([start], [end], [1], [1])))
        for start, end in ((0, 2), (-2, (1 << 63) - 1))
    ]
    right = net.quant(net.conv(halves[1], net.weight(2, 2, 3, 3), pads=[1] * 4), 4, 0.2)
    return net.quant(net.add("Concat", halves[0], right, axis=1), 5, 0.13)


def resized(**attributes: object) -> Build:
    def build(net: Net) -> str:
        x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(3, 4, 1, 1)), 4, 0.2)
        x = net.add("Resize", x, "", net.const([1, 1, 2, 3]), mode="nearest", **attributes)
        return net.quant(net.conv(x, net.weight(2, 3, 3, 3), pads=[1] * 4), 4, 0.3)

    return build


def resized_by_sizes(net: Net) -> str:
    x = net.add("Relu", net.batch_norm(net.conv(net.quant("x", 6, 0.1), net.weight(3, 4, 1, 1)), 3))
    sizes = net.const([1, 3, 18, 16], np.int64)
    return net.quant(net.add("Resize", x, "", "", sizes, mode="nearest"), 4, 0.3)


def joined_positions(axis: int, *scales: float) -> Build:
    """Maps of unlike sizes along ``axis`` (rows or columns)."""

    def build(net: Net) -> str:
        x, strides = net.quant("x", 6, 0.1), [2, 1] if axis == 2 else [1, 2]
        parts = [net.quant(net.conv(x, net.weight(4, 4, 1, 1), strides=strides), 4, scale) for scale in scales]
        parts.append(net.quant(net.conv(x, net.weight(4, 4, 1, 1)), 4, scales[0]))
        return net.quant(net.conv(net.add("Concat", *parts, axis=axis), net.weight(5, 4, 3, 3), pads=[1] * 4), 5, 0.3)

    return build


def steps(net: Net) -> str:
    """One column, one row and one channel of a map, and every third column: each by its index."""
    x = net.quant("x", 6, 0.1)
    column = net.add("Gather", x, net.const(3, np.int64), axis=3)
    y = net.quant(net.add("Conv", column, net.weight(2, 4, 3)), 5, 0.2)
    channel = net.add("Gather", x, net.const(-1, np.int64), axis=1)
    element = net.add(
        "Gather", net.add("Gather", channel, net.const(2, np.int64), axis=1), net.const([0, 1], np.int64), axis=1
    )
    some = net.add("Gather", x, net.const([1, 4, 7], np.int64), axis=3)
    z = net.quant(net.add("Conv", some, net.weight(2, 4, 9, 3)), 5, 0.2)
    flat = [net.add("Flatten", v) for v in (y, z, element)]
    return net.quant(net.linear(net.quant(net.add("Concat", *flat, axis=1), 5, 0.2), 18, 3), 5, 0.3)


def depth_to_space(mode: str, block: int = 2) -> Build:
    """A convolution with a scale a channel goes straight into the rearrangement; the quantizer comes last."""

    def build(net: Net) -> str:
        x = net.batch_norm(net.conv(net.quant("x", 6, 0.1), net.weight(3 * block**2, 4, 3, 3)), 3 * block**2)
        x = net.add("DepthToSpace", x, blocksize=block, mode=mode)
        x = net.add("PRelu", net.batch_norm(x, 3), net.const(np.array([0.1, 0.25, 1.5]).reshape(3, 1, 1)))
        x = net.quant(net.add("Relu", x) if block == 3 else x, 5, net.rng.uniform(0.1, 0.3, (3, 1, 1)))
        return net.quant(net.conv(x, net.weight(2, 3, 3, 3)), 5, 0.2)

    return build


def depth_to_space_of_codes(net: Net) -> str:
    """Two readers of a rearranged map whose scales differ in one output channel: no quantizer follows one of them."""
    scales = np.array([0.25, 0.5, 0.125, 0.0625, 0.5, 0.5, 0.5, 0.5]).reshape(8, 1, 1)
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(8, 4, 1, 1)), 4, scales)
    x = net.add("DepthToSpace", x, blocksize=2, mode="CRD")
    a = net.quant(net.conv(x, net.weight(2, 2, 1, 1)), 5, 0.3)
    return net.quant(net.add("Concat", a, net.quant(x, 4, 0.3), axis=1), 6, 0.1)


def channels_last(net: Net) -> str:
    x = net.add("Transpose", net.quant("x", 6, 0.1), perm=[0, 2, 3, 1])
    weight = net.quant(net.const(net.rng.normal(0, 0.3, (5, 1, 1, 4))), 4, 0.1)
    window = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1, "pads": [0] * 4}
    y = net.quant(net.add("Conv", x, weight, domain=CHANNELS_LAST, **window), 4, 0.3)
    x = net.add("Concat", x, y, axis=3)
    x = net.add("Slice", x, *(net.const(v, np.int64) for v in ([1], [8], [-1])))
    return net.quant(net.add("Resize", x, "", net.const([1, 2, 2, 1]), mode="nearest"), 5, 0.2)


def unet(net: Net) -> str:
    """Down and up again in both ways with a skip; the output is joined from parts."""
    top = net.conv(net.quant("x", 8, 1 / 64), net.weight(6, 4, 3, 3), pads=[0, 1, 1, 1])
    top = net.quant(net.add("Relu", net.batch_norm(top, 6)), 4, 0.2, signed=0)
    low = net.add("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2])
    low = net.quant(net.add("Relu", net.conv(low, net.weight(8, 6, 3, 3), pads=[1] * 4)), 4, 0.31, signed=0)
    up = net.add("Resize", low, "", net.const([1, 1, 2, 2]), mode="nearest")
    x = net.add("Concat", up, top, net.add("DepthToSpace", low, blocksize=2, mode="CRD"), axis=1)
    x = net.quant(net.conv(net.quant(x, 4, 0.27, signed=0), net.weight(4, 16, 3, 3), pads=[1] * 4), 8, 0.1)
    x = net.add("Split", x, net.const([2, 2], np.int64), axis=1)
    net.nodes[-1].output.append("right")
    return net.add("Concat", "right", net.quant(net.conv(x, net.weight(2, 2, 1, 1)), 4, 0.2), axis=1)


def larger_of_a_clamped_sum(net: Net) -> str:
    """The scales of the sum differ, and each term has negative ones."""
    a, b = (net.quant(net.conv(net.quant("x"), net.weight(4, 4, 1, 1)), 4, step) for step in (0.13, 0.31))
    pool = net.add("MaxPool", net.add("Relu", net.add("Add", a, b)), kernel_shape=[2, 2], strides=[2, 2])
    return net.quant(pool, 5, 0.2)


MAPS: dict[str, Build] = {
    "MaxPool of a clamped sum": larger_of_a_clamped_sum,
    "Concat of equal scales": equal_scales,
    "Concat of unequal scales in front of a quantizer": unequal_scales_and_a_quantizer,
    "Concat of unequal scales in front of a convolution": unequal_scales_and_a_convolution,
    "Concat of scales without a small ratio in front of a convolution": odd_scales_and_a_convolution,
    "Concat of three scales without a small ratio": three_odd_scales,
    "Concat of zero points in front of padding": zero_points,
    "Concat of accumulators": unquantized_branches,
    "Add of Concats": joined_and_added,
    "Split": split_and_joined,
    "Slice": shuffled,
    "Resize": resized(),
    "Resize as PyTorch writes it": resized(coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "Resize as TensorFlow writes it": resized(
        coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil"
    ),
    "Resize to a size": resized_by_sizes,
    "DepthToSpace DCR": depth_to_space("DCR"),
    "DepthToSpace CRD": depth_to_space("CRD"),
    "DepthToSpace by 3": depth_to_space("CRD", 3),
    "DepthToSpace of unlike scales": depth_to_space_of_codes,
    "rows of one scale": joined_positions(2, 0.3),
    "rows of unlike scales": joined_positions(2, 0.231, 0.117),
    "columns of one scale": joined_positions(3, 0.3),
    "columns of unlike scales": joined_positions(3, 0.231, 0.117),
    "Gather": steps,
    "channels last": channels_last,
    "U-Net": unet,
}


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("case", MAPS)
def test_every_code_of(case: str, batch: int | str, tmp_path: Path) -> None:
    """The integer network has the executor's codes, and the check finds nothing to refuse."""
    net = Net((batch, 4, 9, 8), seed=21, opset=11 if case == "Split" else 13)
    path = net.save(tmp_path / "net.onnx", MAPS[case](net))

    assert_exact(path)
    assert check(path).supported


def multiplied(path: Path) -> list[str]:
    """The integer operations that multiply to bring channels to one scale."""
    return [n.name for n in to_integer(read_qonnx(path).graph).nodes if isinstance(n, MulShift) and n.shift == 0]


@pytest.mark.parametrize(
    "build,aligned", [(equal_scales, 0), (unequal_scales_and_a_quantizer, 0), (unequal_scales_and_a_convolution, 1)]
)
def test_only_a_convolution_of_unequal_scales_needs_a_common_one(build: Build, aligned: int, tmp_path: Path) -> None:
    """A requantizer takes every channel by its own scale; a sum over channels needs integers of one scale."""
    net = Net((1, 4, 9, 8), seed=21)
    assert len(multiplied(net.save(tmp_path / "net.onnx", build(net)))) == aligned


def test_a_convolution_of_scales_without_a_small_ratio_sums_the_products_of_each(tmp_path: Path) -> None:
    """Nothing is multiplied in front of it and nothing joined; the sum of the two products has the multipliers."""
    net = Net((1, 4, 9, 8), seed=21)
    path = net.save(tmp_path / "net.onnx", odd_scales_and_a_convolution(net))
    nodes = to_integer(read_qonnx(path).graph).nodes

    assert not multiplied(path)
    assert [type(n) for n in nodes if isinstance(n, (Concat, Add))] == [Add]
    assert max(n.weight.shape[1] for n in nodes if isinstance(n, MatVec)) == 27  # 3 of the 6 channels


def test_a_quantizer_behind_depth_to_space_goes_in_front_of_it(tmp_path: Path) -> None:
    """What moves is codes, not sums; only the convolution behind it has to bring its channels to one scale."""
    net = Net((1, 4, 9, 8), seed=21)
    path = net.save(tmp_path / "net.onnx", depth_to_space("DCR")(net))
    (node,) = [n for n in to_integer(read_qonnx(path).graph).nodes if isinstance(n, DepthToSpace)]

    assert node.output.qint.bits == 5
    assert multiplied(path) == ["Conv_9_align"]


@pytest.mark.parametrize("scales", [(0.231, 0.117), (0.25, 0.25)])
def test_a_concat_as_output_is_decoded_by_channel(scales: tuple[float, float], tmp_path: Path) -> None:
    net = Net((1, 4, 5, 5), seed=22)
    path = net.save(tmp_path / "net.onnx", net.add("Concat", *branches(net, *scales), axis=1))
    integer = to_integer(read_qonnx(path).graph)

    assert isinstance(integer.nodes[-1], Concat)
    assert len(integer.answer.decoding.scale) == (6 if scales[0] != scales[1] else 1)
    # a code times a float32 scale is rounded once
    assert assert_exact(path).output_error < 1e-6


def test_flattened_maps_are_joined_in_the_order_of_their_elements(tmp_path: Path) -> None:
    net = Net((1, 4, 3, 2), seed=23)
    a, b = branches(net, 0.2, 0.2)
    pooled = net.add("Flatten", net.add("GlobalAveragePool", a))
    x = net.add("Concat", net.add("Flatten", a), net.quant(pooled, 5, 0.2), net.add("Flatten", b), axis=-1)
    assert_exact(net.save(tmp_path / "net.onnx", net.linear(net.quant(x, 4, 0.3), 39, 4)))


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_opsets(opset: int, tmp_path: Path) -> None:
    """Upsample and Slice with attributes and with inputs, Resize of opset 10, DepthToSpace without a mode."""
    net = Net((1, 4, 5, 5), seed=24, opset=opset)
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(8, 4, 1, 1)), 4, 0.2)
    if opset < 10:
        x = net.add("Slice", x, starts=[2], ends=[6], axes=[1])
    else:
        x = net.add("Slice", x, *(net.const(v, np.int64) for v in ([2], [6], [1])))
    y = net.add("DepthToSpace", x, blocksize=2)
    if opset == 7:
        x = net.add("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0])
    else:
        x = net.add("Upsample" if opset == 9 else "Resize", x, net.const([1, 1, 2, 2]), mode="nearest")
    path = net.save(tmp_path / "net.onnx", net.quant(net.add("Concat", x, y, axis=1), 5, 0.1))

    assert assert_exact(path).mismatches == 0
    assert sum(isinstance(n, Upsample) for n in read_qonnx(path).graph.nodes) == 1


def resize(*scales: float, **attributes: object) -> Build:
    return lambda net: net.add("Resize", net.quant("x"), "", net.const(scales), **attributes)


def picked(*parameters: list[int]) -> Build:
    return lambda net: net.add("Slice", net.quant("x"), *(net.const(v, np.int64) for v in parameters))


REFUSED: dict[str, tuple[Build, str]] = {
    "constant": (
        lambda net: net.add("Concat", net.quant("x"), net.const(np.ones((1, 2, 4, 4))), axis=1),
        r"operand 1 is a constant .*; join activations only, or constant tokens with tokens \(N, tokens, features\)$",
    ),
    "joined frames": (
        lambda net: net.add("Concat", net.quant("x"), net.quant("x"), axis=0),
        r"Concat along axis 0 of a tensor \(1, 4, 4, 4\) \(NCHW\) .*; only channels, rows and columns can be joined$",
    ),
    "columns of maps of unlike heights": (
        lambda net: net.add("Concat", net.quant("x"), net.add("GlobalAveragePool", net.quant("x")), axis=3),
        r"it joins \(1, 4, 4, 4\) \(NCHW\), \(1, 4, 1, 1\) \(NCHW\) .*; give all the same size but along W$",
    ),
    "rows in another order": (
        lambda net: net.add("Gather", net.quant("x"), net.const([2, 0], np.int64), axis=2),
        r"the elements \[2, 0\] along axis 2 of a tensor \(1, 4, 4, 4\) ",
    ),
    "no such row": (
        lambda net: net.add("Gather", net.quant("x"), net.const(4, np.int64), axis=2),
        r"the elements 4 along axis 2 of a tensor \(1, 4, 4, 4\) ",
    ),
    "sizes": (
        lambda net: net.add("Concat", net.quant("x"), net.add("GlobalAveragePool", net.quant("x")), axis=1),
        r"it joins \(1, 4, 4, 4\) \(NCHW\), \(1, 4, 1, 1\) \(NCHW\) ",
    ),
    "axes": (
        lambda net: net.add("Concat", net.quant("x"), net.add("Transpose", net.quant("x"), perm=[0, 2, 3, 1]), axis=1),
        r"it joins \(1, 4, 4, 4\) \(NCHW\), \(1, 4, 4, 4\) \(NHWC\) ",
    ),
    "split sizes": (
        lambda net: net.add("Split", net.quant("x"), net.const([3], np.int64), axis=1),
        r"4 channels in parts of \[3\] ",
    ),
    "backwards": (picked([3], [0], [2], [-1]), "elements 3 to 0 by -1 along H .*; take consecutive channels, and rows"),
    "frames": (picked([0], [0], [0]), "elements 0 to 0 by 1 along N "),
    "every second": (picked([0], [4], [1], [2]), "elements 0 to 4 by 2 along C "),
    "nothing": (picked([3], [3], [1]), "elements 3 to 3 by 1 along C "),
    "five axes": (picked([0], [1], [4]), r"starts \[0\], ends \[1\], axes \[4\] "),
    "cubic": (resize(1, 1, 2, 2, mode="cubic"), "mode 'cubic' "),
    "linear by corners": (
        resize(1, 1, 2, 2, mode="linear", coordinate_transformation_mode="align_corners"),
        "a linear Resize of coordinates 'align_corners' ",
    ),
    "linear by a fraction that gives a whole size": (
        resize(1, 1, 2.1, 2, mode="linear"),
        "a linear Resize by 1, 1, 2.1, 2 ",
    ),
    "channels": (resize(1, 2, 1, 1), r"\(1, 4, 4, 4\) to \[1, 8, 4, 4\] "),
    "smaller": (resize(1, 1, 0.5, 1), r"\(1, 4, 4, 4\) to \[1, 4, 2, 4\] "),
    "fraction": (resize(1, 1, 1.5, 1), r"\(1, 4, 4, 4\) to \[1, 4, 6, 4\] "),
    "corners": (
        resize(1, 1, 3, 1, coordinate_transformation_mode="align_corners"),
        "nearest pixels that are not 3 copies of each along H ",
    ),
    "crop and resize": (
        resize(1, 1, 2, 1, coordinate_transformation_mode="tf_crop_and_resize"),
        "coordinates 'tf_crop_and_resize' with nearest_mode 'round_prefer_floor' ",
    ),
    "no scales": (lambda net: net.add("Resize", net.quant("x")), "0 scales for 4 axes "),
    "block": (lambda net: net.add("DepthToSpace", net.quant("x"), blocksize=3), "4 channels in blocks of 3x3, mode"),
    "flattened": (
        lambda net: net.add("Split", net.add("Flatten", net.quant("x")), net.const([30, 34], np.int64), axis=1),
        "channels of a flattened map ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    net = Net((1, 4, 4, 4))
    output = build(net)
    if case in ("split sizes", "flattened"):
        net.nodes[-1].output.append("rest")
    with pytest.raises(UserError, match=f"^{message}"):
        read_qonnx(net.save(tmp_path / "net.onnx", output))


def test_scales_without_a_common_unit_are_refused(tmp_path: Path) -> None:
    """Integers of 62 bits cannot hold both branches exactly; the check says so too."""
    net = Net((1, 4, 5, 5), seed=25)
    x = net.add("MaxPool", net.add("Concat", *branches(net, 1e-9, 1.1e9), axis=1), kernel_shape=[2, 2])
    path = net.save(tmp_path / "net.onnx", net.quant(net.conv(x, net.weight(2, 6, 1, 1)), 4, 0.3))
    found = [n.reason for n in check(path).nodes if n.status == "refused"]

    assert found == ["the scales of its input's channels share no unit of 62 bits"]
    with pytest.raises(UserError, match=f"^{found[0]} .*; quantize its input with one scale$"):
        to_integer(read_qonnx(path).graph)


def test_a_clamp_of_unlike_scales_behind_depth_to_space_needs_a_quantizer(tmp_path: Path) -> None:
    net = Net((1, 4, 5, 5), seed=26)
    x = net.batch_norm(net.conv(net.quant("x"), net.weight(8, 4, 1, 1)), 8)
    x = net.add("DepthToSpace", net.add("Relu", x), blocksize=2, name="shuffle")
    path = net.save(tmp_path / "net.onnx", net.conv(x, net.weight(2, 2, 1, 1)))

    with pytest.raises(UserError, match="^a ReLU of channels of unlike scales, .* behind shuffle, ONNX shuffle$"):
        to_integer(read_qonnx(path).graph)
