"""Transportation pruning: the identities of its masks, the paper's example, its published sizes."""

from __future__ import annotations

import math

import pytest
import torch

from toolchain.train.methods.transport import Transport


@pytest.mark.parametrize("kept", [1, 7, 12])
def test_the_soft_mask_sums_to_the_count_at_every_step(kept: int) -> None:
    torch.manual_seed(0)
    scores, plan = torch.rand(13, dtype=torch.float64), Transport(13, 0.5).double().train()
    for _ in range(60):
        scores += 0.05 * torch.randn(13, dtype=torch.float64)
        assert plan.step(scores, float(kept)).sum().item() == pytest.approx(kept, abs=1e-12)


def test_the_mask_is_the_sigmoid_of_the_accumulated_scores() -> None:
    """A plan of two columns is one shared bias: the row's odds are sigmoid(sum(2 s - 1) / eps + c)."""
    torch.manual_seed(0)
    plan, total = Transport(9, 1.0).double().train(), torch.zeros(9, dtype=torch.float64)
    for _ in range(25):
        scores = torch.rand(9, dtype=torch.float64)
        total += 2 * scores - 1
        plan.step(scores, 4.0)
        odds = plan.log_plan[:, 1] - plan.log_plan[:, 0] - total
        torch.testing.assert_close(odds, odds[:1].expand(9))


def test_steps_on_constant_scores_converge_to_the_sigmoid_with_the_exact_sum() -> None:
    """At temperature eps / steps the mask is sigmoid((2 s + c) steps / eps), c by bisection: the oracle."""
    scores, plan, steps = torch.linspace(0.3, 0.9, 8, dtype=torch.float64), Transport(8, 8.0).double().train(), 80
    for _ in range(steps):
        mask = plan.step(scores, 3.0)
    low, high = -10.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        total = torch.sigmoid((2 * scores + middle) * steps / 8).sum()
        low, high = (middle, high) if total < 3 else (low, middle)
    oracle = torch.sigmoid((2 * scores + low) * steps / 8)
    assert (mask - oracle).abs().max() < 0.02  # the bias lags by one step


def test_three_units_end_at_the_optimum_although_the_scores_begin_at_the_worst() -> None:
    """The paper's figure 2: n = 3, k = 1, loss w.m with w = (2, 1, 3); the best is (0, 1, 0)."""
    loss = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    scores = torch.nn.Parameter(torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64))
    plan, optimizer = Transport(3, 10.0).double().train(), torch.optim.SGD([scores], lr=1.0)
    masks = []
    for _ in range(1000):
        optimizer.zero_grad()
        mask = plan.step(scores, 1.0)
        (loss * mask).sum().backward()
        optimizer.step()
        masks.append(mask.detach())
    assert torch.allclose(masks[-1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-3)


def test_evaluation_leaves_the_plan_as_it_is() -> None:
    plan = Transport(4, 1.0).eval()
    before = plan.log_plan.clone()
    plan.step(torch.rand(4), 2.0)
    assert torch.equal(plan.log_plan, before)


@pytest.mark.parametrize(
    ("share", "sparsity"), [(0.5, 49.82), (0.7, 70.57), (0.9, 90.39), (0.925, 93.43), (0.95, 95.19)]
)
def test_the_published_size_column_of_resnet56_follows_without_training(share: float, sparsity: float) -> None:
    """Table 1: the first layer of every block of ResNet-56 loses ceil(share * n) filters; option A shortcuts."""

    def size(pruned: float) -> int:
        total, inputs = 3 * 9 * 16 + 2 * 16, 16
        for outputs in (16, 32, 64):
            for _ in range(9):
                inner = max(1, outputs - math.ceil(pruned * outputs - 1e-9))
                total += 9 * inputs * inner + 9 * inner * outputs + 2 * (inner + outputs)
                inputs = outputs
        return total + 64 * 10 + 10

    assert 100 * (1 - size(share) / size(0.0)) == pytest.approx(sparsity, abs=0.07)
