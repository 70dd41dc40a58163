"""Integer types hold what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.ir.types import QInt, Real, Value


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_holding_is_the_narrowest_type(low, width):
    """The type holds both ends, and one bit less does not."""
    high = low + width
    kind = QInt.holding(low, high)

    assert kind.min <= low
    assert high <= kind.max
    if kind.bits > 1:
        narrower = QInt(kind.bits - 1, kind.signed)
        assert low < narrower.min or high > narrower.max


@pytest.mark.parametrize(
    ("kind", "low", "high"), [(QInt(4, True), -8, 7), (QInt(4, False), 0, 15), (QInt(1, False), 0, 1)]
)
def test_bounds(kind, low, high):
    """Two's complement and unsigned bounds."""
    assert (kind.min, kind.max) == (low, high)


def test_real_values_have_no_integer_type():
    """Asking a MODEL-level value for its integer type names the value."""
    with pytest.raises(TypeError, match="^value 'x' is not an integer$"):
        _ = Value("x", (1, 1, 1), Real()).qint
