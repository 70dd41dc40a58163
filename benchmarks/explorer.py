"""The explorer: optimal by brute force, on published networks, and beside two other tools' searches.

Rows of kind "oracle", "network", "peer", "search", "recosted" and "random" in results/explorer.json, and
docs/figures/explorer.svg.
Networks in FPGAFLOW_DATA/models are read where they are; others are structures with random weights.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path

from rich.console import Console

from benchmarks.common import Row, costs
from benchmarks.figures import Point, scatter_svg
from benchmarks.peers import TOOLS, rate
from benchmarks.recosted import recosted
from benchmarks.schemas import EXPLORER
from benchmarks.structures import Network, cnv, lenet5, resnet20, ultranet
from tests.dse.test_solve import brute_force, random_problem
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.dse.problem import Problem
from toolchain.dse.solve import Infeasible, Solution, solve
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.frontend.read import read_qonnx
from toolchain.ir.graph import Graph
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.pipeline import to_hardware
from toolchain.resources import Resources
from toolchain.units.totals import graph_cost

BOARD = load_board("zu3eg")
FIGURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "explorer.svg"
INSTANCES = 300
PARTS = ("oracle", "networks", "searches", "recosted", "random")

# What the tools themselves predict on ZU3EG at 250 MHz: NN2FPGA a18c6e96, FINN (finn-plus 1.6.1), run in November 2026
PUBLISHED: dict[str, tuple[tuple[str, float], ...]] = {
    "resnet8_a8w8b16": (("NN2FPGA", 7629.4), ("FINN", 6782.0)),
    "resnet20_w8a8": (("NN2FPGA", 1907.3),),
    "cnv_w2a2": (("FINN", 9965.0), ("FINN with its word limit raised", 13_304.0)),
    "kws_w3a3_mlperf_tiny_v0.7": (("FINN", 510_204.0),),
    "TFC_2W2A": (("FINN", 5_102_041.0), ("FINN with its word limit raised", 12_500_000.0)),
    "lenet5_w4a4": (("FINN", 63_776.0), ("FINN with its word limit raised", 243_665.0)),
}
# Rates that published designs on this part suggest; UltraNet is the DAC-SDC 2022 runner-up's 102,400 cycles
TARGETS = {"resnet8_a8w8b16": 14_000.0, "resnet20_w8a8": 3_600.0, "ultranet_w4a4": 250e6 / 102_400}


def model(name: str) -> Callable[[], Graph]:
    """The INTEGER graph of a file in FPGAFLOW_DATA/models."""
    path = Path(os.environ["FPGAFLOW_DATA"]) / "models" / f"{name}.onnx"
    return lambda: to_integer(read_qonnx(path).graph)


def networks() -> dict[str, Callable[[], Graph]]:
    """The published networks by name; files only where there is data."""
    found: dict[str, Callable[[], Graph]] = {}
    if "FPGAFLOW_DATA" in os.environ:
        found |= {name: model(name) for name in ("resnet8_a8w8b16", "TFC_2W2A", "kws_w3a3_mlperf_tiny_v0.7")}
    structures = {"resnet20_w8a8": resnet20, "lenet5_w4a4": lenet5, "ultranet_w4a4": ultranet}
    return found | structures | {f"cnv_w{bits}a{bits}": lambda bits=bits: cnv(bits) for bits in (1, 2)}


def oracle(instances: int) -> Row:
    """Random instances with converters: HiGHS against brute force and against CBC."""
    counts = dict.fromkeys(("instances", "infeasible", "equal_brute_force", "better_than_cbc", "worse_than_cbc"), 0)
    for seed in range(instances):
        problem, budget = random_problem(seed)
        target = None if seed % 2 else 60
        expected = brute_force(problem, budget, target)
        ours, cbc = (_key(_try(problem, budget, target, name), budget, target) for name in ("highs", "cbc"))
        counts["instances"] += 1
        counts["infeasible"] += expected is None
        counts["equal_brute_force"] += ours == (expected and (expected[0], round(expected[1], 6), expected[2]))
        counts["better_than_cbc"] += ours is not None and (cbc is None or ours < cbc)
        counts["worse_than_cbc"] += cbc is not None and (ours is None or cbc < ours)
    return {"kind": "oracle", **counts}


def _try(problem: Problem, budget: Resources, target: int | None, solver: str) -> Solution | None:
    try:
        return solve(problem, budget, target_cycles=target, solver=solver)
    except Infeasible:
        return None


def _key(found: Solution | None, budget: Resources, target: int | None) -> tuple[float, float, int] | None:
    if found is None:
        return None
    cycles = found.cycles if target is None else 0
    return cycles, round(found.resources.scarcest(budget), 6), found.mismatches


def network_rows(name: str, graph: Graph, time_limit: float) -> Iterator[Row]:
    """Our plan of ``graph`` beside what the tools themselves predict; ``time_limit`` seconds a call of the solver."""
    start, started = time.monotonic(), time.process_time()
    plan = explore(graph, BOARD, time_limit=time_limit)
    seconds, busy, solver = time.monotonic() - start, time.process_time() - started, plan.solver
    assert solver is not None
    fps, used = plan.clock_mhz * 1e6 / solver.cycles, graph_cost(to_hardware(graph, plan))
    target = TARGETS.get(name)
    yield {
        "kind": "network",
        "network": name,
        "fps": round(fps, 1),
        "cycles": solver.cycles,
        **costs(used),
        "status": solver.status,
        "gap": solver.gap,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(busy, 2),  # other programs do not count
        "limited_by": solver.limited_by,
        "prices": "; ".join(solver.prices),
        "bound_fps": round(solver.bound_fps or 0.0, 1),
        "target_fps": target,
        "target_met": None if target is None else fps >= target,
    }
    for tool, theirs in PUBLISHED.get(name, ()):
        row: Row = {"kind": "peer", "network": name, "tool": f"{tool}, its own prediction", "fps": theirs}
        yield row | {"ratio": round(fps / theirs, 2)}


def search_rows(chosen: Mapping[str, Callable[[], Graph]]) -> Iterator[Row]:
    """Yield, for the ``chosen`` networks with a row, the choices of the other searches in our model."""
    rows = EXPLORER.rows()
    rates = {row["network"]: row["fps"] for row in rows if row["kind"] == "network"}
    for name, build in chosen.items():
        if name in rates:
            yield from (row | {"kind": "search"} for row in _searches(name, build(), rates[name]))


def _searches(name: str, graph: Graph, fps: float) -> Iterator[Row]:
    for tool, search in TOOLS.items():
        found = search(graph, BOARD)
        theirs = rate(found, 250.0)
        row: Row = {
            "kind": "peer",
            "network": name,
            "tool": f"{tool}, in our model",
            "fps": theirs and round(theirs, 1),
        }
        if found is not None and theirs is not None:
            row |= {**costs(found[1]), "ratio": round(fps / theirs, 2)}
        yield row


def random_network(seed: int) -> Graph:
    """Two to five convolutions with pools and a dense layer; widths of 2 to 8 bits."""
    rng = random.Random(seed)
    net = Network((rng.choice([12, 16, 24]),) * 2 + (3,), rng.choice([2, 4, 8]), rng.choice([2, 4, 8]))
    x = net.input
    for _ in range(rng.randint(2, 5)):
        x = net.layer(x, rng.choice([8, 12, 16, 24, 32]), rng.choice([1, 3]))
        if rng.random() < 0.4 and x.shape[0] % 2 == 0 and x.shape[0] > 4:
            x = net.pool(x)
    return net.graph(f"random{seed}", net.dense(net.global_sum(x), [10]))


def random_rows(count: int) -> Iterator[Row]:
    """Ours beside the other searches on random networks, all in our cost model."""
    for seed in range(count):
        graph = random_network(seed)
        try:
            plan = explore(graph, BOARD)
        except UserError:
            continue
        assert plan.solver is not None
        for row in _searches(graph.name, graph, 250e6 / plan.solver.cycles):
            yield row | {"kind": "random"}


def figure(rows: list[Row]) -> str:
    """Our rate over theirs."""
    ours = {str(r["network"]): float(r["fps"] or 0) for r in rows if r["kind"] == "network"}
    points = [
        Point(float(r["fps"]), ours[str(r["network"])], str(r["tool"]).replace(",", ":"))
        for r in rows
        if r["kind"] in ("peer", "search") and r["fps"] and str(r["network"]) in ours
    ]
    return scatter_svg(points, "frames per second of the other tool's choice", "frames per second of this explorer")


def save(rows: list[Row], replaced: set[str], only: set[str] | None = None) -> None:
    """Write ``rows`` in place of those of the ``replaced`` kinds, ``only`` those of some networks; and the figure."""
    EXPLORER.replace(rows, lambda row: row["kind"] in replaced and (only is None or row["network"] in only))
    recorded = EXPLORER.rows()
    if any(row["kind"] == "network" for row in recorded):
        write_text(FIGURE, figure(recorded))


def main() -> None:
    """Run the parts that are asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run")
    parser.add_argument("--instances", type=int, default=INSTANCES, help="of the brute force")
    parser.add_argument("--random", type=int, default=20, help="random networks")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of the published networks only these")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds a call of the solver, of networks")
    asked = parser.parse_args()
    chosen = {name: build for name, build in networks().items() if name in (asked.networks or [name])}
    only = set(chosen) if asked.networks else None
    console = Console()
    if "oracle" in asked.parts:
        found = oracle(asked.instances)
        console.print(found)
        save([found], {"oracle"})
    if "networks" in asked.parts:
        rows: list[Row] = []
        for name, build in chosen.items():
            for row in network_rows(name, build(), asked.time_limit):
                console.print(row)
                rows.append(row)
            save(rows, {"network", "peer"}, only)
    if "searches" in asked.parts:
        rows = []
        for row in search_rows(chosen):
            console.print(row)
            rows.append(row)
            save(rows, {"search"}, only)
    if "recosted" in asked.parts:
        rows = [row for name, build in networks().items() for row in recosted(name, build(), BOARD)]
        for row in rows:
            console.print(row)
        save(rows, {"recosted"})
    if "random" in asked.parts:
        rows = list(random_rows(asked.random))
        ratios = [float(row["ratio"]) for row in rows if row.get("ratio")]
        mean = prod(ratios) ** (1 / len(ratios))
        console.print(f"random networks: {len(ratios)} ratios, least {min(ratios)}, geometric mean {mean:.2f}")
        save(rows, {"random"})


if __name__ == "__main__":
    main()
