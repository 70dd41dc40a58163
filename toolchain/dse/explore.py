"""The search from an INTEGER graph and a board for the best plan that fits, converters and FIFOs included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from toolchain.boards import Board
from toolchain.dse.bound import Bound, bound, memory_bound
from toolchain.dse.counted import Counting, Counts, counted_cost
from toolchain.dse.expand import expand
from toolchain.dse.prices import limits
from toolchain.dse.problem import Option, Problem
from toolchain.dse.solve import Infeasible, Solution, relative_gap, solve
from toolchain.errors import NoRoom
from toolchain.ir.graph import Graph
from toolchain.ir.types import Parallelism
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Lanes, Plan, SolverRecord
from toolchain.resources import Resources, whole
from toolchain.rtl.yosys import tool
from toolchain.units.lanes import READER, writers
from toolchain.units.totals import graph_cost, graph_cycles

_ROUNDS = 4
_PRICE_SECONDS = 10.0


def explore(
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    target_fps: float | None = None,
    model: str = "",
    time_limit: float = 60.0,
    solver: str = "highs",
    counting: Counting | None = None,
) -> Plan:
    """The plan of most frames per second on ``board``, or of least resources at ``target_fps``.

    The integer program charges units, converters and FIFOs; the words that wait in front of a join it estimates from
    below. Where the difference pushes a plan over the budget, the program is solved again with that much less, then
    for the next larger cycle counts. What the first program proves, of the whole budget, bounds every plan: the gap is
    measured against its least cycles, at ``target_fps`` against its least share of the scarcest resource.

    Args:
        clock_mhz: clock of the fabric; the board's default without one.
        model: digest of the graph, recorded in the plan.
        time_limit: seconds for each call of the solver.
        counting: plan with what yosys counts of units, see `toolchain.dse.counted`; with estimates without it.

    Raises:
        NoRoom: nothing fits; names the resource that is short, by how much, and the rate that would fit. Or the memory
            is too slow for the target.
        UserError: a unit that is to be counted has no SystemVerilog, or there is no yosys.
    """
    clock = clock_mhz or board.clock.default_mhz
    target = None if target_fps is None else whole(clock * 1e6 / target_fps)
    forked, start = hardware_form(graph), time.monotonic()
    problem = expand(forked, ultra=board.budget.uram > 0)
    search = _Search(forked, problem, board, clock, model, time_limit, solver, target is not None)
    if counting is not None:
        kinds = {node.name: type(node).__name__ for node in forked.nodes}
        search = replace(search, counts=Counts(problem, search.built, counting, kinds))
    try:
        first = search.solve(Resources(), target)
    except Infeasible as error:
        raise _in_fps(error, clock, target_fps, board) from error
    found = search.fit(first.cycles if target is None else target, first)
    if found is None:
        slower = search.fit_slower(first.cycles)
        if slower is None or target is not None:
            raise _no_room(slower, clock, board)
        found = slower
    memory = memory_bound(to_hardware(forked, found.plan), board, clock)
    if target_fps is not None and memory.fps < target_fps:
        raise _too_fast(target_fps, memory, board)
    record = _record(found, first, None if target is None else board.budget, time.monotonic() - start)
    best = bound(forked, board, clock)
    facts = {"bound_fps": best.fps, "bound_by": best.limited_by}
    if target is None:
        waits = memory.fps < clock * 1e6 / found.cycles
        facts |= {"limited_by": memory.limited_by} if waits else search.limits(found)
    if counting is not None:
        facts["costs"] = f"counted by {tool()}"
    return found.plan.model_copy(update={"solver": record.model_copy(update=facts)})


@dataclass(frozen=True)
class Found:
    """A plan that fits, where it stems from, its cycles a frame, and what was kept free for converters and FIFOs."""

    plan: Plan
    solution: Solution
    cycles: int
    reserved: Resources


@dataclass(frozen=True)
class _Search:
    """Plans that fit the board with everything that follows from them."""

    graph: Graph
    estimated: Problem
    board: Board
    clock_mhz: float
    model: str
    time_limit: float
    solver: str
    spares: bool
    """Whether the least resources at a rate are wanted."""
    counts: Counts | None = None

    @property
    def problem(self) -> Problem:
        """The options at what they are charged with now."""
        return self.estimated if self.counts is None else self.counts.problem()

    def built(self, picked: Mapping[str, Option]) -> Graph:
        """The HARDWARE graph of one option a decision."""
        lanes = {name: lanes for option in picked.values() for name, lanes in option.lanes.items()}
        padded = {name: count for option in picked.values() for name, count in option.padded.items()}
        return to_hardware(self.graph, self.plan(lanes, padded))

    def plan(self, lanes: Mapping[str, Parallelism], padded: Mapping[str, int]) -> Plan:
        return plan_of(self.graph, lanes, self.board.name, self.clock_mhz, self.model, padded=padded)

    def used(self, hardware: Graph) -> Resources:
        """Return the resources of ``hardware``."""
        return graph_cost(hardware) if self.counts is None else counted_cost(hardware, self.counts.counting)

    def solve(self, reserved: Resources, cycles: int | None) -> Solution:
        """The best selection that keeps ``reserved`` free; with counts, of counted options alone."""
        budget = (self.board.budget - reserved).at_least(0)
        if self.counts is None:
            return self._solved(self.problem, budget, cycles)
        return self.counts.settled(self._solved, budget, cycles, sparing=self.spares)

    def _solved(self, problem: Problem, budget: Resources, cycles: int | None) -> Solution:
        return solve(problem, budget, target_cycles=cycles, time_limit=self.time_limit, solver=self.solver)

    def limits(self, found: Found) -> dict[str, Any]:
        """Return the fields of the plan's record that tell what limits it."""
        budget = (self.board.budget - found.reserved).at_least(0)
        seconds = min(self.time_limit, _PRICE_SECONDS)
        known = limits(self.problem, budget, found.cycles, solver=found.solution.solver, seconds=seconds)
        return {"limited_by": known.by, "prices": [price.text(found.cycles) for price in known.prices]}

    def fit(self, cycles: int, first: Solution | None = None) -> Found | None:
        """A plan of at most ``cycles``, the ``first`` one tried if given.

        What FIFOs take beyond the program's estimate is kept free in the next round.
        """
        reserved = Resources()
        for _ in range(_ROUNDS):
            try:
                solution = first or self.solve(reserved, cycles)
            except Infeasible:
                return None
            first = None
            plan = self.plan(solution.lanes, solution.padded)
            hardware = to_hardware(self.graph, plan)
            used, slowest = self.used(hardware), graph_cycles(hardware)
            if used.fits(self.board.budget) and slowest <= cycles:
                return Found(plan, solution, slowest, reserved)
            reserved = _reserve(reserved, used - solution.resources, used - self.board.budget)
        return None

    def fit_slower(self, cycles: int) -> Found | None:
        """A plan of few more than ``cycles``: growing steps over the options' cycle counts, then bisection."""
        counts = [n for n in self.problem.cycle_counts() if n > cycles]
        low, high, step = 0, 0, 1
        found = None
        while high < len(counts) and (found := self.fit(counts[high])) is None:
            low, high, step = high + 1, high + step, 2 * step
            if low < len(counts) <= high:
                high = len(counts) - 1
        while found is not None and low < high:
            middle = (low + high) // 2
            better = self.fit(counts[middle])
            low, high, found = (low, middle, better) if better else (middle + 1, high, found)
        return found


