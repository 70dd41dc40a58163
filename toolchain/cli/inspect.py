"""Commands that only tell: check, lint, boards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.options import InputOption, Model, PixelOption, model_file
from toolchain.errors import UserError, VerificationError
from toolchain.terminal import console


def check(
    model: Model,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    engine: Annotated[bool, typer.Option("--engine", help="Also whether the engine's units run it.")] = False,
) -> None:
    """List every node of a QONNX file as supported, folded or refused, and why; exit code 2 if any is refused."""
    from toolchain.flow.coverage import check as run
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.tables import coverage_table

    stated = stated_input(given, pixel_scale)
    found = run(model_file(model), stated)
    console().print(coverage_table(found))
    console().print(found.verdict, markup=False, soft_wrap=True)
    if not found.supported:
        raise typer.Exit(UserError.exit_code)
    if engine:
        from toolchain.flow.engine import refusals_of

        refused = refusals_of(model_file(model), stated)
        console().print("\n".join(refused) or "the engine runs it", markup=False, soft_wrap=True)
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
    console().print(verdict(found), markup=False, soft_wrap=True)
    if found.findings:
        raise typer.Exit(VerificationError.exit_code)


def boards() -> None:
    """The boards that plans can be made for."""
    from rich.table import Table

    from toolchain.boards import list_boards, load_board

    table = Table("board", "part", "LUT", "FF", "DSP", "BRAM18", "MHz")
    for board in map(load_board, list_boards()):
        device = board.device
        counts = [f"{n:,}" for n in (device.lut, device.ff, device.dsp, device.bram18)]
        table.add_row(board.name, board.part, *counts, f"{board.clock.default_mhz:g}")
    console().print(table)
