"""From an INTEGER graph and a board to the best plan that fits it, converters and FIFOs included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass

from toolchain.boards import Board
from toolchain.dse.cost import graph_cost
from toolchain.dse.cycles import graph_cycles
from toolchain.dse.options import READER, WRITER, expand
from toolchain.dse.plan import Lanes, Plan, SolverRecord
from toolchain.dse.problem import Problem
from toolchain.dse.resources import Resources
from toolchain.dse.solve import Infeasible, Solution, solve
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Reshape
from toolchain.ir.types import Parallelism
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.to_hardware import to_hardware

_ROUNDS = 4


def explore(
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    target_fps: float | None = None,
    model: str = "",
    time_limit: float = 60.0,
    solver: str = "highs",
) -> Plan:
    """The plan of most frames per second on ``board``, or of least resources at ``target_fps``.

    Width converters and deep FIFOs follow from a plan and are not in the integer program. Where they push every plan
    at the least cycles over the budget, the next larger cycle counts are searched; the program's least cycles, which
    know none of them, bound every plan's, and the plan's gap is measured against them.

    Args:
        clock_mhz: clock of the fabric; the board's default without one.
        model: digest of the graph, recorded in the plan.
        time_limit: seconds for each call of the solver.

    Raises:
        UserError: nothing fits; names the resource that is short, by how much, and the rate that would fit.
    """
    clock = clock_mhz or board.clock.default_mhz
    target = None if target_fps is None else int(clock * 1e6 / target_fps)
    forked, start = insert_forks(graph), time.monotonic()
    search = _Search(forked, expand(forked), board, clock, model, time_limit, solver)
    try:
        first = search.solve(Resources(), target)
    except Infeasible as error:
        raise _in_fps(error, clock, target_fps, board) from error
    found = search.fit(first.cycles if target is None else target)
    if found is None:
        slower = search.fit_slower(first.cycles)
        if slower is None or target is not None:
            raise _no_room(slower, clock, board)
        found = slower
    plan, solution, cycles = found
    record = _record(solution, first, cycles, target, time.monotonic() - start)
    return plan.model_copy(update={"solver": record})


Found = tuple[Plan, Solution, int]  # a plan that fits, where it stems from, its cycles a frame


@dataclass(frozen=True)
class _Search:
    """Plans that fit the board with everything that follows from them."""

    graph: Graph
    problem: Problem
    board: Board
    clock_mhz: float
    model: str
    time_limit: float
    solver: str

    def solve(self, reserved: Resources, cycles: int | None) -> Solution:
        budget = (self.board.budget - reserved).at_least(0)
        return solve(self.problem, budget, target_cycles=cycles, time_limit=self.time_limit, solver=self.solver)

    def fit(self, cycles: int) -> Found | None:
        """A plan of at most ``cycles``: what converters and FIFOs exceed is kept free in the next round."""
        reserved = Resources()
        for _ in range(_ROUNDS):
            try:
                solution = self.solve(reserved, cycles)
            except Infeasible:
                return None
            plan = _plan(self.graph, solution.lanes, self.board.name, self.clock_mhz, self.model)
            hardware = to_hardware(self.graph, plan)
            used, slowest = graph_cost(hardware), graph_cycles(hardware)
            if used.fits(self.board.budget) and slowest <= cycles:
                return plan, solution, slowest
            reserved = _reserve(reserved, used - solution.resources, used - self.board.budget)
        return None

    def fit_slower(self, cycles: int) -> Found | None:
        """A plan of few more than ``cycles``: growing steps over the options' cycle counts, then bisection."""
        counts = sorted({o.cycles for d in self.problem.decisions for o in d.options if o.cycles > cycles})
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


def _plan(graph: Graph, lanes: Mapping[str, Parallelism], board: str, clock: float, model: str) -> Plan:
    units = [node.name for node in graph.nodes if not isinstance(node, Reshape)]
    return Plan(
        model=model,
        board=board,
        clock_mhz=clock,
        input_lanes=lanes[READER].lanes_out,
        output_lanes=lanes[WRITER].lanes_in,
        nodes={name: Lanes(**asdict(lanes[name])) for name in units},
    )


def _record(solution: Solution, first: Solution, cycles: int, target: int | None, seconds: float) -> SolverRecord:
    """The proof: without a target of the cycles against the first round's, with one of the resources."""
    gap = solution.gap
    if target is None and cycles > first.cycles_bound:
        gap = (cycles - first.cycles_bound) / cycles
    status = "optimal" if gap == 0.0 else "feasible"
    return SolverRecord(name=solution.solver, status=status, gap=gap, seconds=seconds, cycles=cycles)


def _reserve(reserved: Resources, extra: Resources, over: Resources) -> Resources:
    """What to keep free in the next round: of each resource that was exceeded, what the last plan took on top.

    At least one more than before, so that the same plan does not come back.
    """
    rows = zip(astuple(reserved), astuple(extra), astuple(over), strict=True)
    return Resources(*(max(old + 1, new) if short > 0 else old for old, new, short in rows))


def _in_fps(error: Infeasible, clock_mhz: float, fps: float | None, board: Board) -> UserError:
    """The same failure with rates instead of cycles."""
    what, hint = error.what, error.hint
    if error.cycles is not None and fps is not None:
        what = what.replace(f"{error.cycles} cycles a frame", f"{fps:.0f} fps")
    if error.fitting is not None:
        hint = f"{int(clock_mhz * 1e6 / error.fitting)} fps fit"
    return UserError(what, where=board.name, hint=hint)


def _no_room(slower: Found | None, clock_mhz: float, board: Board) -> UserError:
    """The units fit, what connects them does not."""
    hint = f"{int(clock_mhz * 1e6 / slower[2])} fps fit" if slower else "use fewer bits, or take a larger board"
    return UserError("the units fit, but not with the converters and FIFOs between them", where=board.name, hint=hint)
