"""Lowering keeps every code: the integer graph equals the real one it stems from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model_graphs import ModelBuilder, pixels, random_model, reals
from toolchain.errors import UserError
from toolchain.ir.encode import decode, encode, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import LeakyRelu, Quantize
from toolchain.ir.ops.pools import GlobalMax, GlobalSum
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.quantize import quantize
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Quantizer
from toolchain.lowering.pipeline import to_integer


def assert_equal_codes(model: Graph, count: int = 6) -> Graph:
    """Every quantizer's codes, and the decoded output, agree between ``model`` in float64 and its integer graph."""
    integer = to_integer(model)
    images = pixels(model, count)
    quantizers = {n.output.name: n.quantizer for n in model.nodes if isinstance(n, Quantize)}
    present = [name for name in quantizers if name in integer.values()]
    real = evaluate(model, reals(images), taps=quantizers)
    codes = evaluate(integer, encode(integer, images), taps=present)
    for name in present:
        quantizer = quantizers[name]
        expected = np.rint(real[name] / np.asarray(quantizer.scale)) + quantizer.zero_point
        np.testing.assert_array_equal(codes[name], expected, err_msg=name)
    # float64 sums of a few hundred products carry a relative error below 1e-12
    np.testing.assert_allclose(decode(integer.answer, codes[integer.output]), real[model.output], rtol=1e-9, atol=1e-9)
    return integer


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.booleans(), st.booleans())
def test_random_networks_keep_every_code(seed, bits, dyadic, bipolar):
    """Convolution, grouped and depthwise ones, negative BatchNorm, residual adds of unlike scales, pools, bipolar."""
    assert_equal_codes(random_model(seed, bits, dyadic, bipolar))


def test_pixels_fold_into_the_first_layer():
    """Without an input quantizer the uint8 pixel itself is the code, also behind 2x - 1 where nothing is padded."""
    b = ModelBuilder((6, 6, 3), 1)
    x = b.affine("x", 2.0, -1.0)
    b.quant(b.relu(b.conv(x, 4, 3)), 4, False)
    graph = assert_equal_codes(b.graph())

    assert graph.input.qint.bits == 8
    assert graph.encoding.quantizer is None


def test_zero_points_pad_with_their_own_code():
    """An asymmetric input quantizer pads with its zero point, which stands for the real zero."""
    b = ModelBuilder((5, 5, 2), 2)
    x = b.quant("x", 8, False, scale=0.0078125, zero_point=17)
    b.quant(b.conv(x, 3, 3, pad=1), 5, True)
    graph = assert_equal_codes(b.graph())

    assert graph.nodes[0].pad_value == 17


def test_max_pool_behind_a_negative_scale():
    """Max pooling on accumulators whose BatchNorm is negative flips the sign first."""
    b = ModelBuilder((6, 6, 2), 3)
    x = b.quant("x", 8, False, scale=0.0078125)
    b.quant(b.pool(b.relu(b.batchnorm(b.conv(x, 6, 3))), "max", 2, 2), 4, False)

    assert_equal_codes(b.graph())


def test_padded_max_pool_ignores_the_padding():
    """The padding of a max pool never wins, not even against negative codes."""
    b = ModelBuilder((6, 6, 2), 3)
    x = b.quant("x", 8, False, scale=0.0078125)
    b.pool(b.quant(b.conv(x, 3, 1), 4, True), "max", 3, 2, 1)

    assert_equal_codes(b.graph())


def test_a_padded_maximum_has_the_range_of_its_codes():
    """The pad is the least code, not that of the type, so that nothing behind it is planned for what never comes."""
    b = ModelBuilder((6, 6, 2), 3)
    x = b.quant("x", 8, False, scale=0.0078125)
    codes = b.quant(b.conv(x, 3, 1), 8, False, zero_point=100)
    b.pool(codes, "max", 3, 2, 1)
    graph = assert_equal_codes(b.graph())

    ranges = value_ranges(graph)
    assert ranges[graph.output] == ranges[codes] != (graph.value(codes).qint.min, graph.value(codes).qint.max)


