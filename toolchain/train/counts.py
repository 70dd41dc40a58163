"""Whole channels from shares: counts within a budget, as near as can be to what a training asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

from toolchain.train.budgets import Budget
from toolchain.train.shrink import Structure

REACHED = 0.01
"""A budget counts as reached when no more than this share of it is left."""
_UNUSED = 1e3  # weight of a budget's unused share beside a group's squared distance from its wanted count
_MOVES = 500

Counts = dict[str, int]


def nearest_counts(structure: Structure, wanted: Mapping[str, float], budget: Budget) -> Counts:
    """Channels of every free group: within the budget, each limit reached where that can be, and near ``wanted``.

    Single groups and pairs of them are moved, best first, until no move is better; not proven to be the best.

    Args:
        structure: with the sizes of the feature maps.
        wanted: channels of every free group, not whole.
        budget: one that can be met.
    """
    sizes = {group.name: group.size for group in structure.free}
    counts = {name: budget.floor(size) for name, size in sizes.items()}
    for name, size in sizes.items():
        steps = round((wanted[name] - counts[name]) / budget.multiple)
        counts[name] = min(size, max(counts[name], counts[name] + steps * budget.multiple))
    while not budget.fits(structure, structure.counts | counts):
        lower = [step for step in _steps(counts, sizes, budget) if sum(step.values()) < sum(counts.values())]
        counts = min(lower, key=lambda step: _distance(step, wanted, sizes))
    best = _cost(structure, counts, wanted, sizes, budget)
    for _ in range(_MOVES):
        moves = [
            (_cost(structure, step, wanted, sizes, budget), step)
            for step in _moves(counts, sizes, budget)
            if budget.fits(structure, structure.counts | step)
        ]
        cost, step = min(moves, key=lambda move: move[0], default=(best, counts))
        if cost >= best:
            break
        best, counts = cost, step
    return counts


def _steps(counts: Counts, sizes: Mapping[str, int], budget: Budget) -> Iterator[Counts]:
    """``counts`` with one group a multiple smaller or larger."""
    for name, size in sizes.items():
        count, multiple = counts[name], budget.multiple
        lower = count - (count % multiple or multiple)
        if lower >= budget.floor(size):
            yield counts | {name: lower}
        if count < size:
            yield counts | {name: min(size, count + multiple)}


def _moves(counts: Counts, sizes: Mapping[str, int], budget: Budget) -> Iterator[Counts]:
    """Single steps, and pairs of steps of different groups."""
    singles = list(_steps(counts, sizes, budget))
    yield from singles
    changed = [{name: n for name, n in step.items() if n != counts[name]} for step in singles]
    for first, second in permutations(changed, 2):
        if first.keys() != second.keys():
            yield counts | first | second


def _cost(
    structure: Structure, counts: Counts, wanted: Mapping[str, float], sizes: Mapping[str, int], budget: Budget
) -> float:
    return _UNUSED * _unused(structure, counts, budget) + _distance(counts, wanted, sizes)


def _unused(structure: Structure, counts: Counts, budget: Budget) -> float:
    """The squared shares of the limits that are left beyond what counts as reached."""
    full, total = structure.counts | counts, 0.0
    for kind, limit in budget.limits.items():
        total += max(0.0, 1 - getattr(structure, kind)(full) / limit - REACHED) ** 2
    return total


def _distance(counts: Mapping[str, int], wanted: Mapping[str, float], sizes: Mapping[str, int]) -> float:
    return sum(((counts[name] - wanted[name]) / size) ** 2 for name, size in sizes.items())
