"""Networks in SystemVerilog: simulated by Verilator, counted by yosys beside the estimates, unit by unit.

    fpgaflow explore NETWORK --out BUILD        # any of a network's builds
    python -m benchmarks rtl BUILD [BUILD ...] [--images 6] [--simulate | --count] [--threads 2]

A network's row (``unit`` empty): codes that differ from the evaluator over random images, without and with pauses at
both ends; the most cycles from one frame's end to the next's, of the SystemVerilog and of the cycle simulator with the
same pipelines; seconds to build the program, from an empty cache, and frames it simulates a CPU second. A unit's row:
what the cost model says of it with the streams that it writes, and what yosys counts; their sums, and what counting
took, under ``all``. The reader and the writer are not counted. Counts are cached by digest: a run that was killed goes
on.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.common import Row, print_rows, timed
from benchmarks.part_counts import part_columns
from benchmarks.recorder import today
from benchmarks.schemas import RTL
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.streaming import Streaming
from toolchain.ir.encode import random_codes
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.resources import Resources, total
from toolchain.rtl.count import count_units, designs, known
from toolchain.rtl.generate import generate_rtl, rtl_bundles, rtl_top
from toolchain.rtl.simulate import NO_PAUSES, Pauses, RtlSimulation, expected_ends, interval
from toolchain.rtl.verilate import simulation
from toolchain.units.totals import cost

COMPARED = ("lut", "ff", "dsp", "bram18")  # the board has no UltraRAM
PAUSES = (NO_PAUSES, Pauses(64, 64, 2), Pauses(0, 192, 3), Pauses(192, 0, 4))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", type=Path, metavar="BUILD")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--simulate", action="store_true", help="no counts")
    only.add_argument("--count", action="store_true", help="no simulation")
    given = parser.parse_args()
    for folder in given.builds:
        design = Build(folder).design
        if not isinstance(design, Streaming):
            raise UserError("only the streaming architecture has SystemVerilog", where=str(folder))
        if not given.count:
            with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, FPGAFLOW_CACHE=name):
                row = simulated(folder.name, design.hardware, given.images, given.threads)
            RTL.record(row)
            print_rows(folder.name, [row], {name: name for name in row})
        if not given.simulate:
            rows = list(counted(folder.name, design.hardware, given.threads))
            RTL.record(*rows)
            print_rows(folder.name, rows, {name: name for name in rows[0]})


def simulated(name: str, graph: Graph, images: int, threads: int) -> Row:
    """Codes, cycles and speed of a network."""
    files = generate_rtl(graph)
    program, spent = timed(lambda: simulation(files, rtl_top(graph), ports=len(rtl_bundles(graph)), jobs=threads))
    run = RtlSimulation(graph, files, program)
    codes = random_codes(graph, images)
    right = evaluate(graph, codes)
    before = _cpu_of_programs()
    free = run.run(codes, PAUSES[0])
    seconds = _cpu_of_programs() - before
    runs = [free, *(run.run(codes, pauses) for pauses in PAUSES[1:])]
    ends = expected_ends(graph, images)
    return {
        "network": name,
        "unit": "",
        "images": images,
        "runs": len(runs),
        "wrong_codes": sum(int((run.codes[name] != right[name]).sum()) for run in runs for name in run.codes),
        "interval": interval(free.frame_ends),
        "model_interval": interval(ends),
        "equal_frame_ends": sum(a == b for a, b in zip(free.frame_ends, ends, strict=True)),
        "build_seconds": round(spent.wall, 1),
        "build_cpu_seconds": round(spent.cpu, 1),
        "frames_a_second": round(images / seconds, 2),
        "cycles_a_second": round(free.frame_ends[-1] / seconds),
    }


def _cpu_of_programs() -> float:
    """CPU seconds of all programs that have run: what one takes does not depend on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def counted(name: str, graph: Graph, threads: int) -> Iterator[Row]:
    """Estimate and count of every unit that yosys took, and of all of them."""
    unlike = {design.digest: design for parts in designs(graph).values() for design in parts}
    cached = sum(known(design) is not None for design in unlike.values())
    found, spent = timed(lambda: count_units(graph, jobs=threads, progress=_tell))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    pairs = []
    for node in graph.nodes:
        if node.name not in found:
            continue
        result = found[node.name]
        if isinstance(result, str):
            print(result)
            continue
        pairs.append((cost(node, graph), result))
        columns = compared(*pairs[-1]) | part_columns(graph, node, streams=True)
        yield {"network": name, "unit": node.name, "op": type(node).__name__, **columns}
    estimate, count = (total(pair[i] for pair in pairs) for i in (0, 1))
    took: Row = {"designs": len(unlike), "cached": cached, "threads": threads, "peak_mb": round(peak)}
    took |= {"seconds": round(spent.wall, 1), "cpu_seconds": round(spent.cpu, 1)}
    yield {"network": name, "unit": "all", "units": len(pairs), **compared(estimate, count), **took}


def compared(estimate: Resources, count: Resources) -> Row:
    """Estimated and counted resources as columns."""
    columns = {"estimated": estimate, "counted": count}
    numbers = {f"{what}_{kind}": n for what, found in columns.items() for kind, n in zip(COMPARED, found, strict=False)}
    return {"estimated_on": today(), **numbers}


def _tell(done: int, of: int) -> None:
    print(f"{done}/{of}", flush=True)


if __name__ == "__main__":
    main()
