"""The forms of a rounding mode are one rule."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.ir.rounding import Rounding

QUARTERS = np.arange(-40, 41)


@pytest.mark.parametrize("mode", Rounding)
def test_a_quarter_is_rounded_alike_as_a_float_a_ratio_and_in_halves(mode: Rounding) -> None:
    expected = mode.floats(QUARTERS / 4).astype(int).tolist()

    assert [mode.ratio(int(n), 4) for n in QUARTERS] == expected
    assert mode.halves(QUARTERS >> 1, QUARTERS % 2 == 0).tolist() == expected


@pytest.mark.parametrize("mode", Rounding)
def test_codes_begin_where_the_steps_say(mode: Rounding) -> None:
    codes = np.arange(-8, 9)
    bounds, strict = mode.steps(codes)
    reached = mode.floats(QUARTERS / 4)[:, None] >= codes
    twice = QUARTERS[:, None] / 2

    np.testing.assert_array_equal(np.where(strict, twice > bounds, twice >= bounds), reached)


def test_names_of_the_operator_that_mean_the_same_are_one_mode() -> None:
    assert [Rounding("HALF_EVEN"), Rounding("ROUND_TO_ZERO")] == [Rounding.ROUND, Rounding.DOWN]
    with pytest.raises(ValueError, match="'NEAREST' is not a valid Rounding"):
        Rounding("NEAREST")
