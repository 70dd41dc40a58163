"""Commands that only tell: check, boards."""

from __future__ import annotations

from typing import Annotated

import typer

from toolchain.cli.options import InputOption, Model, PixelOption, model_file
from toolchain.errors import UserError
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
