"""Transportation pruning: the identities of its masks, the paper's example, its published sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toolchain.config.run import parse_config
from toolchain.train.batches import Batches
from toolchain.train.budgets import Budget
from toolchain.train.counts import nearest_counts
from toolchain.train.data import load
from toolchain.train.methods.base import Context
from toolchain.train.methods.transport import Transport, TransportPruning
from toolchain.train.models import build, layers_of
from toolchain.train.shrink import structure_of


@pytest.mark.parametrize("kept", [1, 7, 12])
def test_the_soft_mask_sums_to_the_count_at_every_step(kept: int) -> None:
    torch.manual_seed(0)
    scores, plan = torch.rand(13, dtype=torch.float64), Transport(13, 0.5).double().train()
    for _ in range(60):
        scores += 0.05 * torch.randn(13, dtype=torch.float64)
        mask = plan.step(scores, float(kept))
        assert mask.sum().item() == pytest.approx(kept, abs=1e-12) and mask.min() >= 0 and mask.max() <= 1


def test_the_mask_is_the_sigmoid_of_the_accumulated_scores() -> None:
    """A plan of two columns is one shared bias: the row's odds are sigmoid(sum(2 s - 1) / eps + c)."""
    torch.manual_seed(0)
    plan, total = Transport(9, 1.0).double().train(), torch.zeros(9, dtype=torch.float64)
    for _ in range(25):
        scores = torch.rand(9, dtype=torch.float64)
        total += 2 * scores - 1
        plan.step(scores, 4.0)
        offsets = torch.logit(plan.mask().double()) - total
        torch.testing.assert_close(offsets, offsets[:1].expand(9), atol=1e-4, rtol=0)  # the mask is float32


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
    torch.testing.assert_close(mask, oracle)


def test_the_gradient_of_the_mask_is_that_of_the_root_and_reaches_the_count() -> None:
    """By finite differences, in the middle of a training; a step of all scores alike moves nothing."""
    torch.manual_seed(0)
    plan = Transport(7, 2.0).train()
    for _ in range(5):
        plan.step(torch.rand(7, dtype=torch.float64), 3.0)
    plan.eval()
    scores = torch.rand(7, dtype=torch.float64, requires_grad=True)
    kept = torch.tensor(2.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(plan.step, (scores, kept))
    scores.grad = None
    (plan.step(scores, kept) * torch.arange(7)).sum().backward()
    assert scores.grad is not None and scores.grad.sum().abs() < 1e-9


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
    before = plan.mask()
    plan.step(torch.rand(4), 2.0)
    assert torch.equal(plan.mask(), before)


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


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _stage(**table: Any) -> tuple[nn.Module, TransportPruning, Context]:
    """A small network in a float stage of 4 epochs of digits, 88 steps."""
    torch.manual_seed(0)
    stage = {"name": "prune", "epochs": 4, "transport": table}
    train = {"batch_size": 64, "accelerator": "cpu", "float": True}
    config = parse_config({"name": "t", "model": {"name": "cnn"}, "train": train, "stage": [stage]}, where="test")
    stages_config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 4})})
    data = load("digits")
    network = build(config, data.shape, data.classes).train()
    method = TransportPruning(config.stage[0].transport)  # type: ignore[arg-type]
    context = Context(stages_config, data, None, layers_of(config), Path())
    method.prepare(network, context)
    return network, method, context


def _train(network: nn.Module, method: TransportPruning, context: Context) -> list[float]:
    """The softness after each epoch."""
    optimizer = torch.optim.SGD([*network.parameters(), *method.parameters()], lr=0.05, momentum=0.9)
    batches = Batches(torch.from_numpy(context.data.train_x), torch.from_numpy(context.data.train_y), 64, seed=0)
    found = []
    for _ in range(4):
        for x, y in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x / 16), y)
            penalty = method.penalty(network)
            (loss if penalty is None else loss + penalty).backward()
            optimizer.step()
        found.append(method.observe(network)["transport_softness"])
    return found


def test_the_last_temperature_is_the_papers_whatever_the_length_of_the_stage() -> None:
    """epsilon over the steps of the stage is 1 / 23,000, unless an epsilon is given."""
    _, method, context = _stage(macs=0.5)
    assert context.steps == 88 and method.epsilon == pytest.approx(88 / 23_000)
    assert _stage(macs=0.5, epsilon=0.25)[1].epsilon == 0.25


@pytest.mark.parametrize("scope", ["global", "network"])
def test_masks_are_hard_when_the_stage_ends_and_soft_at_a_fixed_temperature(
    scope: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After 88 steps at epsilon 10 the removal would be a shock, which is said."""
    network, method, context = _stage(macs=0.5, scope=scope)
    assert _train(network, method, context)[-1] < 0.01
    structure, whole = method.structure, method.structure.macs(method.structure.counts)
    edits = method.finalize(network)
    left = structure.macs(structure.counts | {edit.layer: len(edit.kept) for edit in edits})  # type: ignore[union-attr]
    assert 0.97 * 0.5 * whole <= left <= 0.5 * whole and not caplog.messages  # a channel is 3 %
    network, method, context = _stage(macs=0.5, scope=scope, epsilon=10.0)
    assert _train(network, method, context)[-1] > 0.02
    method.finalize(network)
    assert "from hard ones in the mean square" in caplog.text


def test_one_plan_over_all_filters_keeps_the_learned_share_of_them_at_every_step() -> None:
    network, method, context = _stage(macs=0.4, scope="network")
    x = torch.from_numpy(context.data.train_x[:16]) / 16
    for share in (0.3, 0.7):
        nn.init.constant_(method.thetas["all"], math.log(share / (1 - share)))
        network(x)
        assert method.gates is not None
        masks = torch.cat([method.gates.factors[group.name] for group in method.structure.free])
        assert masks.sum().item() == pytest.approx(share * len(masks), rel=1e-4)  # float32
    assert len(method.plans) == 1
    penalty = method.penalty(network)
    assert penalty is not None
    penalty.backward()
    assert all(score.grad is not None and score.grad.abs().sum() > 0 for score in method.scores.values())


def test_shares_become_counts_that_are_near_all_of_them() -> None:
    """Groups of 6, 16, 120 and 84 once ended with 2, 11, 91 and 56 at shares of about one half."""
    config = parse_config({"name": "t", "model": {"name": "lenet5"}}, where="test")
    structure = structure_of(build(config, (1, 28, 28), 10), (1, 28, 28))
    shares = dict(zip((group.name for group in structure.free), (0.48, 0.47, 0.51, 0.52), strict=True))
    wanted = {group.name: shares[group.name] * group.size for group in structure.free}
    exact = structure.counts | wanted
    counts = nearest_counts(structure, wanted, Budget(macs=int(structure.macs(exact)), least=1))
    assert structure.macs(structure.counts | counts) <= structure.macs(exact)
    assert all(abs(counts[name] - wanted[name]) <= max(1, 0.1 * wanted[name]) for name in wanted)
