"""Options that several commands take, and what they are parsed to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolchain.flow.options import Check, Search

Model = Annotated[Path, typer.Argument(help="QONNX file, or the folder of a training run.")]
Folder = Annotated[Path, typer.Argument(help="Build folder.")]
Out = Annotated[Path | None, typer.Option(help="Build folder; build/NAME by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace also what this tool did not write.")]
BoardName = Annotated[str, typer.Option("--board", help="Board, see 'fpgaflow boards'; or a folder with a board.toml.")]
ClockOption = Annotated[float | None, typer.Option("--clock", min=1, max=1000, help="Clock in MHz.")]
FpsOption = Annotated[float | None, typer.Option(min=1e-3, help="Least resources at this rate, not the most fps.")]
ArchitectureOption = Annotated[str, typer.Option(help="streaming, engine, or auto: the faster that fits.")]
BudgetOption = Annotated[list[str] | None, typer.Option("--budget", help="Share of a resource, e.g. lut=0.7.")]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="Take this plan instead of searching for one.")]
TimeOption = Annotated[float, typer.Option("--time-limit", min=0.1, help="Seconds for each round of the solver.")]
PixelOption = Annotated[str | None, typer.Option("--pixel-scale", help="Real value of a pixel's step, e.g. 1/255.")]
InputOption = Annotated[
    str | None,
    typer.Option("--input", help="Type of the input: TYPE[:SCALE[:ZERO]], e.g. int8:0.05, 'fixed<16,6>', bipolar."),
]
ImagesOption = Annotated[Path | None, typer.Option("--images", help="Images to verify on, .npy.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Their classes, .npy.")]
DataOption = Annotated[str | None, typer.Option("--data", help="Data set to verify on instead.")]
CountOption = Annotated[
    int | None, typer.Option("--count", min=0, help="Images to verify on, drawn; 0 for all. [default: 1000, 64 random]")
]
RtlCountOption = Annotated[int | None, typer.Option("--count", min=1, help="Images to simulate. [default: 4]")]
QonnxOption = Annotated[int, typer.Option("--qonnx-images", min=0, help="Images that also run in float32 QONNX.")]
BackendOption = Annotated[str, typer.Option(help="fpgaflow, or hls4ml for its project beside this one.")]
MemoryOption = Annotated[str, typer.Option("--memory", help="Memory that it may take, e.g. 4G.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads of the C simulation.")]


def search_of(
    board: str,
    clock: float | None,
    fps: float | None,
    budget: list[str] | None,
    plan: Path | None,
    seconds: float,
    architecture: str = "auto",
) -> Search:
    from toolchain.boards import load_board
    from toolchain.flow.options import Search, checked_architecture, parse_budget

    doubt = "" if clock is None else load_board(board).doubt(clock)
    if doubt:
        logging.getLogger(__name__).warning("warning: %s", doubt)
    return Search(board, clock, fps, parse_budget(budget or []), seconds, plan, checked_architecture(architecture))


def check_of(
    images: Path | None,
    labels: Path | None,
    data: str | None,
    count: int | None,
    qonnx_images: int,
    threads: int,
    memory: str,
) -> Check:
    from toolchain.flow.options import Check
    from toolchain.memory import parse_memory

    return Check(images, labels, data, count, qonnx_images, threads, parse_memory(memory))
