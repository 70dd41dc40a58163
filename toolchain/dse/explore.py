"""From an INTEGER graph and a board to the best plan that fits it, converters and FIFOs included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple

from toolchain.boards import Board
from toolchain.dse.cost import graph_cost
from toolchain.dse.cycles import graph_cycles
from toolchain.dse.options import READER, WRITER, expand
from toolchain.dse.plan import Lanes, Plan, SolverRecord
from toolchain.dse.resources import Resources
from toolchain.dse.solve import Infeasible, Solution, solve
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Reshape
from toolchain.ir.types import Parallelism
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.to_hardware import to_hardware

_ROUNDS = 12


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

    Width converters and deep FIFOs follow from a plan and are not in the integer program: when they push a plan over
    the budget, the program is solved again with the budget less what they took. The first round knows none of them,
    so its cycles bound every plan's, and the plan's gap is measured against it.

    Args:
        clock_mhz: clock of the fabric; the board's default without one.
        model: digest of the graph, recorded in the plan.
        time_limit: seconds for each round of the solver.

    Raises:
        UserError: nothing fits; names the resource that is short, by how much, and the rate that would fit.
    """
    clock = clock_mhz or board.clock.default_mhz
    target = None if target_fps is None else int(clock * 1e6 / target_fps)
    forked = insert_forks(graph)
    problem = expand(forked)
    start = time.monotonic()
    reserved = Resources()
    first: Solution | None = None
    for _ in range(_ROUNDS):
        budget = (board.budget - reserved).at_least(0)
        try:
            solution = solve(problem, budget, target_cycles=target, time_limit=time_limit, solver=solver)
        except Infeasible as error:
            raise _in_fps(error, clock, target_fps, board, reserved) from error
        first = first or solution
        plan = _plan(forked, solution.lanes, board.name, clock, model)
        hardware = to_hardware(forked, plan)
        used = graph_cost(hardware)
        if used.fits(board.budget):
            cycles = graph_cycles(hardware)
            record = _record(solution, first, cycles, target, time.monotonic() - start)
            return plan.model_copy(update={"solver": record})
        reserved = _reserve(reserved, used - solution.resources, used - board.budget)
    raise UserError(
        "the converters and FIFOs of every plan found exceed the budget",
        where=board.name,
        hint="ask for fewer frames per second with --target-fps",
    )


def _plan(graph: Graph, lanes: Mapping[str, Parallelism], board: str, clock: float, model: str) -> Plan:
    units = [node.name for node in graph.nodes if not isinstance(node, Reshape)]
    return Plan(
        model=model,
        board=board,
        clock_mhz=clock,
        input_lanes=lanes[READER].lanes_out,
        output_lanes=lanes[WRITER].lanes_in,
        nodes={name: Lanes(lanes_in=lanes[name].lanes_in, lanes_out=lanes[name].lanes_out) for name in units},
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


def _in_fps(error: Infeasible, clock_mhz: float, fps: float | None, board: Board, reserved: Resources) -> UserError:
    """The same failure with rates instead of cycles."""
    what, hint = error.what, error.hint
    if error.cycles is not None and fps is not None:
        what = what.replace(f"{error.cycles} cycles a frame", f"{fps:.0f} fps")
    if error.fitting is not None:
        hint = f"{int(clock_mhz * 1e6 / error.fitting)} fps fit"
    if reserved != Resources():
        what += " beside converters and FIFOs"
    return UserError(what, where=board.name, hint=hint)
