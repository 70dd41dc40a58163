"""Random QONNX graphs are exact or refused, and the check says the same: counts over seeds, resumable.

    python -m benchmarks fuzz_qonnx --graphs 20000 --processes 2 --seconds 480

A graph of ``random_wide``, or with ``--curves`` of ``random_curves``, with ``--geometry`` of ``random_geometry``, with
``--tokens`` of ``random_tokens``, fails where the integer network gives a code that float32's rounding does not
explain, or where anything but a refusal is raised; it differs where ``check`` and the export have other verdicts or
other reasons. Blocks of seeds run in processes of their own; a run that was stopped goes on from the first block that
is missing, and tries again the seeds that failed. ``--first`` draws from other seeds.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.recorder import FOLDER, Results
from benchmarks.schemas import FUZZ, FUZZ_CURVES, FUZZ_GEOMETRY, FUZZ_TOKENS
from tests.random_curves import random_curves
from tests.random_geometry import random_geometry
from tests.random_qonnx import agreement
from tests.random_tokens import random_tokens
from tests.random_wide import random_wide
from tests.verdicts import demand_verdict, lowered
from toolchain.errors import UserError

BLOCK = 100
LAYERS: dict[str, tuple[Callable[[Path, int], Path], Results]] = {
    "wide": (random_wide, FUZZ),
    "curves": (random_curves, FUZZ_CURVES),
    "geometry": (random_geometry, FUZZ_GEOMETRY),
    "tokens": (random_tokens, FUZZ_TOKENS),
}
"""The generators of networks by name, each with the file of its counts."""


@dataclass
class Block:
    """The outcome of a block of seeds: counts, and the seeds that failed or differ."""

    exact: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: list[list[Any]] = field(default_factory=list)
    differs: list[list[Any]] = field(default_factory=list)
    codes: int = 0
    ties: int = 0
    seconds: float = 0.0

    def add(self, other: Block) -> None:
        """Count ``other`` too."""
        self.exact, self.codes, self.ties = self.exact + other.exact, self.codes + other.codes, self.ties + other.ties
        self.refused.update(other.refused)
        self.failed += other.failed
        self.differs += other.differs
        self.seconds = round(self.seconds + other.seconds, 1)


def tried(seeds: list[int], layers: str) -> Block:
    """The networks of ``seeds``, one after the other."""
    warnings.simplefilter("ignore")
    block, started = Block(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            one(block, Path(folder) / "net.onnx", seed, layers)
    block.seconds = time.process_time() - started
    return block


def one(block: Block, path: Path, seed: int, layers: str) -> None:
    """Count the network of ``seed``; a failure of any kind is what this looks for, and keeps its seed."""
    try:
        built = lowered(LAYERS[layers][0](path, seed))
        found = None if isinstance(built, UserError) else agreement(*built, seed)
    except Exception as error:  # noqa: BLE001  every exception is a finding
        block.failed.append([seed, f"{type(error).__name__}: {str(error)[:160]}"])
        return
    fault = built if isinstance(built, UserError) else None
    try:
        demand_verdict(path, fault)
    except Exception as error:  # noqa: BLE001  as above
        block.differs.append([seed, f"{type(error).__name__}: {str(error)[:160]}"])
        return  # counted when it is tried again
    if found is None:
        block.refused[kind(fault)] += 1
        return
    block.exact, block.codes, block.ties = block.exact + 1, block.codes + found.codes, block.ties + found.mismatches


def kind(fault: UserError | None) -> str:
    """A refusal without its numbers and names."""
    what = "" if fault is None else fault.what
    what = re.sub(r" at \S+$", "", what)
    return re.sub(r"\([^)]*\)|\[[^]]*\]|'[^']*'|-?\d[\d.]*(e[-+]?\d+)?", "#", what)


def main() -> int:
    """Go on from the last run; 1 if a network failed or a verdict differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--curves", dest="layers", action="store_const", const="curves", default="wide",
                        help="networks of smooth functions and products")  # fmt: skip
    parser.add_argument("--geometry", dest="layers", action="store_const", const="geometry",
                        help="networks that move the positions and channels of maps")  # fmt: skip
    parser.add_argument("--tokens", dest="layers", action="store_const", const="tokens",
                        help="networks of attention, norms, class tokens, gathers, several inputs")  # fmt: skip
    arguments = parser.parse_args()
    results = replace(LAYERS[arguments.layers][1], folder=arguments.results)
    total, done = Block(), set[int]()
    for row in results.rows():
        if row["first"] == arguments.first:
            total = Block(**{key: row[key] for key in asdict(total)})
            total.refused = Counter(total.refused)
            done = set(row["blocks"])
    starts = range(arguments.first, arguments.first + arguments.graphs, BLOCK)
    work = [list(range(start, min(start + BLOCK, starts.stop))) for start in starts if start not in done]
    again = [seed for seed, _ in (*total.failed, *total.differs)]  # perhaps mended since
    total.failed, total.differs = [], []
    total.add(tried(again, arguments.layers))
    deadline = time.monotonic() + arguments.seconds
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        running: dict[Future[Block], list[int]] = {}
        while running or (work and time.monotonic() < deadline):
            while work and len(running) < arguments.processes and time.monotonic() < deadline:
                seeds = work.pop(0)
                running[pool.submit(tried, seeds, arguments.layers)] = seeds
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seeds = running.pop(future)
                total.add(future.result())
                done.add(seeds[0])
                save(results, total, done, arguments)
    print(results.path.read_text())
    return int(bool(total.failed or total.differs))


def save(results: Results, total: Block, done: set[int], arguments: argparse.Namespace) -> None:
    """Write the row with how it came about."""
    refused = dict(total.refused.most_common())
    end = arguments.first + arguments.graphs
    graphs = sum(min(BLOCK, end - start) for start in done)
    row: dict[str, Any] = {"first": arguments.first, "graphs": graphs, "seeds": f"{arguments.first}..{end - 1}"}
    row |= {
        "failures": len(total.failed),
        "verdicts_that_differ": len(total.differs),
        "refusals": sum(refused.values()),
    }
    row |= asdict(total) | {"refused": refused, "blocks": sorted(done)}
    row["command"] = f"python -m benchmarks fuzz_qonnx --graphs {arguments.graphs} --processes {arguments.processes}"
    row["command"] += "" if arguments.layers == "wide" else f" --{arguments.layers}"
    results.replace([row])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
