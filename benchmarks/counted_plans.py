"""Plans by estimates and by counts: whether each fits by what yosys counts, and what planning by counts took.

    fpgaflow explore NETWORK --out BUILD        # any of a network's builds, of which the network alone is read
    python -m benchmarks counted_plans BUILD ... [--only-counted] [--threads 1]
    python -m benchmarks counted_plans cnv_w2a2 # or a network of `python -m benchmarks explorer`

A row is a plan: its rate, what it takes by estimates and by counts, both ends included, and, of a plan by counts, the
time of planning and how many designs yosys counted for it. Counts are cached by digest: a run that was killed goes on,
and a second run is a warm one.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

from benchmarks.common import Row, print_rows, timed
from benchmarks.explorer import networks
from benchmarks.rtl import compared
from benchmarks.schemas import COUNTED_PLANS
from toolchain.boards import load_board
from toolchain.dse.counted import Counting, counted_cost
from toolchain.dse.explore import explore
from toolchain.flow.build import Build
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import to_hardware
from toolchain.plan import Plan
from toolchain.simulate.cache import cache_folder
from toolchain.units.totals import graph_cost

BOARD = load_board("zu3eg")


def main() -> None:
    """Plan, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="BUILD")
    parser.add_argument("--only-counted", action="store_true", help="nothing of the plan by estimates")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    counting = Counting(jobs=given.threads, progress=lambda done, of: print(f"{done}/{of}", flush=True))
    known = networks()
    for text in given.networks:
        graph = known[text]() if text in known else Build(Path(text)).network.graph
        name = Path(text).name
        before = _designs()
        plan, spent = timed(lambda graph=graph: explore(graph, BOARD, counting=counting))  # type: ignore[misc]
        took: Row = {"designs": _designs() - before, "threads": given.threads}
        took |= {"seconds": round(spent.wall, 1), "cpu_seconds": round(spent.cpu, 1)}
        took |= {"peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)}
        rows = [{"network": name, "costs": "counted", **_plan(graph, plan, counting), **took}]
        if not given.only_counted:
            rows.append({"network": name, "costs": "estimated", **_plan(graph, explore(graph, BOARD), counting)})
        COUNTED_PLANS.record(*({"warm": row.get("designs") == 0, **row} for row in rows))
        print_rows(name, rows, {column: column for column in rows[0]})


def _plan(graph: Graph, plan: Plan, counting: Counting) -> Row:
    """A plan's rate and what it takes."""
    hardware, solver = to_hardware(graph, plan), plan.solver
    assert solver is not None
    counts = counted_cost(hardware, counting)
    return {
        "fps": round(plan.clock_mhz * 1e6 / solver.cycles, 1),
        "cycles": solver.cycles,
        "status": solver.status,
        **compared(graph_cost(hardware), counts),
        "budget_lut": BOARD.budget.lut,
        "fits": counts.fits(BOARD.budget),
    }


def _designs() -> int:
    """Counts that the cache holds."""
    return len(list((cache_folder() / "lib").glob("*.json")))


if __name__ == "__main__":
    main()
