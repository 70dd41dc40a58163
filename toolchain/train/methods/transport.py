"""Differentiable Transportation Pruning (Li et al., ICCV 2023): soft masks of an exact sum that harden with time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.config.pruning import TransportConfig
from toolchain.errors import UserError
from toolchain.train.budgets import Budget, Size, keep_by_score, shrink, top_indices
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import Gates, undotted
from toolchain.train.methods.magnitude import filter_norms
from toolchain.train.methods.weights import keep_masked
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit


class Transport(nn.Module):
    """The plan that moves n units of mass 1/n to "pruned" and "kept", one proximal Sinkhorn step a mini-batch.

    The cost of keeping a unit of score s is (s - 1)^2, of pruning it s^2. Each step starts from the plan before, so the
    temperature falls as 1 / steps without a schedule. Only the step itself is differentiated.

    Args:
        units: n.
        epsilon: weight of the entropy.
    """

    def __init__(self, units: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.log_plan: Tensor
        self.potential: Tensor
        self.register_buffer("log_plan", torch.full((units, 2), -math.log(units)))
        self.register_buffer("potential", torch.ones(2))

    def step(self, scores: Tensor, kept: Tensor | float) -> Tensor:
        """The soft mask (n,) after one step for ``scores`` (n,); its sum is ``kept``, in (0, n), to rounding."""
        count, epsilon = scores.numel(), self.epsilon
        share = torch.as_tensor(kept, dtype=scores.dtype, device=scores.device) / count
        target = torch.log(torch.stack([1 - share, share]).clamp_min(torch.finfo(scores.dtype).tiny))
        cost = torch.stack([scores.square(), (scores - 1).square()], dim=1)
        kernel = self.log_plan - cost / epsilon
        rows = -math.log(count) - torch.logsumexp(kernel + self.potential / epsilon, dim=1, keepdim=True)
        columns = target - torch.logsumexp(kernel + rows, dim=0)
        plan = kernel + rows + columns
        if self.training:
            with torch.no_grad():
                self.log_plan.copy_(plan)
                self.potential.copy_(columns * epsilon)
        return count * plan[:, 1].exp()

    def mask(self) -> Tensor:
        """The soft mask of the last step."""
        return self.log_plan.shape[0] * self.log_plan[:, 1].exp()


class _Weights(nn.Module):
    """The parametrization of one layer: its weights times their soft masks."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, masked once there is a mask."""
        return weight if self.mask is None else weight * self.mask


