"""Requantizers equal their definition on every input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.boards import load_board
from toolchain.errors import FlowError
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import QInt, Value
from toolchain.lowering.mul_shift import to_mul_shift
from toolchain.lowering.requantize import Requantizer, definition, definitions, to_threshold
from toolchain.lowering.requantizer_node import prove, requantizer_node

COMMON = {"name": "q", "inputs": ("x",), "outputs": (Value("y", (1, 1, 1), QInt(8, True)),)}
float32 = st.floats(min_value=2.0**-12, max_value=4.0, width=32)


def make(slopes, offsets, low, high, rounding=Rounding.ROUND, bipolar=False) -> Requantizer:
    size = len(slopes)
    values = tuple(Fraction(s) for s in slopes), tuple(Fraction(o) for o in offsets)
    return Requantizer(*values, low, high, rounding, bipolar, (low,) * size, (high,) * size)


def everywhere(requantizer: Requantizer, low: int, high: int) -> np.ndarray:
    """The definition at every integer of [low, high]: (channels, inputs)."""
    return np.array([definition(requantizer, c, range(low, high + 1)) for c in range(len(requantizer.slope))])


def run(node, low: int, high: int, channels: int) -> np.ndarray:
    x = np.arange(low, high + 1, dtype=np.int64)[None, None, :, None].repeat(channels, axis=3)
    return node.evaluate(x)[0, 0].T


@given(st.fractions(-20, 20, max_denominator=64), st.sampled_from(sorted(Rounding)))
def test_a_ratio_is_rounded_by_the_float_rule(value, rounding):
    """On dyadic and other fractions, halves included, integer rounding is the QONNX operator's rounding."""
    expected = rounding.floats(np.float64(value.numerator) / value.denominator)

    assert rounding.ratio(value.numerator, value.denominator) == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(float32, st.booleans(), st.floats(-300, 300, width=32)), min_size=1, max_size=4),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from(sorted(Rounding)),
)
def test_threshold_equals_definition_everywhere(channels, bits, signed, rounding):
    """For rising and falling slopes, any rounding and width, on all inputs of a range."""
    kind = QInt(bits, signed)
    slopes = [-s if negative else s for s, negative, _ in channels]
    requantizer = make(slopes, [o for _, _, o in channels], kind.min, kind.max, rounding)
    rows = to_threshold(requantizer, -700, 800)
    node = Threshold(thresholds=rows[0], start=rows[1], step=rows[2], **COMMON)

    np.testing.assert_array_equal(run(node, -700, 800, len(slopes)), everywhere(requantizer, -700, 800))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(float32, st.booleans(), st.floats(-300, 300, width=32)), min_size=1, max_size=4),
    st.integers(2, 8),
    st.booleans(),
)
def test_mul_shift_equals_definition_everywhere(channels, bits, signed):
    """Where a multiply-shift is found it gives the definition's code on every input; float32 scales always have one."""
    kind = QInt(bits, signed)
    slopes = [-s if negative else s for s, negative, _ in channels]
    requantizer = make(slopes, [o for _, _, o in channels], kind.min, kind.max)
    rows = to_threshold(requantizer, -700, 800)
    found = to_mul_shift(requantizer, rows, -700, 800)
    assert found is not None
    node = MulShift(**vars(found), low=kind.min, high=kind.max, **COMMON)

    np.testing.assert_array_equal(run(node, -700, 800, len(slopes)), everywhere(requantizer, -700, 800))


def test_halves_go_to_even():
    """A power-of-two scale meets exact ties; both nodes round them to the even code."""
    requantizer = make(["1/4"], ["0"], -8, 7)
    rows = to_threshold(requantizer, -40, 40)
    threshold = Threshold(thresholds=rows[0], start=rows[1], step=rows[2], **COMMON)
    found = to_mul_shift(requantizer, rows, -40, 40)
    mul_shift = MulShift(**vars(found), low=-8, high=7, **COMMON)
    ties = np.array([-6, -2, 2, 6, 10], dtype=np.int64)[None, None, :, None]

    assert (found.mul[0], found.add[0], found.shift, found.base[0]) == (1, 0, 2, 0)
    for node in (threshold, mul_shift):
        assert node.evaluate(ties).ravel().tolist() == [-2, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("slope", "offset", "shift"), [("3", "0", 0), ("-1", "5", 0), ("5/2", "0", 1), ("1/4", "1/8", 3), ("3/8", "0", 3)]
)
def test_the_shift_is_the_smallest(slope, offset, shift):
    """None for integers; that of a dyadic line, whose ties leave it no other."""
    requantizer = make([slope], [offset], -128, 127)
    rows = to_threshold(requantizer, -600, 600)
    found = to_mul_shift(requantizer, rows, -600, 600)
    assert (found.mul[0], found.shift) == (Fraction(slope) * 2**shift, shift)


