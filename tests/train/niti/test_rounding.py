"""The rounding rules, over every fraction."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from toolchain.ir.rounding import Rounding
from toolchain.train.niti.numbers import ceil_log2, requantize
from toolchain.train.niti.rounding import nearest, pseudo_stochastic, stochastic

UPS = [1, 1, 4, 6, 16, 28, 64, 120, 256, 496, 1024, 2016]
"""Fractions of 2**s that round up pseudo-stochastically, for s = 1..12, as counted in the published rule."""


@pytest.mark.parametrize("shift", range(1, 13))
def test_pseudo_stochastic_rounds_up_as_many_fractions_as_the_published_rule(shift: int) -> None:
    fractions = torch.arange(1 << shift, dtype=torch.int32)
    ups = int(pseudo_stochastic(fractions, shift).sum())
    half = shift // 2
    assert ups == UPS[shift - 1] == (1 << (shift - 1) if shift % 2 else (1 << (half - 1)) * ((1 << half) - 1))


@pytest.mark.parametrize("shift", range(11))
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_nearest_is_qonnx_half_up_over_every_fraction_of_both_signs(shift: int, dtype: torch.dtype) -> None:
    v = torch.arange(-4096, 4097, dtype=dtype)
    expected = [Rounding.HALF_UP.ratio(int(n), 1 << shift) for n in v]
    assert nearest(v, shift).tolist() == expected


@pytest.mark.parametrize("shift", [1, 2, 5, 8])
def test_magnitudes_round_alike_for_both_signs_and_by_less_than_one(shift: int) -> None:
    v = torch.arange(1, 2000, dtype=torch.int32)
    for rounded, mirrored in (
        (pseudo_stochastic(v, shift), pseudo_stochastic(-v, shift)),
        (nearest(v, shift), nearest(-v, shift)),
    ):
        assert torch.equal(rounded, -mirrored)
        assert ((rounded << shift) - v).abs().max() < 1 << shift


def test_stochastic_rounding_has_the_mean_of_the_fraction_and_repeats_with_its_generator() -> None:
    v = torch.tensor([3, -3, 8, 13], dtype=torch.int32).expand(40000, 4)
    first = stochastic(v, 3, torch.Generator().manual_seed(1))
    assert torch.equal(first, stochastic(v, 3, torch.Generator().manual_seed(1)))
    assert first[:, 2].eq(1).all()  # nothing is lost, nothing is random
    mean = first.double().mean(0)  # standard deviation of a mean: at most 0.5 / sqrt(40000) = 0.0025
    assert (mean - torch.tensor([3, -3, 8, 13]).double() / 8).abs().max() < 0.0125


def test_shifts_as_wide_as_an_int32_go_through_int64() -> None:
    v = torch.tensor([1 << 29, -(1 << 29), 3], dtype=torch.int32)
    assert nearest(v, 31).tolist() == [0, 0, 0] and nearest(v, 30).tolist() == [1, -1, 0]
    assert pseudo_stochastic(v, 33).tolist() == [1, -1, 0]  # upper half 2**13, lower half 0


@pytest.mark.parametrize("magnitude", [1, 2, 3, 127, 128, 129, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_requantizing_shifts_by_the_published_width(magnitude: int) -> None:
    """ceil(log2 max) - 7, so that 2**7 itself is not shifted and clips to 127."""
    bits = next(b for b in range(32) if Fraction(2) ** b >= magnitude)
    assert ceil_log2(magnitude) == bits
    mantissa, shift = requantize(torch.tensor([magnitude, -1], dtype=torch.int32), nearest)
    assert shift == max(bits - 7, 0)
    assert int(mantissa[0]) == min(Rounding.HALF_UP.ratio(magnitude, 1 << shift), 127)


def test_a_shift_by_one_is_one_by_two_in_the_code_of_2020() -> None:
    accumulators = torch.tensor([200, -100], dtype=torch.int32)
    mantissa, shift = requantize(accumulators.clone(), nearest, shift_of_one=2)
    assert (shift, mantissa.tolist()) == (2, [50, -25])
    assert requantize(accumulators, nearest)[1] == 1
