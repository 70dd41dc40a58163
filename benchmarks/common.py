"""What every benchmark needs: time spent, the conditions of a run, rows as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from toolchain.files import write_text
from toolchain.simulate.compiler import compiler

RESULTS = Path(__file__).resolve().parent / "results"
MIN_WIDTH = 150  # of a table, where the output is no terminal

Cell = str | int | float | bool | None
Row = dict[str, Cell]
T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """Seconds of a call: on the clock, and of all processors, child processes included."""

    wall: float
    cpu: float


def timed(call: Callable[[], T]) -> tuple[T, Spent]:
    """The result of ``call`` and what it took."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = call()
    return result, Spent(time.perf_counter() - wall, _cpu_seconds() - cpu)


def middle(runs: Sequence[Spent]) -> Spent:
    """The medians of several runs."""
    return Spent(median(run.wall for run in runs), median(run.cpu for run in runs))


def hardware() -> str:
    """Processor, cores and compiler of this machine, and how busy it is."""
    load = os.getloadavg()[0]
    return f"{_processor()}, {os.cpu_count()} cores, {compiler()[1]}, load {load:.1f}"


def write_rows(name: str, rows: Sequence[Row]) -> Path:
    """Write results/NAME.json: ``rows``, each with the conditions of this run."""
    path = RESULTS / f"{name}.json"
    write_text(path, json.dumps([row | conditions() for row in rows], indent=1) + "\n")
    return path


def conditions() -> Row:
    """The command, the hardware and the date of this run; of absolute paths the last part."""
    arguments = [Path(text).name if text.startswith("/") else text for text in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", "benchmarks", Path(sys.argv[0]).stem, *arguments]),
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def print_rows(title: str, rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    """Print the ``columns`` (key: heading) of ``rows`` as a table, numbers to the right; no columns that are empty."""
    columns = {key: heading for key, heading in columns.items() if any(row.get(key) is not None for row in rows)}
    table = Table(title=title)
    for key, heading in columns.items():
        numbers = any(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(_text(row.get(key)) for key in columns))
    console = Console()
    Console(width=max(console.width, MIN_WIDTH)).print(table)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _cpu_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _processor() -> str:
    """The processor's name as Linux knows it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