def test_a_maximum_over_the_map_needs_no_window():
    """It becomes a GlobalMax, also behind a negative scale."""
    b = ModelBuilder((6, 6, 2), 3)
    x = b.quant("x", 8, False, scale=0.0078125)
    b.quant(b.pool(b.batchnorm(b.conv(x, 6, 3)), "max", 4, 1), 4, True)
    graph = assert_equal_codes(b.graph())

    assert [type(n) for n in graph.nodes[-3:]] == [MulShift, GlobalMax, MulShift]


def test_depthwise_and_global_average():
    """A depthwise convolution becomes a Depthwise unit, a global average a GlobalSum."""
    b = ModelBuilder((6, 6, 4), 4)
    x = b.quant("x", 8, False, scale=0.0078125)
    x = b.quant(b.relu(b.batchnorm(b.conv(x, 4, 3, pad=1, groups=4))), 4, False)
    b.quant(b.pool(x, "average", 6, 1), 8, False)
    graph = assert_equal_codes(b.graph())

    assert {Depthwise, GlobalSum} <= {type(n) for n in graph.nodes}


@pytest.mark.parametrize(("channels", "groups", "outputs", "kernel"), [(6, 3, 9, 3), (10, 2, 4, 1), (3, 3, 6, 3)])
def test_a_grouped_convolution_keeps_its_weights(channels, groups, outputs, kernel):
    """Behind a window and alone, and with several filters a channel; a zero point of the input counts in its group."""
    b = ModelBuilder((6, 6, channels), 4)
    x = b.quant("x", 8, False, scale=0.0078125, zero_point=17)
    x = b.conv(x, outputs, kernel, pad=kernel // 2, groups=groups, bias=True)
    b.quant(b.relu(b.batchnorm(x)), 4, False)
    graph = assert_equal_codes(b.graph())

    (product,) = (n for n in graph.nodes if isinstance(n, GroupedMatVec))
    assert product.weight.shape == (outputs, kernel**2, channels // groups)
    assert not any(isinstance(n, MatVec) for n in graph.nodes)


@pytest.mark.parametrize("scales", [(0.3, 0.3, 0.2, 0.2), (0.3, 0.1, 0.2, 0.2)])
def test_scales_of_groups_are_those_of_their_outputs(scales):
    """Channels of unlike scales are brought to one in front of a grouped convolution only where a group reads both."""
    b = ModelBuilder((5, 5, 4), 4)
    x = b.quant("x", 8, True, scale=0.0078125)
    quantizer = Quantizer(tuple(float(np.float32(s)) for s in scales), 0, -8, 7)
    x = b.add(Quantize, (b.conv(x, 4),), (5, 5, 4), quantizer=quantizer, tensor="t")
    b.quant(b.conv(x, 6, 3, pad=1, groups=2), 4, True)
    graph = assert_equal_codes(b.graph())

    aligned = [n.name for n in graph.nodes if n.name.endswith("_align")]
    assert sum(isinstance(n, GroupedMatVec) for n in graph.nodes) == 1
    assert len(aligned) == (len(set(scales[:2])) > 1)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 1.7])
def test_residual_add_of_unequal_scales(ratio):
    """Equal, power-of-two and arbitrary ratios of the branches' scales all give exact sums."""
    b = ModelBuilder((4, 4, 2), 5)
    x = b.quant("x", 8, True, scale=0.0078125)
    branch = b.quant(b.conv(x, 2), 8, True, scale=float(np.float32(0.0078125 * ratio)))
    b.quant(b.relu(b.sum(x, branch)), 8, False)
    graph = assert_equal_codes(b.graph())

    (add,) = (n for n in graph.nodes if isinstance(n, Add))
    assert ([m.tolist() for m in add.multipliers] == [[1], [1]]) == (ratio == 1.0)


def test_arbitrary_ratio_needs_no_multiplier_behind_the_add():
    """The shared requantizer of two unlike scales is an add of small multiples and a shift."""
    b = ModelBuilder((4, 4, 2), 5)
    x = b.quant("x", 8, True, scale=0.0078125)
    branch = b.quant(b.conv(x, 2), 8, True, scale=float(np.float32(0.0091)))
    b.quant(b.sum(x, branch), 8, True, scale=float(np.float32(0.0123)))
    graph = assert_equal_codes(b.graph())

    shift = graph.nodes[-1]
    assert isinstance(shift, MulShift)
    assert shift.mul.tolist() == [1]


