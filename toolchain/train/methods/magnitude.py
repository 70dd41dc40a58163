"""The baseline: what has the least norm goes, in one shot, and the stage trains the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.config.pruning import MagnitudeConfig
from toolchain.train.budgets import Budget, Size, keep_by_score, keep_uniformly, shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.weights import keep_largest_weights
from toolchain.train.shrink import Group, Structure, structure_of
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit


class Magnitude(Method):
    """Filters by their L2 norm over the mean norm of their layer, or weights by their magnitude.

    A layer's norms are compared with its mean because a batch norm makes their common factor meaningless.
    """

    def __init__(self, config: MagnitudeConfig) -> None:
        super().__init__()
        self.config = config

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Check that the budget can be met."""
        if self.config.granularity == "weight":
            return left
        return Budget.of(structure_of(model, context.data.shape), self.config, left).within(left)

    def restructure(self, model: nn.Module, context: Context) -> list[Edit]:
        """Prune."""
        config = self.config
        if config.granularity == "weight":
            assert config.params is not None
            scores = {name: layer.weight.detach().abs() for name, layer in named_weighted_layers(model).items()}
            return keep_largest_weights(model, scores, config.params, uniform=config.scope == "layer")
        structure = structure_of(model, context.data.shape)
        budget = Budget.of(structure, config)
        scores = {group.name: filter_norms(model, structure, group) for group in structure.free}
        keep = keep_uniformly if config.scope == "layer" else keep_by_score
        return shrink(model, structure, keep(structure, scores, budget))


@torch.no_grad()
def filter_norms(model: nn.Module, structure: Structure, group: Group) -> Tensor:
    """L2 norms of the filters that write a group, each over its layer's mean; the mean of its layers."""
    rows = []
    for layer in structure.layers:
        if layer.writes == group.name:
            weight = model.get_submodule(layer.name).weight
            assert isinstance(weight, Tensor)
            norms = weight.flatten(1).norm(dim=1)
            rows.append(norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny))
    return torch.stack(rows).mean(0)
