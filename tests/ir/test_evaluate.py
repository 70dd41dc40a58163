"""Each operation against a plain oracle written from its definition."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model_graphs import ModelBuilder, pixels
from toolchain.ir.blocks import exact_matmul
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops import HARDWARE_OPS, MODEL_OPS
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold, round_half_even_shift
from toolchain.ir.ops.window import Window
from toolchain.ir.types import QInt, Value
from toolchain.lowering.pipeline import to_integer


def make(op, shape, **attributes):
    """A node reading 'x' with an output of ``shape``."""
    return op(name="n", inputs=("x",), outputs=(Value("y", shape, QInt(32, True)),), **attributes)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_window_is_the_definition(data):
    """Every tap of every position is the padded input's element at stride and dilation."""
    draw = data.draw
    h, w, c = (draw(st.integers(lo, 7)) for lo in (3, 3, 1))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride, dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 2))), (draw(st.integers(1, 2)), 1)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if span[0] > h or span[1] > w:
        return
    pads = tuple(draw(st.integers(0, span[i % 2] - 1)) for i in range(4))
    x = np.random.default_rng(0).integers(-9, 9, (2, h, w, c))
    rows = (h + pads[0] + pads[2] - span[0]) // stride[0] + 1
    columns = (w + pads[1] + pads[3] - span[1]) // stride[1] + 1
    expected = np.full((2, rows, columns, kernel[0], kernel[1], c), -3)
    for i, j, u, v in np.ndindex(rows, columns, *kernel):
        y, z = i * stride[0] + u * dilation[0] - pads[0], j * stride[1] + v * dilation[1] - pads[1]
        if 0 <= y < h and 0 <= z < w:
            expected[:, i, j, u, v] = x[:, y, z]
    node = make(Window, (rows, columns, 1), kernel=kernel, stride=stride, pads=pads, dilation=dilation, pad_value=-3)

    np.testing.assert_array_equal(node.evaluate(x), expected.reshape(2, rows, columns, -1))


def test_matvec_and_depthwise_are_dot_products():
    """Matrix-vector product over channels, one filter a channel over the taps."""
    random = np.random.default_rng(1)
    x, weight = random.integers(-8, 8, (2, 3, 3, 12)), random.integers(-8, 8, (5, 12))
    taps = random.integers(-8, 8, (4, 3))
    matvec = make(MatVec, (3, 3, 5), weight=weight, weight_type=QInt(4, True))
    depthwise = make(Depthwise, (3, 3, 3), weight=taps, weight_type=QInt(4, True))

    np.testing.assert_array_equal(matvec.evaluate(x), np.einsum("nhwk,ok->nhwo", x, weight))
    expected = sum(x[..., 3 * t : 3 * t + 3] * taps[t] for t in range(4))
    np.testing.assert_array_equal(depthwise.evaluate(x), expected)


