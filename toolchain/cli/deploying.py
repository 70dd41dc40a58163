"""Commands on the way to a board: deploy, measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.options import DataOption, Folder, ImagesOption, LabelsOption, check_of, demand_unset
from toolchain.errors import UserError
from toolchain.terminal import console, progress


def deploy(
    folder: Folder,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove synthesis results of another design.")] = False,
    trial: Annotated[bool, typer.Option("--try", help="Run the driver that is there on a mock board instead.")] = False,
    rtl: Annotated[bool, typer.Option("--rtl", help="--try: on the SystemVerilog, simulated cycle by cycle.")] = False,
) -> None:
    """Write deploy/: scripts to the bitstream, a driver for PYNQ, samples with their answers, and a README."""
    if rtl and not trial:
        raise UserError("--rtl goes with --try only", hint="'fpgaflow rtl' writes and simulates the SystemVerilog")
    if trial:
        given = {"images": images, "labels": labels, "data": data, "overwrite": overwrite or None}
        demand_unset(given, "with --try", "deploy writes the samples that --try takes")
        _try(folder, rtl)
        return
    from toolchain.deploy.package import ARCHIVE
    from toolchain.deploy.package import deploy as run
    from toolchain.flow.build import opened

    check = check_of(images, labels, data, 1000, 0, 2, "2G")
    with opened(folder, "deploy") as build:
        target = run(build, check, overwrite=overwrite)
    console().print(f"Deployment: {target}, and {folder / ARCHIVE}; next: {target / 'README.md'}", soft_wrap=True)


def _try(folder: Folder, rtl: bool) -> None:
    from rich.table import Table

    from toolchain.deploy.trial import try_driver
    from toolchain.flow.build import opened

    table = Table("frames a start", "starts", "images", "codes", "wrong codes", "top-1")
    with opened(folder, "deploy --try") as build, progress() as bars:  # it writes the report
        trials = try_driver(build, rtl=rtl, progress=bars)
    for found in trials:
        top1 = "" if found.top1 is None else f"{found.top1:.2%}"
        counts = (found.batch, found.starts, found.images, found.codes, found.wrong_codes)
        table.add_row(*(f"{n:,}" for n in counts), top1)
    console().print(table)
    board = "the mock board with the SystemVerilog" if rtl else "the mock board"
    console().print(f"the driver's answers on {board} are the integer network's", soft_wrap=True)


def measure(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="board.json of the driver, vivado.json of build.tcl.")],
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows", help="Also into this file of measured designs, which 'fpgaflow export --rows' plans by."
        ),
    ] = None,
) -> None:
    """Read what a board and Vivado measured back into the report."""
    from toolchain.deploy.measure import add_row
    from toolchain.deploy.measure import measure as run
    from toolchain.flow.build import opened
    from toolchain.flow.rows import read_rows
    from toolchain.report.terminal import render

    if rows is not None and rows.exists():
        read_rows(rows)  # another file is refused before anything is written
    with opened(folder, "measure") as build:
        summary = run(build, files)
        told = "" if rows is None else add_row(build, summary, rows)
    console().print(render(summary))
    console().print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    if rows is not None:
        console().print(f"Rows: {rows}: {told}", soft_wrap=True)
