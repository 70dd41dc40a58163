"""The front of frame rate against resources: what slower accelerators save."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.boards import Board
from toolchain.dse.expand import expand
from toolchain.dse.solve import Solution, solve
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import hardware_form
from toolchain.resources import Resources


@dataclass(frozen=True)
class Point:
    """Least resources at ``cycles`` a frame: ``share`` is the scarcest one's, ``gap`` what is not proved of it."""

    fps: float
    cycles: int
    resources: Resources
    share: float
    gap: float


def front(
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    points: int = 8,
    time_limit: float = 60.0,
    solver: str = "highs",
) -> list[Point]:
    """Return at most ``points`` points from the fastest accelerator that fits on.

    Each is about the root of two slower than the one before and spares more of the scarcest resource.

    Raises:
        UserError: nothing fits.
    """
    budget = board.budget
    problem = expand(hardware_form(graph), ultra=budget.uram > 0)
    clock = (clock_mhz or board.clock.default_mhz) * 1e6
    seconds = time_limit / points

    def point(solution: Solution) -> Point:
        used = solution.resources
        return Point(clock / solution.cycles, solution.cycles, used, used.scarcest(budget), solution.gap)

    found = [point(solve(problem, budget, time_limit=time_limit, solver=solver))]
    slowest = problem.cycle_counts()[-1]
    for step in range(1, points):
        target = int(found[0].cycles * 2 ** (step / 2))
        if target > slowest:
            break
        new = point(solve(problem, budget, target_cycles=target, time_limit=seconds, solver=solver))
        if new.share < found[-1].share:
            found.append(new)
    return found
