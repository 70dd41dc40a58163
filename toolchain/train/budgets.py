"""Which channels to keep under a budget, by their scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.train.shrink import Structure, remove_channels
from toolchain.train.structure import Channels, Edit

log = logging.getLogger(__name__)

Kept = dict[str, list[int]]
_NAMED = 3  # layers named when a budget cannot be met


@dataclass(frozen=True)
class Budget:
    """The most multiply-accumulates and parameters that may be left; None is no limit."""

    macs: int | None = None
    params: int | None = None

    @staticmethod
    def of(structure: Structure, *, macs: float | None, params: float | None) -> Budget:
        """Shares of the whole network, rounded down.

        Raises:
            UserError: even one channel a group is more; names the layers that hold the most of it.
        """
        full = structure.counts
        budget = Budget(
            None if macs is None else int(macs * structure.macs(full)),
            None if params is None else int(params * structure.params(full)),
        )
        budget.check(structure)
        return budget

    def fits(self, structure: Structure, counts: Mapping[str, int]) -> bool:
        """Whether a network with ``counts`` channels is within the budget."""
        return (self.macs is None or structure.macs(counts) <= self.macs) and (
            self.params is None or structure.params(counts) <= self.params
        )

    def check(self, structure: Structure) -> None:
        """That the budget can be met with one channel in every group.

        Raises:
            UserError: it cannot.
        """
        least = {name: 1 if group.free else group.size for name, group in structure.groups.items()}
        for kind, limit in (("macs", self.macs), ("params", self.params)):
            needed = getattr(structure, kind)(least)
            if limit is None or needed <= limit:
                continue
            shares = sorted(((getattr(layer, kind)(least), layer.name) for layer in structure.layers), reverse=True)
            holders = ", ".join(f"'{name}' ({share:,})" for share, name in shares[:_NAMED])
            raise UserError(
                f"a budget of {limit:,} {kind} cannot be met: one channel a layer still takes {needed:,}, "
                f"most of it in {holders}",
                hint="raise the budget",
            )


def keep_by_score(structure: Structure, scores: Mapping[str, Tensor], budget: Budget) -> Kept:
    """Drop the channels of least score in the whole network until the budget is met, then re-admit what still fits.

    Args:
        structure: with the sizes of the feature maps.
        scores: one value a channel for each free group.
        budget: one that can be met.

    Returns:
        the kept channels of every free group, at least one each. The result is within the budget, and no removed
        channel could be added without leaving it. Of equal scores the later layer's, and the larger index, goes first.
    """
    order = [
        (float(score), -place, -index, name)
        for place, (name, values) in enumerate(scores.items())
        for index, score in enumerate(values)
    ]
    kept = {name: set(range(len(values))) for name, values in scores.items()}
    counts, removed = dict(structure.counts), []
    for _, _, negative, name in sorted(order):
        if budget.fits(structure, counts):
            break
        if counts[name] > 1:
            kept[name].remove(-negative)
            counts[name] -= 1
            removed.append((name, -negative))
    for name, index in reversed(removed):
        if budget.fits(structure, counts | {name: counts[name] + 1}):
            kept[name].add(index)
            counts[name] += 1
    return {name: sorted(indices) for name, indices in kept.items()}


def keep_uniformly(structure: Structure, scores: Mapping[str, Tensor], budget: Budget) -> Kept:
    """The channels of largest score, the same share of every group: the largest share within the budget."""
    shares = sorted({(2 * n + 1) / (2 * len(values)) for values in scores.values() for n in range(len(values))})
    middles = [(a + b) / 2 for a, b in pairwise([0.0, *shares])] + [1.0]
    low, high = 0, len(middles) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if budget.fits(structure, structure.counts | _uniform(scores, middles[middle])):
            low = middle
        else:
            high = middle - 1
    counts = _uniform(scores, middles[low])
    return {name: top_indices(values, counts[name]) for name, values in scores.items()}


def _uniform(scores: Mapping[str, Tensor], share: float) -> dict[str, int]:
    return {name: max(1, round(share * len(values))) for name, values in scores.items()}


def top_indices(scores: Tensor, count: int) -> list[int]:
    """The indices of the ``count`` largest scores, ascending; of equal ones the first."""
    order = torch.sort(scores.detach().cpu().flatten(), descending=True, stable=True).indices
    return sorted(order[:count].tolist())


def shrink(model: nn.Module, structure: Structure, kept: Mapping[str, Sequence[int]]) -> list[Edit]:
    """Remove what is not ``kept`` from ``model``, in place; returns the edits that repeat it."""
    edits: list[Edit] = []
    for name, indices in kept.items():
        if len(indices) == structure.groups[name].size:
            continue
        remove_channels(model, name, indices)
        edits.append(Channels(name, list(indices)))
        if len(indices) == 1:
            log.warning("'%s' keeps one channel only", name)
    return edits
