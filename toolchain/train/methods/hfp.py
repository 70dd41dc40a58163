"""Holistic Filter Pruning (Enderich, Timm, Burgard, WACV 2021), reconstructed from its abstract.

The abstract says: the user gives rates for parameters and multiplications; after each forward pass the current size is
computed and compared with them; gradient descent allocates the budget over the layers. The paper's body could not be
read. The gates, their gradient, the form of the penalty and the ramp below are a reconstruction, not the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.config.pruning import HfpConfig
from toolchain.train.budgets import Budget, Size, keep_by_score, shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import Gates, all_scales, undotted
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.structure import Edit

_RAMP_STEPS = 32  # times that the gates of the smallest scales are chosen anew while the budget falls


class _Open(torch.autograd.Function):
    """1 where the scale exceeds the threshold and may be open, else 0; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor, threshold: float, allowed: Tensor) -> Tensor:
        return ((scale > threshold) & allowed).to(scale.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


class Hfp(Method):
    """A gate a channel on the mean |scale| of its batch norms, one for all layers that a residual add joins.

    The penalty is ``strength`` times the share by which the open channels exceed each budget, so a filter's pull is its
    price: what it takes in its own layers and in those that read it. It ends when the budgets are met. A short stage
    ends before scales that start near 1 have come down, hence the ramp; the loss decides who closes.
    """

    removes_at_end = True

    def __init__(self, config: HfpConfig) -> None:
        super().__init__()
        self.config = config
        self.structure: Structure
        self.budget: Budget
        self.gates: Gates
        self.allowed = nn.Module()  # a buffer a group: the channels that the ramp leaves open
        self.ramp_step: Tensor
        self.register_buffer("ramp_step", torch.zeros((), dtype=torch.int64))
        self._handle: Any = None

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Whether the budgets can be met, and every channel has a scale."""
        structure = structure_of(model, context.data.shape)
        all_scales(model, structure, "hfp")
        return Budget.of(structure, self.config, left).within(left)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Gates behind the batch norms, opened or closed before every forward pass."""
        self.structure = structure_of(model, context.data.shape)
        self.budget = Budget.of(self.structure, self.config)
        self.gates = Gates(model, self.structure)
        for group in self.structure.free:
            self.allowed.register_buffer(undotted(group.name), torch.ones(group.size, dtype=torch.bool))
        self._handle = model.register_forward_pre_hook(lambda model, _: self._set_gates(model))

    def penalty(self, model: nn.Module) -> Tensor:
        """What the open channels exceed the budgets by."""
        return self.config.strength * excess(self.structure, self.gates.factors, self.budget)

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Close the gates of the smallest scales to the budget of the moment."""
        step = min(_RAMP_STEPS, int(_RAMP_STEPS * progress / self.config.ramp)) if self.config.ramp else 0
        if step == int(self.ramp_step):
            return
        self.ramp_step.fill_(step)
        budget = self.budget.between(Size.of(self.structure), step / _RAMP_STEPS)
        for name, kept in keep_by_score(self.structure, all_scales(model, self.structure, "hfp"), budget).items():
            allowed = self._allowed(name)
            allowed.fill_(False)
            allowed[kept] = True

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Close gates until both budgets are met, re-admit what fits, and remove the rest."""
        self._handle.remove()
        self.gates.remove()
        with torch.no_grad():
            scales = all_scales(model, self.structure, "hfp")
            open_first = {name: scale * self._allowed(name) for name, scale in scales.items()}
            kept = keep_by_score(self.structure, open_first, self.budget)
        return shrink(model, self.structure, kept)

    def _set_gates(self, model: nn.Module) -> None:
        for name, scale in all_scales(model, self.structure, "hfp").items():
            allowed = self._allowed(name)
            self.gates.factors[name] = _Open.apply(scale, self.config.threshold, allowed)  # type: ignore[no-untyped-call]

    def _allowed(self, group: str) -> Tensor:
        return self.allowed.get_buffer(undotted(group))


def excess(structure: Structure, gates: Mapping[str, Tensor], budget: Budget) -> Tensor:
    """The sum over the budgets of what open gates exceed them by, as shares of the whole network."""
    counts: dict[str, Any] = structure.counts | {name: gate.sum() for name, gate in gates.items()}
    total = torch.zeros(())
    for kind, limit in (("macs", budget.macs), ("params", budget.params)):
        if limit is not None:
            whole = getattr(structure, kind)(structure.counts)
            total = total + torch.relu(getattr(structure, kind)(counts) - limit) / whole
    return total