class TransportPruning(Method):
    """Scores of filters are trained with the weights; a filter's mask multiplies the output of its batch norm.

    The paper multiplies the filter; with a batch norm behind it that would be normalised away. With granularity
    "weight" the scores are the weights' magnitudes. A MAC or parameter budget of filters trains one kept share a group,
    ``sigmoid(theta)``, with the squared miss of the budget in the loss (appendix A.9); scope "layer" keeps the same
    share of every group. When the stage ends the budget is met exactly: the largest masks stay, hard. Validation runs
    with those hard masks.
    """

    removes_at_end = True

    def __init__(self, config: TransportConfig) -> None:
        super().__init__()
        self.config = config
        self.plans = nn.ModuleDict()
        self.scores = nn.ParameterDict()
        self.thetas = nn.ParameterDict()
        self.structure: Structure
        self.budget = Budget()
        self.gates: Gates | None = None
        self.masked: dict[str, nn.Module] = {}
        self._handles: list[Any] = []

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Whether the budget can be met, and is one."""
        if self.config.granularity == "weight":
            return left
        structure = structure_of(model, context.data.shape)
        budget = Budget.of(structure, self.config, left)
        _share_within(structure, budget)
        return budget.within(left)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Scores from the norms of the filters, plans that prefer nothing, and a step before every training batch."""
        config = self.config
        if config.granularity == "weight":
            self._prepare_weights(model)
        else:
            self.structure = structure_of(model, context.data.shape)
            self.budget = Budget.of(self.structure, config)
            self.gates = Gates(model, self.structure)
            start = _share_within(self.structure, self.budget)
            for group in self.structure.free:
                key = undotted(group.name)
                self.scores[key] = nn.Parameter(filter_norms(model, self.structure, group))
                self.plans[key] = Transport(group.size, config.epsilon)
                logit = math.log(start / (1 - start))
                self.thetas[key] = nn.Parameter(torch.tensor(logit), requires_grad=config.scope == "global")
        self._handles = [model.register_forward_pre_hook(self._before_forward)]

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The squared miss of the budgets, as shares of the whole network."""
        if self.gates is None or self.config.scope == "layer":
            return None
        counts: dict[str, Any] = dict(self.structure.counts)
        for group in self.structure.free:
            counts[group.name] = torch.sigmoid(self.thetas[undotted(group.name)]) * group.size
        full, miss = self.structure.counts, torch.zeros(())
        for kind, limit in (("macs", self.budget.macs), ("params", self.budget.params)):
            if limit is not None:
                whole = getattr(self.structure, kind)(full)
                over = (getattr(self.structure, kind)(counts) - limit) / whole
                both = self.budget.macs is not None and self.budget.params is not None
                miss = miss + (over.clamp_min(0) if both else over).square()
        return self.config.strength * miss

    def finalize(self, model: nn.Module) -> list[Edit]:
        """The largest masks stay, as many as the budget says; the rest is removed, or zero for good."""
        for handle in self._handles:
            handle.remove()
        if self.gates is None:
            masks = self._hard_weights()
            for layer in self.masked.values():
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            return keep_masked(model, masks)
        kept = self._hard_filters()
        self.gates.remove()
        return shrink(model, self.structure, kept)

    def _prepare_weights(self, model: nn.Module) -> None:
        self.masked = dict(named_weighted_layers(model))
        sizes = {name: layer.weight.numel() for name, layer in self.masked.items()}  # type: ignore[operator,union-attr]
        uniform = self.config.scope == "layer"
        for key, units in sizes.items() if uniform else [("all", sum(sizes.values()))]:
            self.plans[undotted(key)] = Transport(units, self.config.epsilon)
        for layer in self.masked.values():
            parametrize.register_parametrization(layer, "weight", _Weights())

    def _before_forward(self, model: nn.Module, _: Any) -> None:
        """In training one step of every plan; in evaluation the masks that the stage would end with."""
        if self.gates is None:
            masks = self._soft_weights() if model.training else self._hard_weights()
            for name, layer in self.masked.items():
                layer.parametrizations.weight[-1].mask = masks[name]  # type: ignore[index,union-attr]
            return
        if not model.training:
            kept = self._hard_filters()
            for group in self.structure.free:
                hard = torch.zeros_like(self.scores[undotted(group.name)])
                hard[kept[group.name]] = 1.0
                self.gates.factors[group.name] = hard
            return
        for group in self.structure.free:
            key = undotted(group.name)
            share = torch.sigmoid(self.thetas[key]).clamp(1 / group.size, 1 - 1e-6)
            self.gates.factors[group.name] = self._plan(key).step(self.scores[key], share * group.size)

    def _hard_filters(self) -> dict[str, list[int]]:
        """The channels of largest mask, as many a group as its share says, then to the budget."""
        ranked = {}
        for group in self.structure.free:
            key = undotted(group.name)
            mask = self._plan(key).mask().detach().cpu()
            wanted = max(1, round(float(torch.sigmoid(self.thetas[key].detach())) * group.size))
            ranked[group.name] = mask.clamp(0, 1)
            ranked[group.name][top_indices(mask, wanted)] += 1.0  # what the group's share keeps goes last
        return keep_by_score(self.structure, ranked, self.budget)

    def _soft_weights(self) -> dict[str, Tensor]:
        assert self.config.params is not None
        raw = {name: _raw(layer).abs() for name, layer in self.masked.items()}
        if self.config.scope == "layer":
            steps = {
                name: self._plan(undotted(name)).step(x.flatten(), self._count(x.numel())) for name, x in raw.items()
            }
            return {name: mask.reshape(raw[name].shape) for name, mask in steps.items()}
        flat = torch.cat([x.flatten() for x in raw.values()])
        mask = self._plan("all").step(flat, self._count(flat.numel()))
        parts = mask.split([x.numel() for x in raw.values()])
        return {name: part.reshape(x.shape) for part, (name, x) in zip(parts, raw.items(), strict=True)}

    @torch.no_grad()
    def _hard_weights(self) -> dict[str, Tensor]:
        raw = {name: _raw(layer) for name, layer in self.masked.items()}
        hard: dict[str, Tensor] = {}
        for key, plan in self.plans.items():
            assert isinstance(plan, Transport)
            soft = plan.mask()
            kept = torch.zeros(soft.numel(), dtype=torch.bool, device=soft.device)
            kept[top_indices(soft, self._count(soft.numel()))] = True
            hard[key] = kept
        if self.config.scope == "layer":
            return {name: hard[undotted(name)].reshape(x.shape) for name, x in raw.items()}
        parts = hard["all"].split([x.numel() for x in raw.values()])
        return {name: part.reshape(x.shape) for part, (name, x) in zip(parts, raw.items(), strict=True)}

    def _count(self, units: int) -> int:
        assert self.config.params is not None
        return max(1, round(self.config.params * units))

    def _plan(self, key: str) -> Transport:
        plan = self.plans[key]
        assert isinstance(plan, Transport)
        return plan


def _share_within(structure: Structure, budget: Budget) -> float:
    """The share of every group's channels that just meets the budget, were channels divisible.

    Raises:
        UserError: the budget is the whole network.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        counts = structure.counts | {group.name: middle * group.size for group in structure.free}
        low, high = (middle, high) if budget.fits(structure, counts) else (low, middle)  # type: ignore[arg-type]
    if low > 1 - 1e-6:
        raise UserError("the budget prunes nothing", hint="lower it, or leave the method out")
    return low


def _raw(layer: nn.Module) -> Tensor:
    weight = layer.parametrizations.weight.original  # type: ignore[union-attr]
    assert isinstance(weight, Tensor)
    return weight
