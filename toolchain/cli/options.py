"""Options that several commands take, and what they are parsed to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from toolchain.flow.options import Check, Search
    from toolchain.ir.types import InputType

ACCELERATOR, NUMBERS, CHECKING = "Accelerator", "Input of the network", "Verification"
"""Panels of the help that several commands have."""

ARCHITECTURES = ("auto", "streaming", "engine")
BACKENDS = ("fpgaflow", "hls4ml")
COSTS = ("estimated", "counted")


def _of(*names: str) -> Callable[[str], list[str]]:
    """Return a shell's completion: it gives those of ``names`` that begin like ``incomplete``."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def boards_like(incomplete: str) -> list[str]:
    """The boards that begin like ``incomplete``."""
    from toolchain.boards import list_boards

    return _of(*list_boards())(incomplete)


def several_boards_like(incomplete: str) -> list[str]:
    """Complete the last of several boards with commas between them; "all" is one."""
    from toolchain.boards import ALL_BOARDS, list_boards

    before, comma, start = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _of(ALL_BOARDS, *list_boards())(start)]


def runs_like(incomplete: str) -> list[str]:
    """The recipes, run files and folders that begin like ``incomplete``."""
    from toolchain.config.run import recipes

    above, _, start = incomplete.rpartition("/")
    here = sorted(path for path in Path(above or ("/" if incomplete.startswith("/") else ".")).glob("*"))
    prefix = incomplete.removesuffix(start)
    folders = [f"{prefix}{path.name}/" for path in here if path.is_dir() and not path.name.startswith(".")]
    files = [f"{prefix}{path.name}" for path in here if path.suffix == ".toml"]
    return _of(*recipes(), *files, *folders)(incomplete)


def _panel(name: str, *flags: str, **more: Any) -> Any:
    """An option that stands in the panel ``name`` of the help."""
    return typer.Option(*flags, rich_help_panel=name, **more)


