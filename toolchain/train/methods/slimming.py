"""Network slimming (Liu et al., ICCV 2017): L1 on the scales of batch norms, then the smallest go."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.config.pruning import SlimmingConfig
from toolchain.train.budgets import Budget, Size, keep_by_score, shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import all_scales
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.structure import Edit


class Slimming(Method):
    """``strength`` times the sum of |scale| in the loss; the removal when the stage ends meets the budget.

    A channel that a residual add joins counts once, with the mean of its batch norms' |scales|.
    """

    removes_at_end = True

    def __init__(self, config: SlimmingConfig) -> None:
        super().__init__()
        self.config = config
        self.structure: Structure
        self.budget: Budget

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Check that every channel has a scale, and that the budget can be met."""
        structure = structure_of(model, context.data.shape)
        all_scales(model, structure, "slimming")
        return Budget.of(structure, self.config, left).within(left)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Find the groups of channels, and the budget."""
        self.structure = structure_of(model, context.data.shape)
        self.budget = Budget.of(self.structure, self.config)

    def penalty(self, model: nn.Module) -> Tensor:
        """Return the L1 norm of the channels' scales times ``strength``."""
        return self.config.strength * torch.cat(list(all_scales(model, self.structure, "slimming").values())).sum()

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Remove the channels of smallest scale in the whole network."""
        with torch.no_grad():
            kept = keep_by_score(self.structure, all_scales(model, self.structure, "slimming"), self.budget)
        return shrink(model, self.structure, kept)
