"""Plans by estimates and by counts: whether each fits by what yosys counts, and what planning by counts took.

    fpgaflow explore NETWORK --out BUILD        # any of a network's builds, of which the network alone is read
    python -m benchmarks counted_plans BUILD ... [--only-counted] [--threads 1]
    python -m benchmarks counted_plans cnv_w2a2 # or a network of `python -m benchmarks explorer`
    python -m benchmarks counted_plans BUILD ... --forecast

A row is a plan: its rate, what it takes by estimates and by counts, both ends included, and, of a plan by counts, the
time of planning and how many designs yosys counted for it. Counts are cached by digest: a run that was killed goes on,
and a second run is a warm one. A forecast counts nothing: products with weights in a memory are taken at the fit of
`benchmarks.part_counts`, others at their estimates times what the counts of their kind in networks are of theirs.
"""

from __future__ import annotations

import argparse
import resource
from collections import defaultdict
from pathlib import Path

from benchmarks.common import Row, print_rows, timed
from benchmarks.explorer import networks
from benchmarks.part_counts import coefficients, part_columns
from benchmarks.rtl import compared
from benchmarks.schemas import COUNTED_PLANS, RTL, UNIT_COUNTS
from toolchain.boards import load_board
from toolchain.dse.counted import Counting, counted_cost
from toolchain.dse.explore import explore
from toolchain.flow.build import Build
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.passes.pipeline import to_hardware
from toolchain.plan import Plan
from toolchain.simulate.cache import cache_folder
from toolchain.units.totals import cost, graph_cost

BOARD = load_board("zu3eg")


def main() -> None:
    """Plan, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="BUILD")
    parser.add_argument("--forecast", action="store_true", help="what the plans by estimates would be counted with")
    parser.add_argument("--only-counted", action="store_true", help="nothing of the plan by estimates")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    counting = Counting(jobs=given.threads, progress=lambda done, of: print(f"{done}/{of}", flush=True))
    known = networks()
    for text in given.networks:
        graph = known[text]() if text in known else Build(Path(text)).network.graph
        name = Path(text).name
        if given.forecast:
            row = _forecast(graph, explore(graph, BOARD))
            COUNTED_PLANS.record({"network": name, "costs": "forecast", **row})
            print(name, row)
            continue
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


def _forecast(graph: Graph, plan: Plan) -> Row:
    """LUTs of a plan by fits to the counts that are known."""
    hardware, solver, rows = to_hardware(graph, plan), plan.solver, [row for row in RTL.rows() if "op" in row]
    assert solver is not None
    weights = coefficients([*rows, *UNIT_COUNTS.rows()], MatVec.__name__)
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in (row for row in rows if row.get("fit") != MatVec.__name__):
        sums[row["op"]][0] += row["estimated_lut"]
        sums[row["op"]][1] += row["counted_lut"]
    luts = float(graph_cost(hardware).lut)
    for node in hardware.nodes:
        if node.parallelism is None or node.renames:
            continue
        estimate = cost(node, hardware).lut
        estimated, counted = sums[type(node).__name__]
        found = part_columns(hardware, node, streams=True) if isinstance(node, MatVec | GroupedMatVec) else {}
        likely = estimate * counted / estimated if estimated else estimate
        luts += (sum(weights[name] * part for name, part in found["parts"].items()) if found else likely) - estimate
    return {
        "fps": round(plan.clock_mhz * 1e6 / solver.cycles, 1),
        "cycles": solver.cycles,
        "estimated_lut": graph_cost(hardware).lut,
        "forecast_lut": round(luts),
        "budget_lut": BOARD.budget.lut,
    }


def _designs() -> int:
    """Counts that the cache holds."""
    return len(list((cache_folder() / "lib").glob("*.json")))


if __name__ == "__main__":
    main()
