"""Dynamic Sparse Training (Liu et al., ICLR 2020): a trainable threshold an output unit decides which weights live.

Their optimizer holds the thresholds beside the weights, so that weight decay draws them to zero too: here as well.

Source: the authors' code, compared function by function.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.config.pruning import DstConfig
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.weights import keep_masked
from toolchain.train.own.kinds import Weighted
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit, before_last, parametrizations

log = logging.getLogger(__name__)

_FEWEST = 0.01  # a layer that keeps at most this share starts over with thresholds of zero; the authors' code does so


def long_tailed(x: Tensor) -> Tensor:
    """The paper's stand-in for the derivative of the unit step: 2 - 4|x| up to 0.4, 0.4 up to 1, then 0."""
    distance = x.detach().abs()
    inside = distance.clone().le_(1)
    return distance.mul_(-4).add_(2).clamp_min_(0.4).mul_(inside)


class _Alive(torch.autograd.Function):
    """``w`` where ``|w| > t``, else 0; t has one entry a row of w.

    The gradient G of the result reaches w as G where it is alive (performance) plus ``G w H(|w| - t) sign(w)``
    everywhere (structure), and t_i as ``-sum_j G_ij w_ij H(|w_ij| - t_i)``. Masks are zeros and ones of w's type:
    PyTorch multiplies those several times faster than booleans.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        distance = weight.abs() - threshold
        alive = distance.clone().gt_(0)
        ctx.save_for_backward(weight, distance, alive)
        ctx.rows = threshold.shape
        ctx.mark_non_differentiable(alive)
        return weight * alive, alive

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        weight, distance, alive = ctx.saved_tensors
        structure = long_tailed(distance).mul_(weight).mul_(grads[0])
        to_threshold = structure.sum_to_size(ctx.rows).neg_()
        return structure.mul_(weight.sign()).addcmul_(grads[0], alive), to_threshold


class Thresholds(nn.Module):
    """The parametrization of one layer's weight: a threshold a row, zero at first, so that every weight is alive."""

    def __init__(self, layer: str, weight: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.threshold = nn.Parameter(torch.zeros(weight.shape[0], *(1,) * (weight.dim() - 1), device=weight.device))

    def alive(self, weight: Tensor) -> Tensor:
        """Return the mask of weights over their row's threshold; a weight of exactly zero never is."""
        return weight.detach().abs() > self.threshold.detach()

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that are alive; of a layer with next to none all, with thresholds that start over at zero."""
        share = int(self.alive(weight).count_nonzero()) / weight.numel()
        if share <= _FEWEST:
            log.warning("'%s' kept %.2f %% of its weights: its thresholds start at zero again", self.layer, 100 * share)
            with torch.no_grad():
                self.threshold.zero_()
        masked: Tensor
        masked, _ = _Alive.apply(weight, self.threshold)  # type: ignore[no-untyped-call]
        return masked


class Dst(Method):
    """``alpha * sum(exp(-t))`` in the loss pulls the thresholds up. There is no exact budget.

    Every layer is sparse, single weights are zero; they stay zero in the stages after this one.
    """

    def __init__(self, config: DstConfig) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.layers: dict[str, Weighted] = {}

    def prepare(self, model: nn.Module, context: Context) -> None:
        """A threshold a row of every convolution and fully connected layer."""
        self.layers = named_weighted_layers(model)
        for name, layer in self.layers.items():
            parametrize.register_parametrization(layer, "weight", Thresholds(name, layer.weight))

    def penalty(self, model: nn.Module) -> Tensor:
        """The pull on the thresholds."""
        terms = [torch.exp(-_thresholds(layer).threshold).sum() for layer in self.layers.values()]
        return self.alpha * torch.stack(terms).sum()

    @torch.no_grad()
    def observe(self, model: nn.Module) -> dict[str, float]:
        """The share of all weights that is alive."""
        masks = [_thresholds(layer).alive(before_last(layer)) for layer in self.layers.values()]
        return {"dst_kept": sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)}

    @torch.no_grad()
    def finalize(self, model: nn.Module) -> list[Edit]:
        """The dead weights become zeros that stay."""
        masks = {name: _thresholds(layer).alive(before_last(layer)) for name, layer in self.layers.items()}
        return keep_masked(model, masks, instead=True)


def keep_ratios(model: nn.Module) -> dict[str, float]:
    """The share of weights that are not zero, by layer."""
    return {name: float((layer.weight != 0).float().mean()) for name, layer in named_weighted_layers(model).items()}


def _thresholds(layer: nn.Module) -> Thresholds:
    found = parametrizations(layer)[-1]
    assert isinstance(found, Thresholds)
    return found
