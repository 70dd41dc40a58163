"""The optimal choice: least cycles within a budget, then least resources at that speed, both proved."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from toolchain.dse.ilp import Selection, available_solver, overshoot, select
from toolchain.dse.problem import Option, Problem
from toolchain.dse.resources import KINDS, Resources, total
from toolchain.errors import UserError
from toolchain.ir.types import Parallelism


@dataclass(frozen=True)
class Solution:
    """The chosen options by decision and the proof.

    ``status`` is "optimal" or, when the time ran out, "feasible". ``cycles`` a frame; ``cycles_bound`` is proved: no
    selection within the budget takes fewer (of the target, when one was given). ``gap`` is relative: of the cycles
    if they are not proved, else of the resources' share.
    """

    chosen: Mapping[str, Option]
    cycles: int
    cycles_bound: int
    resources: Resources
    status: str
    gap: float
    seconds: float
    solver: str

    @property
    def lanes(self) -> dict[str, Parallelism]:
        """Lanes of every unit, the reader and the writer included."""
        return {name: lanes for option in self.chosen.values() for name, lanes in option.lanes.items()}


class Infeasible(UserError):
    """No selection fits. ``cycles`` was asked for (None: any), ``fitting`` is the least that fits (None: none does)."""

    def __init__(self, what: str, *, cycles: int | None, fitting: int | None, over: Resources, hint: str = "") -> None:
        self.cycles, self.fitting, self.over = cycles, fitting, over
        super().__init__(what, hint=hint)


def solve(
    problem: Problem,
    budget: Resources,
    *,
    target_cycles: int | None = None,
    time_limit: float = 60.0,
    solver: str = "highs",
) -> Solution:
    """The selection of least cycles within ``budget``, or of at most ``target_cycles``, with least resources.

    The least cycles are found by bisection over the options' cycle counts: each step is a feasibility problem whose
    options are those fast enough, which needs no big-M and proves both sides. Resources are weighted by 1 / budget.

    Args:
        time_limit: seconds for all steps together.
        solver: "highs" or "cbc".

    Raises:
        Infeasible: nothing fits; names the resources that are short, by how much, and the cycles that would fit.
        UserError: unknown solver.
    """
    run = _Run(problem, budget, available_solver(solver), time.monotonic(), time_limit)
    if target_cycles is None:
        cycles, bound = run.least_cycles()
        if cycles is None:
            raise run.too_large()
    else:
        cycles = bound = target_cycles
    answer = run.select(cycles, minimise=True)
    if answer.picked is None:
        raise run.too_slow(cycles)
    return run.solution(answer, bound if target_cycles is None else None)


@dataclass(frozen=True)
class _Run:
    """One call of ``solve``: its problem and its clock."""

    problem: Problem
    budget: Resources
    solver: str
    start: float
    time_limit: float

    def select(self, cycles: int, *, minimise: bool) -> Selection:
        left = self.time_limit - (time.monotonic() - self.start)
        return select(self.problem.within(cycles), self.budget, minimise=minimise, solver=self.solver, seconds=left)

    def candidates(self) -> list[int]:
        """Cycle counts that the slowest unit can have, ascending."""
        floor = max(min(option.cycles for option in d.options) for d in self.problem.decisions)
        return sorted({o.cycles for d in self.problem.decisions for o in d.options if o.cycles >= floor})

    def least_cycles(self) -> tuple[int | None, int]:
        """Least cycles within the budget (None: nothing fits) and a proved lower bound."""
        counts = self.candidates()
        low, high, bound = 0, len(counts), 0  # counts[:bound] are proved too fast
        while low < high:
            middle = (low + high) // 2
            answer = self.select(counts[middle], minimise=False)
            if answer.picked is not None:
                high = middle
            else:
                low = middle + 1
                bound = low if answer.proved else bound
        return (counts[low] if low < len(counts) else None), counts[min(bound, len(counts) - 1)]

    def solution(self, answer: Selection, bound: int | None) -> Solution:
        picked = answer.picked or ()
        cycles, resources = max(option.cycles for option in picked), total(o.resources for o in picked)
        used = resources.share(self.budget)
        gap = (used - answer.bound) / used if used and not answer.proved else 0.0
        cycles_bound = cycles if bound is None else min(bound, cycles)
        if cycles_bound < cycles:
            gap = (cycles - cycles_bound) / cycles
        return Solution(
            chosen={d.name: option for d, option in zip(self.problem.decisions, picked, strict=True)},
            cycles=cycles,
            cycles_bound=cycles_bound,
            resources=resources,
            status="optimal" if gap == 0.0 else "feasible",
            gap=gap,
            seconds=time.monotonic() - self.start,
            solver=self.solver,
        )

    def over(self, cycles: int) -> Resources:
        return overshoot(self.problem.within(cycles), self.budget, solver=self.solver, seconds=self.time_limit)

    def too_large(self) -> Infeasible:
        """Not even the slowest, smallest accelerator fits."""
        over = self.over(max(o.cycles for d in self.problem.decisions for o in d.options))
        return Infeasible(
            f"the network does not fit: {describe(over, self.budget)}",
            cycles=None,
            fitting=None,
            over=over,
            hint="use fewer bits, prune it, or take a larger board",
        )

    def too_slow(self, cycles: int) -> Infeasible:
        """The target is out of reach: says of what is short, or which unit cannot be so fast, and what would fit."""
        fitting, _ = self.least_cycles()
        if fitting is None:
            return self.too_large()
        slowest = max(self.problem.decisions, key=lambda d: min(o.cycles for o in d.options))
        fastest = min(option.cycles for option in slowest.options)
        over = self.over(cycles) if fastest <= cycles else Resources()
        if fastest > cycles:
            what = f"{cycles} cycles a frame are out of reach: '{slowest.name}' takes {fastest} at least"
        else:
            what = f"{cycles} cycles a frame do not fit: {describe(over, self.budget)}"
        hint = f"{fitting} cycles a frame fit"
        return Infeasible(what, cycles=cycles, fitting=fitting, over=over, hint=hint)


def describe(over: Resources, budget: Resources) -> str:
    """The resources that are short, such as "120 lut short (40920 needed, 40800 there)"."""
    rows = zip(KINDS, astuple(over), astuple(budget), strict=True)
    texts = [
        f"{short} {kind} short ({short + there} needed, {there} there)" for kind, short, there in rows if short > 0
    ]
    return ", ".join(texts) or "the solver found no selection in time"