Model = Annotated[Path, typer.Argument(help="QONNX file, or the folder of a training run.")]
Folder = Annotated[Path, typer.Argument(help="Build folder.")]
Out = Annotated[Path | None, typer.Option(help="Build folder.", show_default="build/NAME")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace also what this tool did not write.")]
BoardName = Annotated[
    str,
    _panel(
        ACCELERATOR,
        "--board",
        help="Board, see 'fpgaflow boards'; or a folder with a board.toml.",
        autocompletion=boards_like,
    ),
]
BuildBoardName = Annotated[
    str | None,
    _panel(
        ACCELERATOR,
        "--board",
        help="Board, see 'fpgaflow boards'; or a folder with a board.toml.",
        show_default="the build's, else zu3eg",
        autocompletion=boards_like,
    ),
]
BoardNames = Annotated[
    str,
    _panel(
        ACCELERATOR,
        "--board",
        help="Board, see 'fpgaflow boards', or a folder with a board.toml; several with commas, or all.",
        autocompletion=several_boards_like,
    ),
]
ClockOption = Annotated[
    float | None, _panel(ACCELERATOR, "--clock", min=1, max=1000, help="Clock in MHz.", show_default="the board's")
]
AutoClockOption = Annotated[
    str | None,
    _panel(
        ACCELERATOR,
        "--clock",
        help="Clock in MHz, or auto: by a conservative rule of how full the device is.",
        show_default="the board's",
    ),
]
FpsOption = Annotated[
    float | None,
    _panel(ACCELERATOR, min=1e-3, help="Least resources at this rate.", show_default="the most frames a second"),
]
ArchitectureOption = Annotated[
    str,
    _panel(
        ACCELERATOR,
        "--architecture",
        help="streaming, engine, or auto: the faster that fits.",
        autocompletion=_of(*ARCHITECTURES),
    ),
]
BudgetOption = Annotated[
    list[str] | None,
    _panel(
        ACCELERATOR,
        "--budget",
        help="Share of a resource, e.g. lut=0.7; repeat it for others.",
        show_default="the board's",
    ),
]
RowsOption = Annotated[
    list[Path] | None,
    _panel(
        ACCELERATOR, "--rows", help="Plan by measured designs: files of 'fpgaflow measure --rows'.", show_default="none"
    ),
]
PlanOption = Annotated[
    Path | None, _panel(ACCELERATOR, "--plan", help="Take this plan.", show_default="search for one")
]
CostsOption = Annotated[
    str,
    _panel(
        ACCELERATOR,
        "--costs",
        help="What units take: estimated, or counted by yosys, which takes minutes.",
        autocompletion=_of(*COSTS),
    ),
]
TimeOption = Annotated[
    float, _panel(ACCELERATOR, "--time-limit", min=0.1, help="Seconds for each round of the solver.")
]
PixelOption = Annotated[
    str | None,
    _panel(NUMBERS, "--pixel-scale", help="Real value of a pixel's step, e.g. 1/255.", show_default="the file's"),
]
InputOption = Annotated[
    str | None,
    _panel(
        NUMBERS,
        "--input",
        help="Type of the input: TYPE\\[:SCALE\\[:ZERO]], e.g. int8:0.05, 'fixed<16,6>', bipolar.",
        show_default="the file's",
    ),
]
ImagesOption = Annotated[
    Path | None,
    _panel(CHECKING, "--images", help="Images to verify on, .npy; of several inputs .npz, an array a name."),
]
LabelsOption = Annotated[Path | None, _panel(CHECKING, "--labels", help="Their classes, .npy.")]
DataOption = Annotated[
    str | None, _panel(CHECKING, "--data", help="Data set to verify on.", show_default="that of the training")
]
CountOption = Annotated[
    int | None,
    _panel(
        CHECKING,
        "--count",
        min=0,
        help="Images to verify on, drawn; 0 for all.",
        show_default="1000; 64 of random numbers",
    ),
]
RtlCountOption = Annotated[int | None, _panel(CHECKING, "--count", min=1, help="Images to simulate.", show_default="4")]
QonnxOption = Annotated[int, _panel(CHECKING, "--qonnx-images", min=0, help="Images that also run in float32 QONNX.")]
BackendOption = Annotated[
    str,
    _panel(
        "hls4ml",
        "--backend",
        help="fpgaflow, or hls4ml for its project beside this one.",
        autocompletion=_of(*BACKENDS),
    ),
]
MemoryOption = Annotated[str, _panel(CHECKING, "--memory", help="Memory to work in, e.g. 4G.")]
ThreadsOption = Annotated[int, _panel(CHECKING, "--threads", min=1, max=256, help="Threads to work with.")]


def demand_unset(options: Mapping[str, object], where: str, hint: str) -> None:
    """Raise UserError where one of the ``options`` is given, which nothing reads ``where`` it is."""
    from toolchain.errors import UserError

    for name, value in options.items():
        if value is not None:
            raise UserError(f"--{name} {'' if value is True else f'{value} '}{where}", hint=hint)


def demand_no_input(build: Path, given: InputType | None) -> None:
    """Raise UserError where an input type is ``given`` for a build, which has its own."""
    from toolchain.errors import UserError

    if given is not None:
        raise UserError(f"{build} is a build, whose input has its type", hint="give the QONNX file with another")


def search_of(
    board: str,
    clock: str | float | None,
    fps: float | None,
    budget: list[str] | None,
    plan: Path | None,
    seconds: float,
    architecture: str = "auto",
    costs: str = "estimated",
    rows: list[Path] | None = None,
) -> Search:
    """Return the search that a command's options ask for; a clock above the board's own is warned of.

    Raises:
        UserError: an option has no meaning, or two do not go together.
    """
    from toolchain.boards import load_board
    from toolchain.errors import UserError
    from toolchain.flow.options import Search, checked_architecture, checked_costs, parse_budget, stated_clock
    from toolchain.flow.rows import read_rows

    if rows and plan is not None:
        raise UserError("--rows with --plan", hint="a plan that is given is taken as it is")
    if rows and costs == "counted":
        raise UserError("--rows with --costs counted", hint="rows tell how far estimates are off, not counts")

    mhz, auto = stated_clock(clock)
    doubt = "" if mhz is None else load_board(board).doubt(mhz)
    if doubt:
        logging.getLogger(__name__).warning("warning: %s", doubt)
    shares, kind = parse_budget(budget or []), checked_architecture(architecture)
    measured = tuple(row for path in rows or () for row in read_rows(path))
    return Search(board, mhz, fps, shares, seconds, plan, kind, auto, checked_costs(costs, kind, plan), measured)


def check_of(
    images: Path | None,
    labels: Path | None,
    data: str | None,
    count: int | None,
    qonnx_images: int,
    threads: int,
    memory: str,
) -> Check:
    """Return the verification that a command's options ask for; UserError where ``memory`` is no size."""
    from toolchain.flow.options import Check
    from toolchain.memory import parse_memory

    return Check(images, labels, data, count, qonnx_images, threads, parse_memory(memory))
