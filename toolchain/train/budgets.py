"""Choice of the channels that are kept under a budget, by their scores."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil, fsum
from typing import Protocol

import torch
from torch import Tensor, nn

from toolchain import resources
from toolchain.errors import UserError
from toolchain.train.shrink import Structure, remove_channels
from toolchain.train.statistics import Shape, macs, parameters
from toolchain.train.structure import Channels, Edit

log = logging.getLogger(__name__)


class Shares(Protocol):
    """Shares of a network that may be left; None is no limit."""

    @property
    def macs(self) -> float | None:
        """Share of the multiply-accumulates."""

    @property
    def params(self) -> float | None:
        """Share of the weights and biases."""


class FilterShares(Shares, Protocol):
    """Shares that are met by removing channels."""

    @property
    def multiple(self) -> int:
        """Number of which every layer keeps a multiple, unless it keeps all its channels."""

    @property
    def least(self) -> int:
        """Channels that every layer keeps, or all it has."""


Kept = dict[str, list[int]]
_NAMED = 3  # layers named when a budget cannot be met


@dataclass(frozen=True)
class Size:
    """Multiply-accumulates for one image, and weights with biases."""

    macs: int
    params: int

    @staticmethod
    def of(structure: Structure) -> Size:
        """Return the size of the whole network."""
        return Size(structure.macs(structure.counts), structure.params(structure.counts))

    @staticmethod
    def of_model(model: nn.Module, shape: Shape) -> Size:
        """Return the size of a network on images of ``shape``, also of one whose channels cannot be followed."""
        return Size(macs(model, shape), parameters(model))


@dataclass(frozen=True)
class Budget:
    """The most multiply-accumulates and parameters that may be left; None is no limit.

    Channels go and come in such numbers that a group has a multiple of ``multiple``, and ``least`` or more, or all.
    """

    macs: int | None = None
    params: int | None = None
    multiple: int = 1
    least: int = 1

    @staticmethod
    def of(structure: Structure, shares: FilterShares, whole: Size | None = None) -> Budget:
        """Shares of ``whole``, by default the whole network, rounded down.

        Raises:
            UserError: even the fewest channels a group are more; names the layers that hold the most of it.
        """
        demand_free(structure)
        budget = replace(
            Budget.share_of(whole or Size.of(structure), shares), multiple=shares.multiple, least=shares.least
        )
        budget.check(structure)
        return budget

    @staticmethod
    def share_of(whole: Size, shares: Shares) -> Budget:
        """Shares of ``whole``, rounded down."""
        return Budget(
            None if shares.macs is None else resources.whole(shares.macs * whole.macs),
            None if shares.params is None else resources.whole(shares.params * whole.params),
        )

    @property
    def limits(self) -> dict[str, int]:
        """The limits that there are, by "macs" and "params"."""
        given = {"macs": self.macs, "params": self.params}
        return {kind: limit for kind, limit in given.items() if limit is not None}

    def within(self, size: Size) -> Size:
        """The most that is left of ``size`` once the budget is met."""
        return Size(
            size.macs if self.macs is None else min(size.macs, self.macs),
            size.params if self.params is None else min(size.params, self.params),
        )

    def floor(self, size: int) -> int:
        """The fewest channels that a group of ``size`` keeps."""
        return min(size, ceil(max(self.least, self.multiple) / self.multiple) * self.multiple)

    def fits(self, structure: Structure, counts: Mapping[str, float]) -> bool:
        """Return whether a network with ``counts`` channels is within the budget."""
        return all(getattr(structure, kind)(counts) <= limit for kind, limit in self.limits.items())

    def check(self, structure: Structure) -> None:
        """Check that the fewest channels in every group meet the budget.

        Raises:
            UserError: it cannot.
        """
        fewest = self.floor(max(self.least, self.multiple) + self.multiple)
        least = {name: self.floor(group.size) if group.free else group.size for name, group in structure.groups.items()}
        for kind, limit in self.limits.items():
            if getattr(structure, kind)(least) <= limit:
                continue
            takes = {layer.name: getattr(layer, kind)(least) for layer in structure.layers}
            channels = "one channel" if fewest == 1 else f"a floor of {fewest} channels"
            raise cannot_be_met(f"{limit:,} {kind}", f"{channels} a layer", takes, _fixed_layers(structure))


def demand_free(structure: Structure) -> None:
    """Raise UserError where no channels of ``structure`` can be removed."""
    if not structure.free:
        raise UserError(
            "no channels of this network can be removed: concatenated and grouped ones stay, and so do its outputs",
            hint="leave pruning out, or remove single weights with dst",
        )


def _fixed_layers(structure: Structure) -> list[str]:
    """The layers that neither read nor write channels that can be removed."""
    free = {group.name for group in structure.free}
    return [layer.name for layer in structure.layers if not {layer.reads, layer.writes} & free]


def cannot_be_met(budget: str, least: str, takes: Mapping[str, int], fixed: Collection[str] = ()) -> UserError:
    """The refusal of ``budget``, when ``least`` of the network still takes so much in each of its layers.

    Of these, ``fixed`` are as large as before.
    """
    largest = sorted(takes.items(), key=lambda item: (-item[1], item[0]))
    holders = ", ".join(
        f"'{name}' ({size:,}{', all channels stay' if name in fixed else ''})" for name, size in largest[:_NAMED]
    )
    return UserError(
        f"a budget of {budget} cannot be met: {least} still takes {sum(takes.values()):,}, most of it in {holders}",
        hint="raise the budget",
    )


def keep_by_score(structure: Structure, scores: Mapping[str, Tensor], budget: Budget) -> Kept:
    """Drop the channels of least score in the whole network until the budget is met, then re-admit what still fits.

    Args:
        structure: with the sizes of the feature maps.
        scores: one value a channel for each free group.
        budget: one that can be met.

    Returns:
        the kept channels of every free group, at least its floor. The result is within the budget, and nothing that was
        removed could be added without leaving it. Of equal scores the later layer's, and the larger index, goes first.
    """
    order = [
        (score, -place, position, name, bundle)
        for place, (name, values) in enumerate(scores.items())
        for position, (score, bundle) in enumerate(_bundles(values.tolist(), budget))
    ]
    kept = {name: set(range(len(values))) for name, values in scores.items()}
    counts, removed = dict(structure.counts), []
    for *_, name, bundle in sorted(order):
        if budget.fits(structure, counts):
            break
        kept[name].difference_update(bundle)
        counts[name] -= len(bundle)
        removed.append((name, bundle))
    for name, bundle in reversed(removed):
        count = counts[name] + len(bundle)
        whole = count % budget.multiple == 0 or count == len(scores[name])
        if whole and budget.fits(structure, counts | {name: count}):
            kept[name].update(bundle)
            counts[name] = count
    return {name: sorted(indices) for name, indices in kept.items()}


def _bundles(scores: Sequence[float], budget: Budget) -> list[tuple[float, list[int]]]:
    """Return bundles that can leave a group, in order: mean score and channels; each leaves a multiple behind."""
    ranked = sorted(range(len(scores)), key=lambda index: (scores[index], -index))
    multiple, floor = budget.multiple, budget.floor(len(scores))
    first = len(scores) % multiple
    starts = range(first, len(scores), multiple)
    parts = [part for part in (ranked[:first], *(ranked[start : start + multiple] for start in starts)) if part]
    means = accumulate((fsum(scores[index] for index in part) / len(part) for part in parts), max)
    left = [len(scores) - taken for taken in accumulate(map(len, parts))]
    bundles = zip(means, parts, left, strict=True)
    return [(mean, part) for mean, part, count in bundles if count >= floor]


def keep_uniformly(structure: Structure, scores: Mapping[str, Tensor], budget: Budget) -> Kept:
    """The channels of largest score, the same share of every group: the largest share within the budget."""
    step = budget.multiple
    shares = sorted({(2 * n + 1) * step / (2 * len(x)) for x in scores.values() for n in range(ceil(len(x) / step))})
    middles = [(a + b) / 2 for a, b in pairwise([0.0, *shares])] + [1.0]
    low, high = 0, len(middles) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if budget.fits(structure, structure.counts | _uniform(scores, middles[middle], budget)):
            low = middle
        else:
            high = middle - 1
    counts = _uniform(scores, middles[low], budget)
    return {name: top_indices(values, counts[name]) for name, values in scores.items()}


def _uniform(scores: Mapping[str, Tensor], share: float, budget: Budget) -> dict[str, int]:
    step = budget.multiple
    wanted = {name: round(share * len(x) / step) * step for name, x in scores.items()}
    return {name: min(len(x), max(budget.floor(len(x)), wanted[name])) for name, x in scores.items()}


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
