"""Dynamic sparse training: the estimator, both gradient branches, and what alpha does."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
from torch import nn

from toolchain.config.pruning import DstConfig
from toolchain.train.methods.dst import Dst, Thresholds, keep_ratios, long_tailed


def _attached(alpha: float, *sizes: int) -> tuple[Dst, nn.Sequential]:
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])
    method = Dst(DstConfig(alpha=alpha))
    method.prepare(model, None)  # type: ignore[arg-type] # it asks nothing
    return method, model


def test_the_estimator_has_the_papers_values() -> None:
    x = torch.tensor([0.0, 0.1, -0.1, 0.4, -0.4, 0.5, 1.0, -1.0, 1.01, -7.0])
    assert long_tailed(x).tolist() == pytest.approx([2, 1.6, 1.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0, 0])


def test_both_gradient_branches_and_the_thresholds_are_the_papers() -> None:
    """dL/dW = G M + G W H sign(W); dL/dt_i = -sum_j G_ij W_ij H(Q_ij) - alpha exp(-t_i)."""
    alpha = 0.3
    method, model = _attached(alpha, 5, 4)
    layer = model[0]
    thresholds = layer.parametrizations.weight[0]
    nn.init.uniform_(thresholds.threshold, 0.0, 0.3)
    gradient = torch.randn(4, 5)
    ((layer.weight * gradient).sum() + method.penalty(model)).backward()
    weight, t = layer.parametrizations.weight.original, thresholds.threshold
    distance = weight.abs() - t
    structure = gradient * weight * long_tailed(distance)
    assert 0 < (distance > 0).sum() < 20
    torch.testing.assert_close(weight.grad, gradient * (distance > 0) + structure * weight.sign())
    torch.testing.assert_close(t.grad, -structure.sum(1, keepdim=True) - alpha * torch.exp(-t))


def test_training_keeps_fewer_weights_with_a_larger_alpha_and_the_output_layer_keeps_most() -> None:
    x = torch.randn(512, 20, generator=torch.Generator().manual_seed(1))
    y = (x[:, :4].argmax(1) + (x[:, 4] > 0)) % 4
    kept = []
    for alpha in (1e-4, 5e-3, 2e-2):
        method, model = _attached(alpha, 20, 40, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for step in range(300):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(x), y) + method.penalty(model)).backward()
            optimizer.step()
            method.after_step(model, step / 300)
        seen = method.observe(model)["dst_kept"]
        edits = method.finalize(model)
        ratios = keep_ratios(model)
        kept.append(sum(int((layer.weight != 0).sum()) for layer in (model[0], model[2])))
        assert ratios["2"] >= ratios["0"] and len(edits) == 2
        assert seen == kept[-1] / 960
    assert kept[0] > kept[1] > kept[2] > 0


def test_dead_weights_stay_zero_when_training_goes_on() -> None:
    method, model = _attached(1e-3, 6, 4)
    layer = model[0]
    layer.parametrizations.weight[0].threshold.data.fill_(0.2)
    method.finalize(model)
    dead = layer.weight == 0
    assert 0 < dead.sum() < 24
    layer.weight.sum().backward()
    layer.parametrizations.weight.original.data += 1.0
    assert torch.equal(layer.weight == 0, dead)
    assert (layer.parametrizations.weight.original.grad[dead] == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_never_computes_with_one_percent_of_its_weights(
    training: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its thresholds start over before they are used, in evaluation too, and that is said."""
    thresholds = Thresholds("fc1", torch.zeros(10, 20)).train(training)
    thresholds.threshold.data.fill_(0.5)
    weight = torch.full((10, 20), 0.1)
    weight[0, :3] = 1.0
    assert thresholds(weight).count_nonzero() == 3 and thresholds.threshold.eq(0.5).all()
    weight[0, 2] = 0.1
    with caplog.at_level(logging.WARNING):
        assert thresholds(weight).count_nonzero() == 200
    assert thresholds.threshold.eq(0).all()
    assert caplog.messages == ["'fc1' kept 1.00 % of its weights: its thresholds start at zero again"]