def test_a_grouped_product_is_a_dense_one_with_zeros_between_the_groups():
    """Output n of group g takes the taps of the channels of g alone, in int64 where floats would be too small."""
    random = np.random.default_rng(1)
    x, weight = random.integers(-8, 8, (2, 3, 3, 4 * 6)), random.integers(-8, 8, (9, 4, 2))
    node = make(GroupedMatVec, (3, 3, 9), weight=weight, weight_type=QInt(4, True), groups=3)
    expected = np.empty((2, 3, 3, 9), dtype=np.int64)
    for n in range(9):
        own = x.reshape(2, 3, 3, 4, 3, 2)[..., n // 3, :]
        expected[..., n] = (own * weight[n]).sum(axis=(3, 4))

    np.testing.assert_array_equal(node.evaluate(x), expected)
    np.testing.assert_array_equal(x @ node.matrix.T, expected)
    wide = make(GroupedMatVec, (3, 3, 9), weight=weight << 50, weight_type=QInt(54, True), groups=3)
    np.testing.assert_array_equal(wide.evaluate(x), expected << 50)


def test_products_stay_exact_past_float_precision():
    """Beyond 2**24, and beyond 2**53, the product does not go through a float type too small for it."""
    for scale in (1 << 10, 1 << 20, 1 << 29):
        x, w = np.array([[scale + 1, scale - 1]]), np.array([[scale + 3], [-scale]])
        exact = (scale + 1) * (scale + 3) - (scale - 1) * scale

        assert exact_matmul(x, w).tolist() == [[exact]]


@pytest.mark.parametrize("kind", ["max", "sum"])
def test_pool_reduces_over_taps(kind):
    """Maximum and sum run over the taps and keep the channels."""
    x = np.random.default_rng(2).integers(-9, 9, (2, 2, 2, 8))
    node = make(Pool, (2, 2, 2), kind=kind, taps=4)

    expected = getattr(x.reshape(2, 2, 2, 4, 2), kind)(axis=3)
    np.testing.assert_array_equal(node.evaluate(x), expected)


def test_threshold_counts_reached_thresholds():
    """A value equal to a threshold has reached it; step and start are per channel."""
    node = make(
        Threshold, (1, 1, 2), thresholds=np.array([[0, 5], [2, 2]]), start=np.array([-1, 3]), step=np.array([1, -2])
    )
    x = np.array([[-1, 1], [0, 2], [5, 3]]).reshape(3, 1, 1, 2)

    assert node.evaluate(x).reshape(3, 2).tolist() == [[-1, 3], [0, -1], [1, -1]]


@given(st.integers(-(2**40), 2**40), st.integers(0, 20))
def test_shift_rounds_halves_to_even(value, shift):
    """The shift equals Python's exact rounding of the fraction."""
    assert round_half_even_shift(np.array([value]), shift)[0] == round(Fraction(value, 1 << shift))


def test_mul_shift_clips():
    """Codes stop at both ends."""
    node = make(MulShift, (1, 1, 1), mul=np.array([3]), add=np.array([1]), shift=1, low=-2, high=4)
    x = np.arange(-5, 6).reshape(-1, 1, 1, 1)

    expected = [min(max(round(Fraction(3 * v + 1, 2)), -2), 4) for v in range(-5, 6)]
    assert node.evaluate(x).ravel().tolist() == expected
    assert floor(-2.5) == -3  # the rounding above is not a floor


EVERY = sorted({*MODEL_OPS, *HARDWARE_OPS}, key=lambda c: c.__name__)


@pytest.mark.parametrize("op", EVERY)
def test_every_operation_has_an_evaluation(op):
    """A new operation without an evaluation is found here."""
    assert op.evaluate is not Node.evaluate
    assert op.compute is not Node.compute


@pytest.mark.parametrize("op", sorted(HARDWARE_OPS, key=lambda c: c.__name__))
def test_every_operation_on_integers_has_a_range_and_checks_its_shapes(op):
    """So is one without these."""
    assert op.output_range is not Node.output_range
    assert op.check is not Node.check


def test_what_an_operation_leaves_out_is_named():
    """No answer is made up."""

    class Novel(Node):
        """An operation that says nothing."""

    node, x = make(Novel, (1, 1, 1)), np.zeros((1, 1, 1, 1))
    for question, what in (
        (lambda: node.evaluate(x), "evaluation"),
        (lambda: node.compute(x), "evaluation in blocks"),
        (lambda: node.output_range((1, 1, 1), (0, 1)), "range"),
        (lambda: node.check(node.output), "check of shapes"),
    ):
        with pytest.raises(TypeError, match=f"^no {what} for Novel$"):
            question()


def test_given_values_replace_computed_ones():
    """Consumers read the given array, the tap still shows what the node computed."""
    b = ModelBuilder((4, 4, 1), 3)
    first = b.quant(b.conv(b.quant("x", 8, False, scale=0.0078125), 2), 4, True)
    b.quant(b.conv(first, 2), 4, True)
    graph = to_integer(b.graph())
    x = encode(graph, pixels(graph, 2))
    plain = evaluate(graph, x, taps=[first])
    forced = evaluate(graph, x, taps=[first], given={first: np.zeros_like(plain[first])})

    np.testing.assert_array_equal(forced[first], plain[first])
    assert (forced[graph.output] == forced[graph.output][0, 0, 0]).all()


def test_inputs_out_of_range_are_refused():
    """An integer the input type does not hold is an error, not a wrapped value."""
    b = ModelBuilder((2, 2, 1), 3)
    b.conv(b.quant("x", 4, False), 2)
    graph = to_integer(b.graph())

    with pytest.raises(ValueError, match=r"^input holds 16\.\.16, the graph takes u4$"):
        evaluate(graph, np.full((1, 2, 2, 1), 16))
    with pytest.raises(ValueError, match="^input has shape"):
        evaluate(graph, np.zeros((1, 3, 2, 1)))


SIGNS = st.sampled_from([1, -1])


def _wide(bits: int) -> st.SearchStrategy[int]:
    """Integers of any size up to ``bits`` bits, those near the ends of 8 to ``bits`` bits often."""
    ends = st.builds(lambda n, d, sign: sign * ((1 << n) - 1 - d), st.integers(8, bits), st.integers(0, 2), SIGNS)
    return ends | st.integers(-(1 << bits) + 1, (1 << bits) - 1)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(_wide(62), _wide(62), _wide(62), _wide(40)), min_size=1, max_size=3),
    st.integers(0, 62),
    _wide(60),
    _wide(60),
)
def test_multiply_add_shift_is_exact_beyond_64_bits(numbers, shift, a, b):
    """Numerators of up to 125 bits, ties included, against Python's integers."""
    low, high = min(a, b), max(a, b)
    x, mul, add, base = (np.array(column, dtype=np.int64) for column in zip(*numbers, strict=True))
    base = base & ~1
    tie = [(1 << shift >> 1) - int(m) * int(v) for m, v in zip(mul, x, strict=True)]
    add = np.array([t if abs(t) < 1 << 62 else n for t, n in zip(tie, add.tolist(), strict=True)], dtype=np.int64)
    output = Value("y", (1, 1, len(x)), QInt(61, True))
    facts = {"mul": mul, "add": add, "base": base, "shift": shift, "low": low, "high": high}
    node = MulShift(name="q", inputs=("x",), outputs=(output,), **facts)
    rows = list(zip(x.tolist(), mul.tolist(), add.tolist(), base.tolist(), strict=True))
    expected = [min(max(c + round(Fraction(v * m + n, 1 << shift)), low), high) for v, m, n, c in rows]

    assert node.evaluate(x.reshape(1, 1, 1, -1)).ravel().tolist() == expected
    numerators = [m * v + n + (c << shift) for v, m, n, c in rows]
    least, most = node.line_range(int(x.min()), int(x.max()))
    assert least <= min(numerators) and max(numerators) <= most
