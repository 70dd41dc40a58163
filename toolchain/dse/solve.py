"""The optimal choice: least cycles within a budget, then least of the scarcest resource, then fewest converters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.dse.ilp import Goal, IntegerProgram, available_solver
from toolchain.dse.problem import Option, Problem
from toolchain.errors import UserError
from toolchain.ir.types import Parallelism
from toolchain.resources import KINDS, Resources


@dataclass(frozen=True)
class Solution:
    """The chosen options by decision and the proof.

    ``status`` is "optimal" or, when the time ran out, "feasible". ``cycles`` a frame; ``cycles_bound`` is proved: no
    selection within the budget takes fewer (of the target, when one was given); nor does any within these cycles take
    less than ``share_bound`` of the scarcest resource's budget. ``gap`` is relative: of the cycles if they are not
    proved, else of the scarcest resource's share, else of the converters.
    """

    chosen: Mapping[str, Option]
    cycles: int
    cycles_bound: int
    resources: Resources
    mismatches: int
    status: str
    gap: float
    share_bound: float
    seconds: float
    solver: str

    @property
    def lanes(self) -> dict[str, Parallelism]:
        """Lanes of every unit, the reader and the writer included."""
        return {name: lanes for option in self.chosen.values() for name, lanes in option.lanes.items()}

    @property
    def padded(self) -> dict[str, int]:
        """Channels of every group that is padded."""
        return {name: count for option in self.chosen.values() for name, count in option.padded.items()}


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
    """The selection of least cycles within ``budget``, or of at most ``target_cycles``, that spares the budget.

    The slowest unit or converter has one of the problem's cycle counts. Whether a count fits is a feasibility problem
    whose options are those fast enough, which needs no big-M: its relaxation proves the counts that cannot, bisection
    with the integer program finds the least that does. At that count the largest share of any resource is minimised,
    and within that share the joints that need converters, the summed shares deciding between equals.

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
    return run.sparing(cycles, bound)


def fits(problem: Problem, budget: Resources, seconds: float, solver: str = "highs") -> bool:
    """Return whether a selection within ``budget``, at any rate, was found in ``seconds``."""
    if not problem.least().fits(budget):
        return False
    program = IntegerProgram(problem.within(problem.cycle_counts()[-1]), budget, available_solver(solver))
    return program.select(Goal.ANY, seconds).picked is not None


def least_bound(problem: Problem, budget: Resources, solver: str = "highs") -> int:
    """Cycles that no selection within ``budget`` comes below, by the relaxation alone."""
    run = _Run(problem, budget, available_solver(solver), time.monotonic(), 0.0)
    counts = problem.cycle_counts()
    return counts[min(run.relaxed(counts), len(counts) - 1)]


@dataclass(frozen=True)
class _Run:
    """One call of ``solve``: its problem and its clock."""

    problem: Problem
    budget: Resources
    solver: str
    start: float
    time_limit: float

    @property
    def left(self) -> float:
        """Seconds of the time limit that are left."""
        return self.time_limit - (time.monotonic() - self.start)

    def program(self, cycles: int) -> IntegerProgram:
        return IntegerProgram(self.problem.within(cycles), self.budget, self.solver)

    def least_cycles(self) -> tuple[int | None, int]:
        """Least cycles within the budget (None: nothing fits) and a proved lower bound."""
        counts = self.problem.cycle_counts()
        if not self.problem.least().fits(self.budget):
            return None, counts[-1]
        low = bound = self.relaxed(counts)  # counts[:bound] are proved too fast
        high, step, probe = len(counts), 1, low
        while low < high:
            answer = self.program(counts[probe]).select(Goal.ANY, self.left)
            if answer.picked is not None:
                high = probe
            else:
                low = probe + 1
                bound = low if answer.proved else bound
            step *= 2
            probe = (low + high) // 2 if high < len(counts) else min(low + step - 1, len(counts) - 1)
        return (counts[low] if low < len(counts) else None), counts[min(bound, len(counts) - 1)]

    def relaxed(self, counts: Sequence[int]) -> int:
        """Return how many of the rising ``counts`` of cycles not even fractions of options can meet."""
        low, high = 0, len(counts)
        while low < high:
            middle = (low + high) // 2
            if self.program(counts[middle]).relaxed(Goal.ANY) is None:
                low = middle + 1
            else:
                high = middle
        return low

    def sparing(self, cycles: int, bound: int) -> Solution:
        """The selection of at most ``cycles`` that spares the scarcest resource, then converters."""
        program = self.program(cycles)
        spared = program.select(Goal.SCARCEST, self.left)
        if spared.picked is None:
            raise self.too_slow(cycles)
        used = program.value(spared.picked, Goal.SCARCEST)
        tight = IntegerProgram(self.problem.within(cycles, matched=True), self.budget.scaled(used), self.solver)
        matched = tight.select(Goal.MATCHED, self.left)
        gap = 0.0 if spared.proved else relative_gap(used, spared.bound)
        if not gap and matched.picked is not None and not matched.proved:
            gap = relative_gap(tight.value(matched.picked, Goal.MATCHED), matched.bound)
        elif not gap and matched.picked is None:
            gap = 1.0  # nothing is known of the least converters
        return self.solution(matched.picked or spared.picked, min(bound, cycles), gap, spared.bound)

    def solution(self, picked: tuple[Option, ...], bound: int, gap: float, share_bound: float) -> Solution:
        cycles = self.problem.slowest(picked)
        if bound < cycles:
            gap = relative_gap(cycles, bound)
        return Solution(
            chosen={d.name: option for d, option in zip(self.problem.decisions, picked, strict=True)},
            cycles=cycles,
            cycles_bound=min(bound, cycles),
            resources=self.problem.used(picked),
            mismatches=self.problem.mismatches(picked),
            status="optimal" if gap == 0.0 else "feasible",
            gap=gap,
            share_bound=share_bound,
            seconds=time.monotonic() - self.start,
            solver=self.solver,
        )

    def over(self, cycles: int) -> Resources:
        return self.program(cycles).overshoot(max(self.left, 1.0)) or Resources()

    def too_large(self) -> Infeasible:
        """Return the error for a network of which not even the slowest, smallest accelerator fits."""
        over = self.over(self.problem.cycle_counts()[-1])
        if over == Resources():
            what, hint = "the solver found no accelerator in time, nor proved there is none", "give it longer"
        else:
            what = f"the network does not fit: {describe(over, self.budget)}"
            hint = "use fewer bits, prune it, or take a larger board"
        return Infeasible(what, cycles=None, fitting=None, over=over, hint=hint)

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
        elif over == Resources():
            what = f"the solver found nothing of {cycles} cycles a frame in time, nor proved there is nothing"
        else:
            what = f"{cycles} cycles a frame do not fit: {describe(over, self.budget)}"
        hint = f"{fitting} cycles a frame fit"
        return Infeasible(what, cycles=cycles, fitting=fitting, over=over, hint=hint)


def relative_gap(value: float, bound: float) -> float:
    """The part of ``value`` that is above a lower ``bound``."""
    return (value - bound) / value if value > 0 else 0.0


def describe(over: Resources, budget: Resources) -> str:
    """The resources that are short, such as "120 lut short (40920 needed, 40800 beside the shell)"."""
    rows = zip(KINDS, over, budget, strict=True)
    texts = [
        f"{short} {kind} short ({short + there} needed, {there} beside the shell)"
        for kind, short, there in rows
        if short > 0
    ]
    return ", ".join(texts)
