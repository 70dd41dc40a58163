"""The command that searches networks, bits and hardware together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.options import (
    BoardName,
    BudgetOption,
    ClockOption,
    MemoryOption,
    ThreadsOption,
    check_of,
    search_of,
)
from toolchain.errors import UserError
from toolchain.terminal import console, progress


def search(
    space: Annotated[Path, typer.Argument(help="Space file (TOML).")],
    out: Annotated[Path | None, typer.Option(help="Folder of the search.", show_default="search/NAME")] = None,
    board: BoardName = "zu3eg",
    clock: ClockOption = None,
    budget: BudgetOption = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes on this machine.")] = 1,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Address of a Ray cluster to work on.")] = None,
    build: Annotated[
        int | None, typer.Option("--build", help="Number in the front: train, export, simulate it.")
    ] = None,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier search first.")] = False,
) -> None:
    """Search networks, bits and accelerators together: a proven front. It goes on where it stopped."""
    from toolchain.search.space import load_space

    if build is not None and (cluster is not None or overwrite):
        raise UserError("--build with --cluster or --overwrite", hint="it builds what an earlier search has found")
    loaded = load_space(space)
    folder = out or Path("search") / loaded.name
    target = search_of(board, clock, None, budget, None, loaded.search.seconds)
    if build is not None:
        from toolchain.report.terminal import render
        from toolchain.search.run import build_point

        check = check_of(None, None, loaded.data.name, None, 256, threads, memory)
        with progress() as bars:
            made = build_point(loaded, folder, target, build, check, progress=bars)
        from toolchain.flow.build import opened
        from toolchain.flow.stages import report

        with opened(made / "build", "search --build") as exported:
            console().print(render(report(exported)))
        console().print(f"Report: {made / 'build' / 'report.html'}", soft_wrap=True)
        return
    from toolchain.boards import load_board
    from toolchain.search.live import shown
    from toolchain.search.report import result_table
    from toolchain.search.run import REPORT_FILE
    from toolchain.search.run import search as run

    with shown(clock or load_board(board).clock.default_mhz) as tell:
        result = run(loaded, folder, target, workers=workers, cluster=cluster, overwrite=overwrite, tell=tell)
    console().print(result_table(result))
    console().print(f"Report: {folder / REPORT_FILE}", soft_wrap=True)
