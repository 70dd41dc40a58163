"""Holistic Filter Pruning (Enderich, Timm, Burgard, WACV 2021), reconstructed from its abstract.

Source: the abstract, which says: the user gives rates for parameters and multiplications; after each forward pass the
current size is computed and compared with them; gradient descent allocates the budget over the layers. The body could
not be read. Gates, multipliers and their rates below are a reconstruction, not the paper's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from toolchain.config.pruning import HfpConfig
from toolchain.train.budgets import Budget, Size, shrink, top_indices
from toolchain.train.counts import nearest_counts
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.gates import Gates, all_scales, undotted
from toolchain.train.methods.magnitude import filter_norms
from toolchain.train.shrink import Structure, structure_of
from toolchain.train.structure import Edit

log = logging.getLogger(__name__)

_TASK = 1.0  # how far a gate goes over the stage when the loss always pulls it like the root mean square of all
_INTEGRAL = 4.0  # how fast a multiplier grows with the miss of its budget, over that of the direct pull
_SLOWING = 0.9  # share of the gates' rate that is lost until the allocation ends
_GOLDEN = 0.618  # gates of two groups should not close in the same step
_NEAR = 0.2  # a larger miss does not count for it: the direct pull is on its way
_REACHED = 0.02  # share of a budget that may be left
_MEMORY = 0.9  # decay of the running mean square of the gates' gradients

Force = dict[str, Tensor]


class _Open(torch.autograd.Function):
    """1 where the value is above zero, else 0; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return (value > 0).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Hfp(Method):
    """A gate a channel, one for all layers that a residual add joins, closed where its value has fallen to zero.

    Values begin evenly between 0 and 2 in the order of the batch norms' |scales| times the filters' norms. After each
    step they descend on two forces: the gradient of the loss to the gate, and the prices of the channel, that is what
    the network's multiplications and parameters lose without it, each times the multiplier of its budget. A multiplier
    follows the miss of its budget and its sum, up and down, so that both budgets are reached, not only kept. Forces are
    scaled by their own size and do not pass through the optimizer: Adam's step is the same whatever the price. When the
    allocation ends the counts are settled within the budgets, and the rest of the stage trains what is left.
    """

    removes_at_end = True

    def __init__(self, config: HfpConfig) -> None:
        super().__init__()
        self.config = config
        self.structure: Structure
        self.budget: Budget
        self.gates: Gates
        self.values = nn.Module()  # a buffer a group
        self.steps = 1
        self.multipliers: Tensor  # one for macs, one for params
        self.square: Tensor  # running mean of the squared gradients of the loss
        self.settled: Tensor
        self.register_buffer("multipliers", torch.zeros(2))
        self.register_buffer("square", torch.zeros(()))
        self.register_buffer("settled", torch.tensor(False))
        self._leaves: dict[str, Tensor] = {}
        self._handle: Any = None

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Check that every channel has a scale, and that the budgets can be met."""
        structure = structure_of(model, context.data.shape)
        all_scales(model, structure, "hfp")
        return Budget.of(structure, self.config, left).within(left)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Gates behind the batch norms, opened or closed before every forward pass."""
        self.structure = structure_of(model, context.data.shape)
        self.budget = Budget.of(self.structure, self.config)
        self.steps = max(1, round(self.config.allocate * context.steps))
        self.gates = Gates(model, self.structure)
        for at, (name, scale) in enumerate(all_scales(model, self.structure, "hfp").items()):
            scores = scale.detach() * filter_norms(model, self.structure, self.structure.groups[name])
            self.values.register_buffer(undotted(name), _places(scores, _GOLDEN * at % 1))
        self._handle = model.register_forward_pre_hook(self._set_gates)

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Move the gates; settle the counts when the allocation is over."""
        if self.settled:
            return
        if progress >= self.config.allocate - 1e-9:
            self._settle()
            return
        task, price = self._task(), self._price()
        rate = (1 - _SLOWING * progress / self.config.allocate) / self.steps
        for name, value in self._values().items():
            value.sub_(rate * (_TASK * task[name] + self.config.strength * price[name]))

    def observe(self, model: nn.Module) -> dict[str, float]:
        """Return the share of each budget that the open gates take: 1 is what was asked for."""
        with torch.no_grad():
            return {f"hfp_{kind}_used": 1 + float(miss) for kind, miss in self._misses(self._open()).items()}

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Remove what is closed."""
        self._handle.remove()
        self.gates.remove()
        if not self.settled:
            self._settle()
        kept = {name: (value > 0).nonzero().flatten().tolist() for name, value in self._values().items()}
        return shrink(model, self.structure, kept)

    def _set_gates(self, model: nn.Module, _: Any) -> None:
        """Open or close the gates; while they move, the loss's gradient to each is kept for the step."""
        self._leaves = {}
        for name, value in self._values().items():
            moving = model.training and not self.settled
            self._leaves[name] = value.detach().clone().requires_grad_(moving)
            self.gates.factors[name] = _Open.apply(self._leaves[name])  # type: ignore[no-untyped-call]

    def _task(self) -> Force:
        """The loss's gradients to the gates over the root of their mean square."""
        leaves = self._leaves.items()
        found = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves}
        if distributed.is_available() and distributed.is_initialized():
            for gradient in found.values():
                distributed.all_reduce(gradient)
        square = torch.cat(list(found.values())).square().mean()
        self.square.copy_(square if not self.square else _MEMORY * self.square + (1 - _MEMORY) * square)
        return {name: gradient / self.square.sqrt().clamp_min(1e-30) for name, gradient in found.items()}

    def _price(self) -> Force:
        """The channels' prices, one on average, times the multipliers of the budgets, which follow the misses."""
        force = {name: torch.zeros_like(value) for name, value in self._values().items()}
        counts = self._open()
        for at, (kind, miss) in enumerate(self._misses(counts).items()):
            self.multipliers[at] += _INTEGRAL * miss * (miss.abs() < _NEAR) / self.steps
            each = prices(self.structure, counts, kind)
            mean = sum(float(price.mean()) for price in each.values()) / len(force)
            for name, price in each.items():
                force[name] += (miss + self.multipliers[at]) * price / mean
        return force

    def _misses(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the excess over each budget, relative to it; negative below."""
        full: dict[str, Any] = self.structure.counts | dict(counts)
        return {kind: getattr(self.structure, kind)(full) / limit - 1 for kind, limit in self.budget.limits.items()}

    def _settle(self) -> None:
        """Close or open gates until the counts are within the budgets and reach them, the largest values open."""
        counts = nearest_counts(self.structure, {k: float(count) for k, count in self._open().items()}, self.budget)
        for name, value in self._values().items():
            kept = top_indices(value, counts[name])
            value.fill_(-1.0)
            value[kept] = 1.0
        self.settled.fill_(True)
        for kind, miss in self._misses(self._open()).items():
            if miss < -_REACHED:
                log.warning("hfp ends at %.0f %% of its budget of %s: no counts near reach it", 100 * (1 + miss), kind)

    def _open(self) -> dict[str, Tensor]:
        return {name: (value > 0).sum().to(value.dtype) for name, value in self._values().items()}

    def _values(self) -> dict[str, Tensor]:
        return {group.name: self.values.get_buffer(undotted(group.name)) for group in self.structure.free}


def _places(scores: Tensor, start: float) -> Tensor:
    """Values of one distance between 0 and 2, in the order of the scores; the first at ``start`` of a distance."""
    return (scores.argsort().argsort().to(scores.dtype) + start) * 2 / len(scores)


def prices(structure: Structure, counts: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the macs or params that one channel less of each group saves: the gradient to its count."""
    with torch.enable_grad():
        leaves = {name: count.detach().clone().requires_grad_() for name, count in counts.items()}
        size = getattr(structure, kind)(structure.counts | leaves)
        found = torch.autograd.grad(size, list(leaves.values()))
    return dict(zip(leaves, found, strict=True))
