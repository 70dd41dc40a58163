"""Helpers of all benchmarks: time spent, and rows as a table on the terminal."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.recorder import Row
from toolchain.resources import Resources

MIN_WIDTH = 150  # columns of a table where the output is no terminal

Cell = str | int | float | bool | None
T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """Seconds of a call: on the clock, and of all processors, child processes included."""

    wall: float
    cpu: float


def finished_run(text: str) -> Path:
    """The folder that a user named, as an argument's type.

    Raises:
        UserError: it holds no finished run.
    """
    from toolchain.train.runs import saved_metrics, saved_model  # torch, which few benchmarks need

    saved_model(Path(text))
    saved_metrics(Path(text))
    return Path(text)


def timed(call: Callable[[], T]) -> tuple[T, Spent]:
    """The result of ``call`` and what it took."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = call()
    return result, Spent(time.perf_counter() - wall, _cpu_seconds() - cpu)


def costs(found: Resources) -> Row:
    """The columns of what an accelerator takes on a board without UltraRAM."""
    return {"lut": found.lut, "ff": found.ff, "dsp": found.dsp, "bram18": found.bram18}


def middle(runs: Sequence[Spent]) -> Spent:
    """The medians of several runs."""
    return Spent(median(run.wall for run in runs), median(run.cpu for run in runs))


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of a mean of independent values, 0 of a single one."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


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
