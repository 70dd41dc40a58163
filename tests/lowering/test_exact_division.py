"""Whole-array divisions and definitions equal Python's integers and Fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.ir.rounding import Rounding
from toolchain.lowering.exact_division import INT64, floor_divide
from toolchain.lowering.requantize import Requantizer, definition, definitions

sizes = st.integers(0, 90).flatmap(lambda bits: st.integers(-(1 << bits), 1 << bits))
float32 = st.floats(min_value=2.0**-20, max_value=8.0, width=32)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(sizes, sizes, sizes.filter(lambda d: d > 0)), min_size=1, max_size=5),
    st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=8),
)
def test_floor_divide_equals_python(rows, points):
    """Factors, constants and divisors from 0 to 90 bits, whichever way a row takes."""
    factor, constant, divisor = zip(*rows, strict=True)
    quotients, exact = floor_divide(factor, np.array([points] * len(rows)), constant, divisor)

    for c, (f, b, d) in enumerate(rows):
        for t, p in enumerate(points):
            quotient, rest = divmod(f * p + b, d)
            assert quotients[c, t] == min(max(quotient, -INT64), INT64)
            assert exact[c, t] == (rest == 0 and abs(quotient) < INT64)


def test_multiples_next_to_a_large_divisor():
    """Float64 cannot tell n * d from n * d - 1 at 80 bits; the integers can."""
    divisor = (1 << 80) + 13
    quotients, exact = floor_divide([divisor] * 3, np.array([[5], [5], [5]]), [0, -1, 1], [divisor] * 3)

    assert quotients.ravel().tolist() == [5, 4, 5]
    assert exact.ravel().tolist() == [True, False, False]


def test_a_large_factor_of_zeros():
    """Points that are all zero do not let a factor beyond int64 through."""
    quotients, exact = floor_divide([1 << 80, 3], np.zeros((2, 1), dtype=np.int64), [5, 6], [2, 2])

    assert quotients.ravel().tolist() == [2, 3]
    assert exact.ravel().tolist() == [False, True]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.tuples(float32, float32, float32), st.sampled_from([-1, 0, 1]), st.floats(-90, 90, width=32)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(sorted(Rounding)),
    st.booleans(),
    st.one_of(st.none(), st.tuples(st.floats(-9, 9, width=32), float32)),
)
def test_definitions_equal_the_definition(channels, rounding, bipolar, bend):
    """Scales as networks have them (two float32 products over a third), halves, bends, signs, every rounding."""
    slope = tuple(Fraction(a) * Fraction(b) / Fraction(c) * sign for (a, b, c), sign, _ in channels)
    offset = tuple(Fraction(o) for _, _, o in channels)
    low, high, size = (-1, 1, len(slope)) if bipolar else (-8, 7, len(slope))
    bends = () if bend is None else ((Fraction(bend[0]), Fraction(bend[1])),) * size
    floors, ceilings = (low,) * size, (high,) * size
    requantizer = Requantizer(slope, offset, low, high, rounding, bipolar, floors, ceilings, bends)
    points = np.arange(-70, 80, dtype=np.int64)[None].repeat(size, axis=0)

    expected = [definition(requantizer, c, points[c].tolist()) for c in range(size)]
    np.testing.assert_array_equal(definitions(requantizer, points), expected)
