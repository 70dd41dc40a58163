"""The output of the command line: a console for results, and progress bars on the error stream."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from toolchain.flow.progress import Progress


WIDTH = 120
"""Columns of what is no terminal: a file, a pipe, the log of a CI."""


def without_width() -> None:
    """Forget a width of no columns, which the environment of what is no terminal may tell: nothing would be shown."""
    if not os.environ.get("COLUMNS", "1").strip("0"):
        del os.environ["COLUMNS"]


def console() -> Console:
    """Standard output, without colours of its own making; texts, those of cells too, are no markup."""
    from rich.console import Console

    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=None if wide else WIDTH)


@contextmanager
def progress() -> Iterator[Progress]:
    """Show a progress bar a stage on the error stream; where that is no terminal, a line when a stage is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield _lines()
        return
    name = TextColumn("{task.description:10}", markup=False)
    with Progress(name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield tell


def _lines() -> Progress:
    """Return a function that writes a line when a stage is done, with the seconds that it took."""
    began: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        begin = began.setdefault(what, time.monotonic())
        if done == total:
            sys.stderr.write(f"{what} {done}/{total}, {time.monotonic() - begin:.1f} s\n")
            sys.stderr.flush()

    return tell