@pytest.mark.parametrize("dyadic", [True, False])
def test_argmax_orders_channels_of_unlike_scales(dyadic):
    """Per-channel scales and biases are brought to one unit, so the integer argmax is the real one."""
    b = ModelBuilder((1, 1, 12), 6, dyadic)
    x = b.quant("x", 8, False, scale=0.0078125)
    b.argmax(b.conv(x, 7, bits=6, bias=True))
    model = b.graph()
    images = pixels(model, 200)
    integer = to_integer(model)
    codes = evaluate(integer, encode(integer, images))[integer.output]

    np.testing.assert_array_equal(
        predictions(integer.answer, codes), evaluate(model, reals(images))[model.output].ravel()
    )


def test_encode_applies_the_input_quantizer_as_qonnx_does():
    """Float images take the float32 rule, uint8 ones the same rule on their real values."""
    b = ModelBuilder((2, 2, 1), 7)
    b.conv(b.quant("x", 4, True), 2)
    integer = to_integer(b.graph())
    images = np.arange(256, dtype=np.uint8).reshape(64, 2, 2, 1)
    quantizer = integer.encoding.quantizer

    expected = quantize(quantizer, reals(images).astype(np.float32))
    np.testing.assert_array_equal(encode(integer, images), expected)
    np.testing.assert_array_equal(encode(integer, reals(images).astype(np.float32)), expected)


def test_names_that_lowering_makes_may_be_taken():
    """The window of a convolution and the sum of a quantizer get other names where the network has those already."""
    b = ModelBuilder((4, 4, 2), 9)
    x = b.quant("x", 8, True, scale=0.0078125)
    branch = b.quant(b.conv(x, 2, 3, pad=1), 8, True, scale=float(np.float32(0.0091)))
    b.quant(b.sum(x, branch), 8, True, scale=float(np.float32(0.0123)))
    model = b.graph()
    taken = {"quantize0": "quantize4_sum", "quantize2": "realconv1_window"}
    graph = assert_equal_codes(model.with_nodes(replace(n, name=taken.get(n.name, n.name)) for n in model.nodes))

    assert {"realconv1_window", "realconv1_window_0", "quantize4_sum_0"} <= {n.name for n in graph.nodes}


@pytest.mark.parametrize("bent", [False, True])
def test_a_relu_may_be_flattened_before_it_is_quantized(bent):
    """Channels behind a batch norm take their scales, offsets, clamps and bends along to every position."""
    b = ModelBuilder((4, 3, 2), 3)
    x = b.batchnorm(b.conv(b.quant("x", 8, True, scale=0.0078125), 3, 3, pad=1))
    x = b.add(LeakyRelu, (x,), b.shapes[x], slope=np.array([0.25])) if bent else b.relu(x)
    b.conv(b.quant(b.flatten(x), 5, bent), 4)
    graph = assert_equal_codes(b.graph())
    assert [type(node) for node in graph.nodes].count(Reshape) == 1


def test_unquantized_relu_is_refused():
    """A ReLU without a quantizer in front of a convolution has no integer form; the error names both nodes' place."""
    b = ModelBuilder((4, 4, 2), 8)
    x = b.quant("x", 8, True, scale=0.0078125)
    b.conv(b.relu(b.conv(x, 2)), 2)

    with pytest.raises(UserError) as error:
        to_integer(b.graph())
    assert str(error.value) == (
        "a ReLU whose result is not quantized [realconv3, ONNX realconv3]; put an activation quantizer behind it"
    )


def test_padding_of_a_shifted_input_is_refused():
    """Pixels behind 2x - 1 have no code for the real zero that padding brings in."""
    b = ModelBuilder((6, 6, 3), 1)
    x = b.affine("x", 2.0, -1.0)
    b.conv(x, 4, 3, pad=1)

    with pytest.raises(UserError, match="pads with zeros that are no code of the input"):
        to_integer(b.graph())
