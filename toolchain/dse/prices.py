"""The resources that limit a solution's rate, and how much more of them the next step up would take."""

from __future__ import annotations

import time
from dataclasses import dataclass

from toolchain.dse.ilp import IntegerProgram
from toolchain.dse.problem import Problem
from toolchain.resources import KINDS, Resources

USEFUL = 0.02  # steps of less than 2 % are not worth a redesign
_ATTEMPTS = 4  # cycle counts that are tried as the next step


@dataclass(frozen=True)
class Price:
    """``extra`` more than the budget, and a frame takes ``cycles``."""

    extra: Resources
    cycles: int

    def text(self, now: int) -> str:
        """Describe the price, such as "+8 DSP would give +3 % fps"; ``now`` are the cycles without it."""
        rows = zip(KINDS, self.extra, strict=True)
        parts = [f"+{count} {kind.upper()}" for kind, count in rows if count]
        return f"{' and '.join(parts)} would give +{now / self.cycles - 1:.0%} fps"


@dataclass(frozen=True)
class Limits:
    """``by`` names the resource, the resources or the unit that sets the rate; ``prices`` what would raise it."""

    by: str
    prices: tuple[Price, ...] = ()


def limits(problem: Problem, budget: Resources, cycles: int, *, solver: str, seconds: float) -> Limits:
    """Return the resources that limit the best solution, of ``cycles``, of ``problem`` within ``budget``.

    For each resource alone, the least addition to its budget with which the next useful count of cycles fits, by an
    integer program a resource; for all together where no single one helps. The scarcest one, relative to its budget,
    is what binds.
    """
    end = time.monotonic() + seconds
    faster = [n for n in problem.cycle_counts() if n * (1 + USEFUL) <= cycles]
    for count in reversed(faster[-_ATTEMPTS:]):
        program = IntegerProgram(problem.within(count), budget, solver)
        found: dict[str, Price] = {}
        for kind in problem.kinds:
            over = program.overshoot(max(0.5, (end - time.monotonic()) / 4), [kind])
            if over is not None and any(over):
                found[kind] = Price(over, count)
        if found:
            binding = min(found, key=lambda kind: found[kind].extra.share(budget))
            return Limits(binding, tuple(found.values()))
        over = program.overshoot(max(0.5, end - time.monotonic()))
        if over is not None and any(over):
            names = [kind for kind, short in zip(KINDS, over, strict=True) if short]
            return Limits(" and ".join(names), (Price(over, count),))
    slowest = max(problem.decisions, key=lambda d: min(o.cycles for o in d.options))
    return Limits(f"'{slowest.name}', which has no faster form")
