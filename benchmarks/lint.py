"""The lint over the projects of published networks: what a synthesis tool would refuse, serialize or build larger.

    python -m benchmarks lint [--only NAME] [--time-limit 20]

Streaming accelerators are planned for the ZU3EG, engines searched for it. Rows of other networks stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.common import Row, print_rows, timed
from benchmarks.engine import ENGINE, find
from benchmarks.engine import NETWORKS as ENGINES
from benchmarks.explorer import BOARD, networks
from benchmarks.schemas import LINT
from toolchain.dse.explore import explore
from toolchain.engine.cut import cut
from toolchain.engine.project import project
from toolchain.engine.tables import program
from toolchain.hls_lint.lint import lint
from toolchain.hls_templates.generate import generate
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import to_hardware

CLOCK_MHZ = 250.0
COLUMNS = {
    "network": "network",
    "architecture": "architecture",
    "sources": "sources",
    "lines": "lines",
    "memories": "loaded and stored",
    "findings": "findings",
    "cpu_seconds": "CPU s",
}

Files = dict[str, str]


def streaming(graph: Graph, seconds: float) -> Files:
    """The project of the fastest streaming accelerator that ``seconds`` of the solver find."""
    return generate(to_hardware(graph, explore(graph, BOARD, time_limit=seconds)), BOARD, CLOCK_MHZ)


def engine(graph: Graph, seconds: float) -> Files:
    """The project of the engine, without what is no text."""
    found = find(graph, BOARD, ENGINE, seconds)
    files = project(graph, program(cut(graph), found.shape, found.placement), BOARD, CLOCK_MHZ)
    return {path: text for path, text in files.items() if isinstance(text, str)}


def cases() -> Iterator[tuple[str, str, Callable[[], Graph], Callable[[Graph, float], Files]]]:
    """Name and architecture of every project, and how it is made."""
    for name, build in networks().items():
        yield name, "streaming", build, streaming
    for name, weights, acts, build in ENGINES:
        yield f"{name} W{weights}A{acts}", "engine", build, engine


def measured(files: Files) -> Row:
    """Lint a project; return its findings and the extent of what was read."""
    report, spent = timed(partial(lint, files))
    for finding in report.findings:
        print(finding)
    sources = [text for path, text in files.items() if path.startswith("src/") and path.endswith(".cpp")]
    return {
        "sources": len(sources),
        "lines": sum(text.count("\n") for path, text in files.items() if path.startswith(("src/", "include/"))),
        "findings": len(report.findings),
        "memories": len(report.distances),
        "cpu_seconds": round(spent.cpu, 1),
    }


def main() -> int:
    """Lint, write the rows, print them; 1 if anything is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds a call of the solver")
    arguments = parser.parse_args()
    for name, architecture, build, make in cases():
        if arguments.only.lower() in name.lower():
            facts: Row = {"network": name, "architecture": architecture}
            LINT.record(facts | measured(make(build(), arguments.time_limit)))
    rows = LINT.rows()
    print_rows("Findings of the lint", rows, COLUMNS)
    return int(any(row["findings"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
