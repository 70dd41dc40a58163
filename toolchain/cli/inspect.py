"""Commands that only tell: check, lint, boards, compare, cache, doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.options import (
    ArchitectureOption,
    AutoClockOption,
    BoardNames,
    FpsOption,
    InputOption,
    Model,
    PixelOption,
    RowsOption,
    TimeOption,
    demand_no_input,
    demand_unset,
)
from toolchain.errors import UserError, VerificationError
from toolchain.flow.runs import model_file
from toolchain.terminal import console, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from toolchain.boards import Board
    from toolchain.ir.store import Stored
    from toolchain.ir.types import InputType


def check(
    model: Model,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    engine: Annotated[bool, typer.Option("--engine", help="Also whether the engine's units run it.")] = False,
    rtl: Annotated[bool, typer.Option("--rtl", help="Also whether its units have SystemVerilog.")] = False,
) -> None:
    """List every node of a QONNX file as supported, folded or refused, and why; exit code 2 if any is refused."""
    from toolchain.flow.coverage import check as run
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.tables import coverage_table

    stated = stated_input(given, pixel_scale)
    found = run(model_file(model), stated)
    console().print(coverage_table(found))
    console().print(found.verdict, soft_wrap=True)
    if not found.supported:
        raise typer.Exit(UserError.exit_code)
    refused = []
    if engine:
        from toolchain.flow.engine import refusals_of

        refused += refusals_of(model_file(model), stated)
        console().print("\n".join(refused) or "the engine runs it", soft_wrap=True)
    if rtl:
        from toolchain.flow.rtl import refusals_of as without_rtl

        missing = without_rtl(model_file(model), stated)
        told = f"no SystemVerilog yet for {', '.join(missing)}" if missing else "every unit has SystemVerilog"
        console().print(told, soft_wrap=True)
        refused += missing
    if refused:
        raise typer.Exit(UserError.exit_code)


def lint(
    build: Annotated[Path, typer.Argument(help="A build of fpgaflow export, or its hls folder.", show_default=False)],
    distances: Annotated[
        bool, typer.Option("--distances", help="Also the memories that one loop loads and stores, and how far apart.")
    ] = False,
) -> None:
    """Check the C++ of a build for what Vitis HLS refuses or slows down; exit code 3 if anything is found."""
    from toolchain.hls_lint.lint import lint_folder
    from toolchain.hls_lint.tables import distance_table, finding_table, verdict

    found = lint_folder(build)
    if distances:
        console().print(distance_table(found))
    if found.findings:
        console().print(finding_table(found))
    console().print(verdict(found), soft_wrap=True)
    if found.findings:
        raise typer.Exit(VerificationError.exit_code)


def boards(
    source: Annotated[
        Path | None, typer.Argument(help="Build folder, QONNX file or training run to compare the boards with.")
    ] = None,
    board: BoardNames = "all",
    clock: AutoClockOption = None,
    target_fps: FpsOption = None,
    time_limit: TimeOption = 60.0,
    architecture: ArchitectureOption = "auto",
    rows: RowsOption = None,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
) -> None:
    """The boards that plans can be made for; with a network also its fastest accelerator on each of them."""
    from toolchain.boards import load_board, named_boards
    from toolchain.flow.board_table import boards_table

    names = named_boards(board)
    if source is None:
        of_network = {"clock": clock, "target-fps": target_fps, "rows": rows[0] if rows else None}
        of_network |= {"pixel-scale": pixel_scale, "input": given}
        demand_unset(of_network, "without a network", "name a build, a QONNX file or a training run")
        console().print(boards_table([load_board(name) for name in names]))
        return
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.on_boards import on_boards
    from toolchain.flow.options import Search, checked_architecture, stated_clock
    from toolchain.flow.rows import read_rows
    from toolchain.flow.tables import on_boards_table, rows_lines

    lowered = _lowered(source, stated_input(given, pixel_scale))
    kind = checked_architecture(architecture)
    mhz, auto = stated_clock(clock)
    search = Search(clock_mhz=mhz, target_fps=target_fps, time_limit=time_limit, architecture=kind, clock_auto=auto)
    search = replace(search, rows=tuple(row for path in rows or () for row in read_rows(path)))
    with progress() as bars:
        found = on_boards(lowered, search, names, bars)
    console().print(on_boards_table(found))
    for line in rows_lines(search, [entry.architecture for entry in found if entry.fps is not None]):
        console().print(line, soft_wrap=True)


def compare(
    first: Annotated[Path, typer.Argument(help="Build folder, or its report.json.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write the comparison to this page too.")] = None,
) -> None:
    """Two builds side by side: rates, resources by unit, accuracy, bits, and the units that are built differently."""
    from toolchain.files import write_text
    from toolchain.flow.stages import written_report
    from toolchain.report.compare import compare as run
    from toolchain.report.compare import tables

    reports = written_report(first), written_report(second)
    found = run(*reports, titles=_titles(first, second))
    if html is not None:
        from toolchain.report.html import comparison_page

        if html.is_dir():
            raise UserError(f"--html {html} is a folder", hint="name a file")
        write_text(html, comparison_page(found))
    console().print(tables(found))
    if html is not None:
        console().print(f"Page: {html}", soft_wrap=True)


def _titles(first: Path, second: Path) -> tuple[str, str]:
    """Names of the folders; with those above them where they are alike."""
    folders = [(path if path.is_dir() else path.parent).resolve() for path in (first, second)]
    if folders[0].name != folders[1].name:
        return folders[0].name, folders[1].name
    return str(first), str(second)


def _lowered(source: Path, given: InputType | None) -> Callable[[Board], Stored]:
    """The integer network of the file ``source`` for a board, one for all of a price; that of a build is as it is."""
    from tempfile import TemporaryDirectory

    from toolchain.flow.build import Build
    from toolchain.flow.stages import lower

    if (source / "graph.json").is_file():
        demand_no_input(source, given)
        network = Build(source).network
        return lambda _: network

    found: dict[int, Stored] = {}

    def lowered(board: Board) -> Stored:
        if board.lut_per_dsp not in found:
            with TemporaryDirectory(prefix="fpgaflow-") as folder:
                build = lower(model_file(source), Path(folder) / "build", given=given, board=board)
                found[board.lut_per_dsp] = build.network
        return found[board.lut_per_dsp]

    return lowered


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    limit: Annotated[str | None, typer.Option("--limit", help="Remove what was used longest ago, e.g. 500M.")] = None,
) -> None:
    """Tell the size of the cache of compiled simulations, or cut it; its limit is FPGAFLOW_CACHE_SIZE or 2G."""
    from toolchain.memory import parse_size, size
    from toolchain.simulate.cache import cache_folder, entries, prune
    from toolchain.simulate.cache import limit as limit_of

    if clear and limit is not None:
        raise UserError("--clear and --limit", hint="give one of them")
    most, lines = limit_of(), []
    if clear or limit is not None:
        removed = prune(0 if limit is None else parse_size(limit, "--limit"))
        if removed is None:
            raise UserError("the cache is in use", where=str(cache_folder()), hint="wait for the other commands")
        lines.append(f"removed {size(removed)}")
    found = entries()
    lines.append(f"{len(found):,} entries, {size(sum(entry.size for entry in found))} of {size(most)} at most")
    lines.append(f"in {cache_folder()}")
    console().print("; ".join(lines), soft_wrap=True)


def doctor() -> None:
    """Look for the compiler, packages, memory, data and optional tools; exit code 2 if a required one is missing."""
    from toolchain.flow.machine import examine, table, verdict

    found = examine()
    console().print(table(found))
    console().print(verdict(found), soft_wrap=True)
    if any(finding.fatal for finding in found):
        raise typer.Exit(UserError.exit_code)
