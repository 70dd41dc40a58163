"""Differentiable Transportation Pruning (Li et al., ICCV 2023): soft masks of an exact sum that harden with time.

Source: the paper; its authors have published no code.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.config.pruning import TransportConfig
from toolchain.errors import UserError
from toolchain.train.budgets import Budget, Size, keep_uniformly, shrink, top_indices
from toolchain.train.counts import nearest_counts
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import Gates, undotted
from toolchain.train.methods.magnitude import filter_norms
from toolchain.train.methods.weights import chosen, keep_masked, largest, parted
from toolchain.train.own.kinds import Weighted
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit, before_last, parametrizations

log = logging.getLogger(__name__)

_PAPER_STEPS = 23_000  # steps of the paper's runs with an epsilon of 1: 120 epochs of CIFAR in batches of 256
_SOFT = 0.01  # mean squared distance of soft masks from hard ones above which a removal is felt
_SMALLEST_SLOPE = 1e-6  # where all masks are hard, nothing follows
_FAR = 40.0  # odds at which a mask is hard
_HALVINGS = 60
_ALL = "all"


class Transport(nn.Module):
    """The plan that moves n units of mass 1/n to "pruned" and "kept", one proximal step a mini-batch.

    The cost of keeping a unit of score s is (s - 1)^2, of pruning it s^2. Each step starts from the plan before, so the
    temperature falls as 1 / steps without a schedule. With two columns a plan is the odds of each unit and one shift c
    for all: the mask is ``sigmoid(odds + c)``, and each step adds ``(2 s - 1) / epsilon`` to the odds. The paper takes
    one sweep of Sinkhorn's for c, which then lags: cold masks are off by a factor when the share moves. Here c is the
    root of ``sum(mask) = kept`` and is differentiated as such. Only the step itself is differentiated.

    Args:
        units: n.
        epsilon: weight of the entropy.
    """

    def __init__(self, units: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.odds: Tensor  # without the shift
        self.shift: Tensor
        self.register_buffer("odds", torch.zeros(units, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))

    def step(self, scores: Tensor, kept: Tensor | float) -> Tensor:
        """The soft mask (n,) in 0..1 after one step for ``scores`` (n,); its sum is ``kept``, in (0, n)."""
        odds = self.odds + (2 * scores.double() - 1) / self.epsilon
        total = torch.as_tensor(kept, dtype=odds.dtype, device=odds.device)
        shift = _shift(odds.detach(), float(total.detach()))
        with torch.no_grad():
            mask = torch.sigmoid(odds + shift)
            slope = (mask * (1 - mask)).sum().clamp_min(_SMALLEST_SLOPE)
        away = torch.sigmoid(odds + shift).sum() - total  # zero; its gradient makes the shift follow odds and total
        if self.training:
            with torch.no_grad():
                self.odds.copy_(odds - odds.mean())
                self.shift.copy_(shift + odds.mean())
        return torch.sigmoid(odds + shift - (away - away.detach()) / slope).to(scores.dtype)

    def mask(self) -> Tensor:
        """The soft mask of the last step."""
        return torch.sigmoid(self.odds + self.shift).float()


def _shift(odds: Tensor, total: float) -> Tensor:
    """c with ``sum(sigmoid(odds + c)) = total``, by bisection."""
    low, high = -odds.max() - _FAR, -odds.min() + _FAR
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        more = torch.sigmoid(odds + middle).sum() < total
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    return (low + high) / 2


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
    ``sigmoid(theta)``, with the squared miss of the budget in the loss (appendix A.9); scope "network" trains one share
    of a single plan over all filters, whose masks then say how many each layer keeps; scope "layer" keeps the same
    share of every group. When the stage ends the budget is met: the largest masks stay, hard, in counts as near to the
    shares as the budget allows. Validation runs with those hard masks.
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
        self.epsilon = 1.0
        self.gates: Gates | None = None
        self.masked: dict[str, Weighted] = {}
        self._hard: dict[str, Tensor] | None = None  # masks of an evaluation, until the next step
        self._handles: list[Any] = []

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Check that a budget is given and can be met."""
        if self.config.granularity == "weight":
            return left
        structure = structure_of(model, context.data.shape)
        budget = Budget.of(structure, self.config, left)
        _share_within(structure, budget)
        return budget.within(left)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Scores from the norms of the filters, plans that prefer nothing, and a step before every training batch."""
        config = self.config
        self.epsilon = config.epsilon or context.steps / _PAPER_STEPS
        if config.granularity == "weight":
            self._prepare_weights(model)
        else:
            self._prepare_filters(model, context)
        self._handles = [model.register_forward_pre_hook(self._before_forward)]

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The squared miss of the budgets, as shares of the whole network."""
        if self.gates is None or self.config.scope == "layer":
            return None
        counts: dict[str, Any] = self.structure.counts | self._soft_counts()
        full, miss = self.structure.counts, torch.zeros(())
        limits = self.budget.limits
        for kind, limit in limits.items():
            over = (getattr(self.structure, kind)(counts) - limit) / getattr(self.structure, kind)(full)
            miss = miss + (over.clamp_min(0) if len(limits) > 1 else over).square()
        return self.config.strength * miss

    @torch.no_grad()
    def observe(self, model: nn.Module) -> dict[str, float]:
        """The mean squared distance of the masks from 0 or 1; the paper's falls to 0."""
        soft = torch.cat([plan.mask() for plan in self._all_plans()])
        return {"transport_softness": float((soft - soft.round()).square().mean())}

    def finalize(self, model: nn.Module) -> list[Edit]:
        """The largest masks stay, as many as the budget says; the rest is removed, or zero for good."""
        softness = self.observe(model)["transport_softness"]
        if softness > _SOFT:
            log.warning(
                "masks are %.3f from hard ones in the mean square (%.2f is soft): what is removed was still in use; "
                "lower transport.epsilon, or train the stage longer", softness, _SOFT,
            )  # fmt: skip
        masks = self._hard_masks()
        for handle in self._handles:
            handle.remove()
        if self.gates is None:
            return keep_masked(model, masks, instead=True)
        self.gates.remove()
        return shrink(model, self.structure, {name: mask.nonzero().flatten().tolist() for name, mask in masks.items()})

    def _prepare_filters(self, model: nn.Module, context: Context) -> None:
        self.structure = structure_of(model, context.data.shape)
        self.budget = Budget.of(self.structure, self.config)
        self.gates = Gates(model, self.structure)
        sizes = {group.name: group.size for group in self.structure.free}
        for group in self.structure.free:
            self.scores[undotted(group.name)] = nn.Parameter(filter_norms(model, self.structure, group))
        start = _share_within(self.structure, self.budget)
        logit, learned = math.log(start / (1 - start)), self.config.scope != "layer"
        for key, units in {_ALL: sum(sizes.values())}.items() if self._together else sizes.items():
            self.plans[undotted(key)] = Transport(units, self.epsilon)
            self.thetas[undotted(key)] = nn.Parameter(torch.tensor(logit), requires_grad=learned)

    def _prepare_weights(self, model: nn.Module) -> None:
        self.masked = named_weighted_layers(model)
        sizes = {name: layer.weight.numel() for name, layer in self.masked.items()}
        for key, units in [(_ALL, sum(sizes.values()))] if self._together else sizes.items():
            self.plans[undotted(key)] = Transport(units, self.epsilon)
        for layer in self.masked.values():
            parametrize.register_parametrization(layer, "weight", _Weights())

    def _before_forward(self, model: nn.Module, _: Any) -> None:
        """Take one step of every plan in training; in evaluation set the masks that the stage would end with."""
        masks = self._step() if model.training else self._hard_masks()
        if self.gates is not None:
            self.gates.factors = {name: mask.to(self.scores[undotted(name)].dtype) for name, mask in masks.items()}
            return
        for name, layer in self.masked.items():
            parametrizations(layer)[-1].mask = masks[name]

    @property
    def _together(self) -> bool:
        """Whether one plan moves all units."""
        return self.config.scope == "network" or (self.gates is None and self.config.scope == "global")

    def _units(self) -> dict[str, Tensor]:
        """The scores by group, or the magnitudes of the weights by layer."""
        if self.gates is not None:
            return {group.name: self.scores[undotted(group.name)] for group in self.structure.free}
        return {name: before_last(layer).abs() for name, layer in self.masked.items()}

    def _step(self) -> dict[str, Tensor]:
        """The soft masks after one step of every plan."""
        self._hard, units = None, self._units()
        if self._together:
            flat = torch.cat([scores.flatten() for scores in units.values()])
            return parted(self._plan(_ALL).step(flat, self._kept(_ALL, flat.numel())), units)
        return {
            name: self._plan(undotted(name))
            .step(scores.flatten(), self._kept(undotted(name), scores.numel()))
            .reshape(scores.shape)
            for name, scores in units.items()
        }

    def _kept(self, key: str, units: int) -> Tensor | float:
        """Return the number of a plan's units that are kept."""
        if self.gates is None:
            return self._count(units)
        return torch.sigmoid(self.thetas[key]).clamp(1 / units, 1 - 1e-6) * units

    def _soft_counts(self) -> dict[str, Any]:
        """Channels of every group by the shares, or by the sums of its masks under one plan; differentiable."""
        assert self.gates is not None
        if self._together:
            return {group.name: self.gates.factors[group.name].sum() for group in self.structure.free}
        shares = {group.name: torch.sigmoid(self.thetas[undotted(group.name)]) for group in self.structure.free}
        return {group.name: shares[group.name] * group.size for group in self.structure.free}

    @torch.no_grad()
    def _hard_masks(self) -> dict[str, Tensor]:
        """True for what the stage would keep if it ended now."""
        if self._hard is None:
            self._hard = self._hard_weights() if self.gates is None else self._hard_filters()
        return self._hard

    def _hard_filters(self) -> dict[str, Tensor]:
        units = self._units()
        if self._together:
            soft = parted(self._plan(_ALL).mask(), units)
            wanted = {name: float(mask.sum()) for name, mask in soft.items()}
        else:
            soft = {name: self._plan(undotted(name)).mask() for name in units}
            wanted = {name: float(torch.sigmoid(self.thetas[undotted(name)])) * len(x) for name, x in units.items()}
        if self.config.scope == "layer":
            kept = keep_uniformly(self.structure, soft, self.budget)
            return {name: chosen(mask, kept[name]) for name, mask in soft.items()}
        counts = nearest_counts(self.structure, wanted, self.budget)
        return {name: chosen(mask, top_indices(mask, counts[name])) for name, mask in soft.items()}

    def _hard_weights(self) -> dict[str, Tensor]:
        units, share = self._units(), self.config.params
        assert share is not None
        hard = {key: largest(plan.mask(), share) for key, plan in self.plans.items() if isinstance(plan, Transport)}
        if self._together:
            return parted(hard[_ALL], units)
        return {name: hard[undotted(name)].reshape(x.shape) for name, x in units.items()}

    def _count(self, units: int) -> int:
        assert self.config.params is not None
        return max(1, round(self.config.params * units))

    def _plan(self, key: str) -> Transport:
        plan = self.plans[key]
        assert isinstance(plan, Transport)
        return plan

    def _all_plans(self) -> list[Transport]:
        return [self._plan(key) for key in self.plans]


def _share_within(structure: Structure, budget: Budget) -> float:
    """The share of every group's channels that just meets the budget, were channels divisible.

    Raises:
        UserError: the budget is the whole network.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        counts = structure.counts | {group.name: middle * group.size for group in structure.free}
        low, high = (middle, high) if budget.fits(structure, counts) else (low, middle)
    if low > 1 - 1e-6:
        raise UserError("the budget prunes nothing", hint="lower it, or leave the method out")
    return low
