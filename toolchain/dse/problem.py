"""The choice of an accelerator as plain data: one option a decision, no graph in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from toolchain.dse.resources import Resources
from toolchain.ir.types import Parallelism


@dataclass(frozen=True)
class Option:
    """One way to build the units of a decision: their lanes, cycles per frame of the slowest, and what they take."""

    lanes: Mapping[str, Parallelism]
    cycles: int
    resources: Resources


@dataclass(frozen=True)
class Decision:
    """Units whose lanes are chosen together."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Problem:
    """Pick one option of each decision; the slowest sets the frame rate, the resources add up."""

    decisions: tuple[Decision, ...]

    def within(self, cycles: int) -> Problem:
        """The options of at most ``cycles`` a frame that no other beats in resources; a decision may become empty."""
        kept = []
        for decision in self.decisions:
            fast = [option for option in decision.options if option.cycles <= cycles]
            rows = [astuple(option.resources) for option in fast]
            kept.append(Decision(decision.name, tuple(fast[i] for i in pareto(rows))))
        return Problem(tuple(kept))


def prune(options: Sequence[Option]) -> tuple[Option, ...]:
    """The options that no other one beats in cycles and every resource, in their order; the first of equals."""
    rows = [(option.cycles, *astuple(option.resources)) for option in options]
    return tuple(options[i] for i in pareto(rows))


def pareto(rows: Sequence[tuple[int, ...]]) -> list[int]:
    """Indices of the rows that no other row is at most equal to in every entry; the first of equal rows."""
    if not rows:
        return []
    table, first = np.unique(np.asarray(rows, dtype=np.int64), axis=0, return_index=True)
    front: list[int] = []  # positions in the sorted table: a row can only be beaten by an earlier one
    for i, row in enumerate(table):
        if not (table[front] <= row).all(axis=1).any():
            front.append(i)
    return sorted(int(first[i]) for i in front)