def test_a_line_far_from_zero_at_zero_is_compared():
    """Its code at 0 would be beyond 2**50, where float64 counts no halves."""
    far = 1 << 15
    requantizer = make([1 << 40], [-far << 40], 0, 7)
    assert to_mul_shift(requantizer, to_threshold(requantizer, far - 9, far + 9), far - 9, far + 9) is None
    node = requantizer_node(requantizer, far - 9, far + 9, 17, lut_per_dsp=0, **COMMON)

    np.testing.assert_array_equal(run(node, far - 9, far + 9, 1), everywhere(requantizer, far - 9, far + 9))


def test_zero_slope_is_a_constant():
    """A channel whose BatchNorm scale is zero gives the code of its offset for every input."""
    requantizer = make(["0", "1"], ["5/2", "0"], 0, 15)
    node = requantizer_node(requantizer, -9, 9, 5, lut_per_dsp=196, **COMMON)

    np.testing.assert_array_equal(run(node, -9, 9, 2), everywhere(requantizer, -9, 9))


def test_bipolar_is_the_sign():
    """+1 from zero upwards, -1 below, and the other way round behind a negative scale."""
    requantizer = make(["1", "-1"], ["0", "0"], -1, 1, bipolar=True)
    node = requantizer_node(requantizer, -3, 3, 3, lut_per_dsp=196, **COMMON)

    assert run(node, -3, 3, 2).tolist() == [[-1, -1, -1, 1, 1, 1, 1], [1, 1, 1, 1, -1, -1, -1]]


def test_relu_floor_and_ceiling_hold():
    """Codes below a ReLU's floor, or above the ceiling it becomes behind a negative scale, do not appear."""
    slopes, offsets = (Fraction(1, 3), Fraction(-1, 3)), (Fraction(0), Fraction(0))
    requantizer = Requantizer(slopes, offsets, -8, 7, Rounding.ROUND, False, (-2, -8), (7, 3))
    node = requantizer_node(requantizer, -40, 40, 7, lut_per_dsp=196, **COMMON)

    np.testing.assert_array_equal(run(node, -40, 40, 2), everywhere(requantizer, -40, 40))


def test_a_wrong_node_is_refused():
    """The proof names the first input at which a node differs from the definition."""
    requantizer = make(["1/4"], ["0"], -8, 7)
    rows = to_threshold(requantizer, -40, 40)
    wrong = MulShift(mul=np.array([1]), add=np.array([1]), shift=2, low=-8, high=7, **COMMON)

    with pytest.raises(FlowError, match=r"^q: input -30 of channel 0 gives -7, not -8$"):
        prove(wrong, lambda points: definitions(requantizer, points), rows, -40, 40)


def test_eight_bit_outputs_take_a_multiplier_and_two_bit_ones_thresholds():
    """The cheaper form is chosen."""
    wide = requantizer_node(make([0.01], [0], 0, 255), -30000, 30000, 16, lut_per_dsp=196, **COMMON)
    narrow = requantizer_node(make([0.01], [0], 0, 3), -300, 300, 10, lut_per_dsp=196, **COMMON)

    assert isinstance(wide, MulShift)
    assert isinstance(narrow, Threshold)


@pytest.mark.parametrize(("board", "kind"), [("zu3eg", Threshold), ("kv260", MulShift)])
def test_the_board_tells_what_a_multiplier_is_worth(board: str, kind: type[Node]) -> None:
    """15 comparators of 12 bits: less than a DSP slice of the zu3eg at 196 LUTs, more than one of the KV260 at 94."""
    requantizer = make(["3/500"], ["1/7"], 0, 15)
    node = requantizer_node(requantizer, -2000, 2000, 12, lut_per_dsp=load_board(board).lut_per_dsp, **COMMON)

    assert isinstance(node, kind)
    np.testing.assert_array_equal(run(node, -2000, 2000, 1), everywhere(requantizer, -2000, 2000))
