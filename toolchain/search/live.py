"""The terminal during a search: progress, and the front so far as a plot and a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log10
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from toolchain.search.study import Seen, spread

ROWS, COLUMNS, SHOWN = 12, 72, 12


def front_table(front: Sequence[Seen], clock_mhz: float) -> Table:
    """The networks of a front, at most a dozen of them."""
    table = Table()
    for heading in ("fps", "top-1", "network", "bits"):
        table.add_column(heading, justify="right" if heading in ("fps", "top-1") else "left", overflow="fold")
    for seen in spread(front, SHOWN):
        rate = f"{clock_mhz * 1e6 / seen.cycles:,.0f}"
        table.add_row(rate, f"{seen.top1:.2%}", seen.network.text, seen.network.bits_text)
    return table


def front_plot(front: Sequence[Seen], clock_mhz: float) -> Text:
    """Accuracy over frames a second (logarithmic) in characters."""
    if not front:
        return Text()
    places = [(log10(clock_mhz * 1e6 / s.cycles), s.top1) for s in front]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*places, strict=True))
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for x, y in places:
        column = round((x - left) / max(right - left, 1e-9) * (COLUMNS - 1))
        row = round((high - y) / max(high - low, 1e-9) * (ROWS - 1))
        grid[row][column] = "●"
    lines = ["│" + "".join(row) for row in grid] + ["└" + "─" * COLUMNS]
    lines[0] += f" {high:.1%}"
    lines[-2] += f" {low:.1%}"
    ends = f"{10**left:,.0f} fps", f"{10**right:,.0f} fps"
    return Text("\n".join([*lines, ends[0] + " " * max(1, COLUMNS - len("".join(ends))) + ends[1]]))


@contextmanager
def shown(clock_mhz: float) -> Iterator[Callable[[str, int, int, Sequence[Seen]], None]]:
    """Show a changing table and plot on the error stream; where that is no terminal, a line when a stage is done."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    with Live(console=Console(stderr=True, markup=False, emoji=False), refresh_per_second=2, transient=True) as live:

        def tell(what: str, done: int, total: int, front: Sequence[Seen]) -> None:
            parts: list[Any] = [Text(f"{what} {done:,} of {total:,}")]
            if front:
                parts += [front_plot(front, clock_mhz), front_table(front, clock_mhz)]
            live.update(Group(*parts))

        yield tell


def _lines() -> Callable[[str, int, int, Sequence[Seen]], None]:
    """Return a function that writes a line when a stage is done, with the seconds that it took."""
    began: dict[str, float] = {}

    def tell(what: str, done: int, total: int, front: Sequence[Seen]) -> None:
        begin = began.setdefault(what, time.monotonic())
        if done >= total or what == "neighbours":
            sys.stderr.write(f"{what} {done}/{total}, {len(front)} in the front, {time.monotonic() - begin:.1f} s\n")
            sys.stderr.flush()

    return tell
