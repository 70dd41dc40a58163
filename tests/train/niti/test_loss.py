"""The integer gradient of cross entropy, against the real one."""

from __future__ import annotations

import pytest
import torch

from toolchain.train.niti.loss import error, shares
from toolchain.train.niti.numbers import Block

MEAN = {-10: 0.001, -7: 0.0040, -6: 0.0235, -3: 0.0060}
"""Mean error of a share on random logits, by exponent: 0.0037, 0.023, 0.0057 were measured for the last three."""


def _random(exponent: int, count: int = 2000) -> tuple[Block, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mantissa = torch.randint(-127, 128, (count, 10), generator=generator, dtype=torch.int8)
    return Block(mantissa, exponent), torch.randint(0, 10, (count,), generator=generator)


def _real(logits: Block, labels: torch.Tensor) -> torch.Tensor:
    gradient = torch.softmax(logits.mantissa.double() * 2.0**logits.exponent, 1)
    gradient[torch.arange(len(labels)), labels] -= 1
    return gradient


@pytest.mark.parametrize("exponent", [-60, -30, -20, -12, -8, -7, -6, -3, 0, 5, 30, 60])
def test_rows_sum_to_zero_and_only_the_label_is_negative(exponent: int) -> None:
    logits, labels = _random(exponent)
    found = shares(logits, labels)
    assert not found.sum(1).any()
    others = torch.ones_like(found, dtype=torch.bool)
    others[torch.arange(len(labels)), labels] = False
    assert (found[others] >= 0).all() and found.abs().max() <= 1 << 11


@pytest.mark.parametrize("exponent", range(-10, -2))
def test_shares_stay_within_the_measured_distance_of_softmax(exponent: int) -> None:
    logits, labels = _random(exponent)
    found, real = shares(logits, labels).double() / (1 << 11), _real(logits, labels)
    off = (found - real).abs()
    assert off.max() <= 0.26 and off.mean() <= MEAN.get(exponent, 0.0235)
    assert torch.cosine_similarity(found, real).mean() >= 0.985  # 0.989 and more, but for rows of almost no gradient


def test_logits_too_small_or_too_large_for_the_arithmetic_keep_their_meaning() -> None:
    """Below 2**-20 all classes are alike; above 2**40 the largest takes all."""
    logits, labels = _random(-100)
    assert (shares(logits, labels).double() / (1 << 11) - _real(logits, labels)).abs().max() < 0.005
    mantissa = torch.tensor([[5, 4, -127]], dtype=torch.int8)
    assert shares(Block(mantissa, 100), torch.tensor([1])).tolist() == [[2048, -2048, 0]]


def test_the_error_is_the_share_in_128ths_rounded_at_random_by_less_than_one() -> None:
    logits, labels = _random(-5)
    found = error(logits, labels, torch.Generator().manual_seed(0))
    exact = shares(logits, labels).double() / 16
    assert found.dtype == torch.int8 and found.min() >= -127
    assert ((found.double() - exact).abs() < 1 + 1e-9)[exact > -127].all()
    again = error(logits, labels, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