def plan_of(
    graph: Graph,
    lanes: Mapping[str, Parallelism],
    board: str,
    clock: float,
    model: str,
    *,
    padded: Mapping[str, int] | None = None,
) -> Plan:
    """The plan that gives every unit of ``graph`` (forks inserted), the reader and the writers these ``lanes``."""
    units = [node.name for node in graph.nodes if not node.renames]
    written = {o.name: lanes[name].lanes_in for o, name in zip(graph.outputs, writers(graph), strict=True)}
    return Plan(
        model=model,
        board=board,
        clock_mhz=clock,
        input_lanes=lanes[READER].lanes_out,
        output_lanes=written[graph.outputs[0].name] if len(written) == 1 else written,
        padded=dict(sorted((padded or {}).items())),
        nodes={name: Lanes(**asdict(lanes[name])) for name in units},
    )


def _record(found: Found, first: Solution, spared: Resources | None, seconds: float) -> SolverRecord:
    """The proof against the first round: of the cycles, or of the share of a budget that was to be ``spared``."""
    gap = found.solution.gap
    if spared is not None:
        gap = max(0.0, relative_gap(found.solution.resources.scarcest(spared), first.share_bound)) or gap
    elif found.cycles > first.cycles_bound:
        gap = relative_gap(found.cycles, first.cycles_bound)
    status = "optimal" if gap == 0.0 else "feasible"
    return SolverRecord(name=found.solution.solver, status=status, gap=gap, seconds=seconds, cycles=found.cycles)


def _reserve(reserved: Resources, extra: Resources, over: Resources) -> Resources:
    """Return the resources to keep free next: of each that was exceeded, the last plan's use beyond the program's.

    At least one more than before, so that the same plan does not come back.
    """
    rows = zip(reserved, extra, over, strict=True)
    return Resources(*(max(old + 1, new) if short > 0 else old for old, new, short in rows))


def _in_fps(error: Infeasible, clock_mhz: float, fps: float | None, board: Board) -> NoRoom:
    """The same failure with rates instead of cycles."""
    what, hint = error.what, error.hint
    if error.cycles is not None and fps is not None:
        what = what.replace(f"{error.cycles} cycles a frame", f"{fps:,.0f} fps")
    if error.fitting is not None:
        hint = f"{int(clock_mhz * 1e6 / error.fitting):,} fps fit"
    return NoRoom(what, where=board.name, hint=hint)


def _too_fast(fps: float, memory: Bound, board: Board) -> NoRoom:
    """The units fit, but the memory does not feed them."""
    what = f"{fps:,.0f} fps are more than the memory allows, {memory.limited_by.removeprefix('memory: ')}"
    return NoRoom(what, where=board.name, hint=f"{int(memory.fps):,} fps fit")


def _no_room(slower: Found | None, clock_mhz: float, board: Board) -> NoRoom:
    """The units fit, what connects them does not."""
    hint = f"{int(clock_mhz * 1e6 / slower.cycles):,} fps fit" if slower else "use fewer bits, or take a larger board"
    return NoRoom("the units fit, but not with the converters and FIFOs between them", where=board.name, hint=hint)
