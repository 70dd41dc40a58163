"""Leaky ReLUs, clamps and truncations keep every code on the integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.ir.ops.model import Clamp, LeakyRelu, Quantize
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import QInt, Quantizer, Value
from toolchain.lowering.pipeline import to_integer
from toolchain.lowering.requantize import Requantizer
from toolchain.lowering.requantizer_node import TooManyCodes, requantizer_node
from toolchain.lowering.scaled import Scaled, Term, affine, leaky

SLOPES = [0.0, 0.125, 0.01, 0.3, 1.0, 2.5]


def leaky_relu(b: ModelBuilder, x: str, *slopes: float) -> str:
    """A leaky ReLU with one slope, or one a channel."""
    return b.add(LeakyRelu, (x,), b.shapes[x], slope=np.float64(np.float32(slopes)))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000), st.integers(2, 8), st.booleans(), st.lists(st.sampled_from(SLOPES), min_size=4, max_size=4)
)
def test_every_code_behind_a_leaky_relu(seed, bits, signed, slopes):
    """PReLU between a negative BatchNorm and another one, whose sign moves the bend to the other side."""
    b = ModelBuilder((5, 5, 3), seed)
    x = b.conv(b.quant("x", 8, True, scale=0.0078125), 4, 3, bias=True)
    x = leaky_relu(b, b.batchnorm(x), *slopes)
    x = b.quant(b.batchnorm(x), bits, signed)
    b.quant(b.relu(leaky_relu(b, b.conv(x, 3), 0.1)), bits, False)

    assert_equal_codes(b.graph())


@given(
    st.fractions(-4, 4, max_denominator=9),
    st.sampled_from(SLOPES[1:]),
    st.fractions(-3, 3, max_denominator=9),
    st.fractions(-5, 5, max_denominator=9),
)
def test_scaled_integers_follow_a_bend_through_an_affine(scale, slope, factor, shift):
    """Bent, then scaled by a positive, negative or zero factor: the value of every integer is the real one."""
    value = Value("q", (1, 1, 1), QInt(5, True))
    x = Scaled((Term(value, (scale,), -16, 15),), (Fraction(1, 3),))
    y = affine(leaky(x, (Fraction(slope),)), (factor,), (shift,))

    for q in range(-16, 16):
        v = scale * q + Fraction(1, 3)
        expected = (v if v >= 0 else v * Fraction(slope)) * factor + shift
        total = y.terms[0].scale[0] * q + y.offset[0]
        knee, leak = y.knee[0], y.leak[0]
        assert (total if total >= knee else knee + leak * (total - knee)) == expected


def test_max_pool_and_residual_around_a_leaky_relu():
    """A maximum commutes with the bend; a sum of two branches is bent behind the add."""
    b = ModelBuilder((6, 6, 2), 3)
    x = b.quant("x", 8, True, scale=0.0078125)
    x = b.quant(b.pool(leaky_relu(b, b.conv(x, 4, 3), 0.1), "max", 2, 2), 6, True)
    branch = b.quant(b.conv(x, 4), 6, True)
    b.quant(leaky_relu(b, b.sum(x, branch), 0.3), 6, True)

    assert_equal_codes(b.graph())


def test_two_bends_without_a_quantizer_are_refused():
    b = ModelBuilder((4, 4, 2), 8)
    x = b.conv(b.quant("x", 8, True, scale=0.0078125), 2)
    b.quant(leaky_relu(b, b.batchnorm(leaky_relu(b, x, 0.1)), 0.1), 4, True)

    with pytest.raises(UserError, match="a leaky ReLU of a leaky ReLU"):
        to_integer(b.graph())


def test_an_unquantized_leaky_relu_is_refused():
    b = ModelBuilder((4, 4, 2), 8)
    leaky_relu(b, b.conv(b.quant("x", 8, True, scale=0.0078125), 2), 0.1)

    with pytest.raises(UserError, match="whose result is not quantized"):
        to_integer(b.graph())


@pytest.mark.parametrize("low,high", [(0.0, 0.4), (-0.3, 0.2), (-np.inf, 0.1), (0.2, np.inf)])
def test_clamps_inside_the_quantizer_range(low, high):
    """ReLU6 and its like cut codes that the quantizer behind them could reach, also through a negative scale."""
    b = ModelBuilder((4, 4, 2), 9)
    x = b.batchnorm(b.conv(b.quant("x", 8, True, scale=0.0078125), 4, 3))
    x = b.add(Clamp, (x,), b.shapes[x], low=low, high=high)
    b.quant(b.affine(x, -1.5, 0.1), 6, True, scale=0.037)

    assert_equal_codes(b.graph())


@pytest.mark.parametrize("rounding", ["FLOOR", "ROUND", "CEIL"])
def test_trunc_shifts_the_sum_of_an_average_pool(rounding):
    """The mean times its count is the sum; Trunc drops its low bits, and its codes may stand for another step."""
    b = ModelBuilder((4, 4, 3), 10, dyadic=True)
    x = b.quant("x", 8, False, scale=0.0078125)
    x = b.affine(b.pool(x, "average", 4, 1), 16.0, 0.0)
    trunc = Quantizer((0.125,), 0, 0, 255, rounding, grid=16, step=(0.0078125,))
    x = b.add(Quantize, (x,), (1, 1, 3), quantizer=trunc, tensor="t")
    b.conv(x, 2)
    model = b.graph()
    integer = to_integer(model)

    assert integer.values()[x].qint.bits <= 8
    with pytest.raises(UserError, match="a Trunc of values that are no multiples of its scale"):
        c = ModelBuilder((4, 4, 3), 10)
        y = c.conv(c.quant("x", 8, False, scale=0.0078125), 2)
        c.add(Quantize, (y,), c.shapes[y], quantizer=trunc, tensor="t")
        to_integer(c.graph())


def test_wide_quantizers():
    """32 bits of which few codes are reached, 32 bits on an integer line, and 32 bits that no check can cover."""
    common = {"name": "q", "inputs": ("x",), "outputs": (Value("y", (1, 1, 1), QInt(32, True)),)}
    low, high = -(1 << 31), (1 << 31) - 1

    def make(slope: Fraction) -> Requantizer:
        return Requantizer((slope,), (Fraction(0),), low, high, Rounding.ROUND, False, (low,), (high,))

    few = requantizer_node(make(Fraction(1, 3)), -100, 100, 8, lut_per_dsp=196, **common)
    line = requantizer_node(make(Fraction(3)), -(1 << 28), 1 << 28, 30, lut_per_dsp=196, **common)
    codes = [few.evaluate(np.array(x).reshape(1, 1, 1, 1)).item() for x in (-100, -2, -1, 1, 2, 100)]
    assert codes == [-33, -1, 0, 0, 1, 33]
    assert (line.mul.tolist(), line.add.tolist(), line.shift) == ([3], [0], 0)
    with pytest.raises(TooManyCodes):
        requantizer_node(make(Fraction(1, 3)), -(1 << 28), 1 << 28, 30, lut_per_dsp=196, **common)
