"""Network slimming (Liu et al., ICCV 2017): L1 on the scales of batch norms, then the smallest go."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.pruning import SlimmingConfig
from toolchain.train.budgets import Budget, keep_by_score, shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import norm_scales
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.structure import Edit


class Slimming(Method):
    """``strength`` times the sum of |scale| in the loss; the removal when the stage ends meets the budget."""

    def __init__(self, config: SlimmingConfig) -> None:
        super().__init__()
        self.config = config
        self.structure: Structure
        self.budget: Budget

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Find the channels, and whether the budget can be met."""
        self.structure = structure_of(model, context.data.shape)
        self.budget = Budget.of(self.structure, macs=self.config.macs, params=self.config.params)
        self._scales(model)

    def penalty(self, model: nn.Module) -> Tensor:
        """The L1 term."""
        return self.config.strength * torch.cat(list(self._scales(model).values())).sum()

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Remove the channels of smallest scale in the whole network."""
        with torch.no_grad():
            kept = keep_by_score(self.structure, self._scales(model), self.budget)
        return shrink(model, self.structure, kept)

    def _scales(self, model: nn.Module) -> dict[str, Tensor]:
        return {group.name: norm_scales(model, group, "slimming") for group in self.structure.free}
