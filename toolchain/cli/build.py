"""Commands that make a build of a network: export, and its stages one by one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.options import (
    CHECKING,
    ArchitectureOption,
    AutoClockOption,
    BackendOption,
    BoardName,
    BoardNames,
    BudgetOption,
    BuildBoardName,
    CostsOption,
    CountOption,
    DataOption,
    Folder,
    FpsOption,
    ImagesOption,
    InputOption,
    LabelsOption,
    MemoryOption,
    Model,
    Out,
    Overwrite,
    PixelOption,
    PlanOption,
    QonnxOption,
    RowsOption,
    RtlCountOption,
    ThreadsOption,
    TimeOption,
    check_of,
    demand_no_input,
    demand_unset,
    search_of,
)
from toolchain.errors import UserError, VerificationError
from toolchain.flow.runs import model_file
from toolchain.terminal import console, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolchain.flow.build import Build
    from toolchain.flow.options import Check, Search
    from toolchain.report.data import Report


BITS = "Bits of weights"
WIDTHS = "4,6,8"


def export(
    model: Model,
    out: Out = None,
    board: BoardNames = "zu3eg",
    clock: AutoClockOption = None,
    target_fps: FpsOption = None,
    budget: BudgetOption = None,
    rows: RowsOption = None,
    plan: PlanOption = None,
    time_limit: TimeOption = 60.0,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    count: CountOption = None,
    qonnx_images: QonnxOption = 256,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
    architecture: ArchitectureOption = "auto",
    costs: CostsOption = "estimated",
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Compare every intermediate tensor afterwards.", rich_help_panel=CHECKING),
    ] = False,
    backend: BackendOption = "fpgaflow",
    hls4ml_seconds: Annotated[
        float, typer.Option(min=1, help="Seconds that hls4ml may take.", rich_help_panel="hls4ml")
    ] = 600.0,
    allow_inexact: Annotated[
        bool, typer.Option("--allow-inexact", help="Accept an inexact project.", rich_help_panel="hls4ml")
    ] = False,
    rtl: Annotated[bool, typer.Option("--rtl", help="Also SystemVerilog, simulated: see 'fpgaflow rtl'.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """QONNX to a verified HLS project: lower, explore, generate, simulate, report. For several boards a build each."""
    from toolchain.boards import named_boards, several
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.options import Hls4mlOptions, uses_hls4ml

    hls4ml = Hls4mlOptions(hls4ml_seconds) if uses_hls4ml(backend) else None
    names = named_boards(board)
    searches = [
        search_of(name, clock, target_fps, budget, plan, time_limit, architecture, costs, rows) for name in names
    ]
    search = searches[0]  # the others differ by their board, and told what is to be said of it
    check = check_of(images, labels, data, count, qonnx_images, threads, memory)
    model = model_file(model)
    from toolchain.flow.build import build_name

    wanted: dict[str, Any] = {"given": stated_input(given, pixel_scale), "rtl": rtl, "overwrite": overwrite}
    if several(board):
        if plan is not None or probe or hls4ml is not None:
            raise UserError(
                f"--board {board} does not go with --plan, --probe or --backend hls4ml", hint="name one board"
            )
        _on_boards(model, out or Path("build") / f"{build_name(model)}-boards", search, check, names, **wanted)
        return
    made = _on_board(model, out or Path("build") / build_name(model), search, check, probe, hls4ml=hls4ml, **wanted)
    if made.hls4ml is not None and not allow_inexact:
        from toolchain.flow.hls4ml import demand_exact

        demand_exact(made.hls4ml)


def _on_board(model: Path, folder: Path, search: Search, check: Check, probe: bool, **options: Any) -> Report:
    """The ``export`` for one board, which prints the report; a difference of the simulation is probed."""
    from toolchain.flow.stages import export as run

    try:
        with progress() as bars:
            made = run(model, folder, search, check, progress=bars, **options)
    except VerificationError:
        if (folder / "hls").is_dir():
            _show_probe(folder, check)
        raise
    from toolchain.report.terminal import render

    console().print(render(made))
    console().print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    if probe:
        _show_probe(folder, check)
    return made


def _on_boards(model: Path, folder: Path, search: Search, check: Check, names: Sequence[str], **options: Any) -> None:
    """The ``export`` for several boards: a build on each of ``names`` below ``folder``, and one table."""
    from toolchain.flow.on_boards import export_on_boards
    from toolchain.flow.tables import on_boards_table

    with progress() as bars:
        found = export_on_boards(model, folder, search, check, names, bars, **options)
    console().print(on_boards_table(found))
    console().print(f"Verified builds: {folder}/BOARD, each with its report.html", soft_wrap=True)


def lower(
    model: Model,
    out: Out = None,
    board: BoardName = "zu3eg",
    pixel_scale: PixelOption = None,
    given: InputOption = None,
) -> None:
    """QONNX to the integer network: graph.json and weights.npz. The board tells what a DSP is worth."""
    model = model_file(model)
    from toolchain.boards import load_board
    from toolchain.flow.build import build_name, opened
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.stages import lower as run
    from toolchain.ir.text import to_text

    stated, wanted = stated_input(given, pixel_scale), load_board(board)
    with opened(out or Path("build") / build_name(model), "lower") as build:
        graph = run(model, build.folder, given=stated, board=wanted).network.graph
    console().print(to_text(graph), soft_wrap=True)


def explore(
    source: Annotated[Path, typer.Argument(help="Build folder, QONNX file, or the folder of a training run.")],
    out: Out = None,
    board: BuildBoardName = None,
    clock: AutoClockOption = None,
    target_fps: FpsOption = None,
    budget: BudgetOption = None,
    rows: RowsOption = None,
    plan: PlanOption = None,
    time_limit: TimeOption = 60.0,
    costs: CostsOption = "estimated",
    pareto: Annotated[bool, typer.Option("--pareto", help="Show what slower accelerators save: pareto.json.")] = False,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    bits: Annotated[
        str | None, typer.Option("--bits", rich_help_panel=BITS, help="search: bits of every layer's weights.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture", rich_help_panel=BITS, help="Whose bits: engine or streaming.", show_default="engine"
        ),
    ] = None,
    widths: Annotated[
        str | None,
        typer.Option("--widths", rich_help_panel=BITS, help="Bits to choose from, with commas.", show_default=WIDTHS),
    ] = None,
    sensitivity: Annotated[
        Path | None, typer.Option("--sensitivity", rich_help_panel=BITS, help="JSON: layer, bits, loss.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", rich_help_panel=BITS, help="Images (.npy) for losses.", show_default="the data trained on"
        ),
    ] = None,
    loss: Annotated[
        float | None, typer.Option("--loss", rich_help_panel=BITS, min=0, help="Most summed loss; a front without.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Choose the parallelism of every unit: plan.json. With --bits search, bits of weights with it: bits.json."""
    from toolchain.boards import DEFAULT_BOARD
    from toolchain.flow.build import Build, build_name, opened
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.options import prepared_board
    from toolchain.flow.stages import explore as run
    from toolchain.flow.stages import lower as run_lower
    from toolchain.flow.stages import pareto as run_pareto
    from toolchain.flow.tables import front_table

    folder, model, stated = source, None, stated_input(given, pixel_scale)
    if not (source / "model.json").is_file():
        model = model_file(source)
        folder = out or Path("build") / build_name(model)
    else:
        demand_no_input(source, stated)
        demand_unset({"out": out}, f"with the build {source}", "it is explored where it stands")
        board = board or (Build(source).board if plan is None else None)
    search = search_of(board or DEFAULT_BOARD, clock, target_fps, budget, plan, time_limit, "streaming", costs, rows)
    if pareto or bits:
        _demand_estimates(search)
    if bits is None:
        of_bits = {"architecture": architecture, "widths": widths, "sensitivity": sensitivity, "images": images}
        demand_unset(of_bits | {"loss": loss}, "without --bits search", "explore plans a streaming design")
    else:
        of_plan = {"pareto": pareto or None, "plan": plan, "target-fps": target_fps}
        demand_unset(of_plan, "with --bits search", "bits.json has the frame rates of its front")
    with opened(folder, "explore") as build:
        if model is not None:
            build = run_lower(model, folder, given=stated, board=prepared_board(search))
        if bits is not None:
            chosen = WIDTHS if widths is None else widths
            _search_bits(build, search, (bits, architecture or "engine"), chosen, (sensitivity, images), loss)
            return
        _show_plan(run(build, search, overwrite=overwrite), search)
        if pareto:
            console().print(front_table(run_pareto(build, search)))
            console().print(f"Front: {folder / 'pareto.json'}", soft_wrap=True)
    console().print(f"Plan: {folder / 'plan.json'}", soft_wrap=True)


def _demand_estimates(search: Search) -> None:
    """Raise UserError unless ``search`` is of one clock and estimated costs, as a front and bits are."""
    if search.clock_auto:
        raise UserError("--clock auto does not go with --pareto or --bits", hint="give the clock in MHz")
    if search.costs == "counted":
        raise UserError(
            "--costs counted does not go with --pareto or --bits, which estimate", hint="leave one of them out"
        )


def _show_plan(build: Build, search: Search) -> None:
    """Print the plan of an explored ``build``, its solver, and the measured rows that it was made with."""
    from toolchain.flow.options import planned_board
    from toolchain.flow.streaming import Streaming
    from toolchain.flow.tables import plan_table, rows_lines, solver_lines

    design = build.design
    assert isinstance(design, Streaming)
    console().print(plan_table(design.hardware, design.plan, planned_board(search, design.name)))
    for line in (*solver_lines(design.plan, design.fps), *rows_lines(search, [design.name])):
        console().print(line, soft_wrap=True)


def _search_bits(
    build: Build,
    search: Search,
    asked: tuple[str, str],
    widths: str,
    losses: tuple[Path | None, Path | None],
    loss: float | None,
) -> None:
    """The ``--bits search`` of ``explore``, ``asked`` with an architecture; ``losses`` are a table or images."""
    from toolchain.flow.engine_bits import search_weight_bits
    from toolchain.flow.options import parse_widths
    from toolchain.flow.sensitivity import BITS_FILE, Asked
    from toolchain.flow.streaming_bits import search_lane_bits
    from toolchain.flow.tables import bits_table, lane_bits_table

    bits, architecture = asked
    if bits != "search":
        raise UserError(f"--bits {bits}", hint="explore knows --bits search; single layers belong to quantize")
    if architecture not in ("engine", "streaming"):
        raise UserError(f"--architecture {architecture}", hint="bits are searched for the engine or for streaming")
    table, images = losses
    if table is not None and images is not None:
        raise UserError("--sensitivity with --images", hint="a table, or images to measure one on")
    wanted = Asked(parse_widths(widths), table, images, loss)
    if architecture == "engine":
        mixed, clock = search_weight_bits(build, search, wanted)
        console().print(bits_table(mixed, clock))
    else:
        front, clock = search_lane_bits(build, search, wanted)
        console().print(lane_bits_table(front, clock))
    console().print(f"Bits: {build.folder / BITS_FILE}", soft_wrap=True)


def generate(folder: Folder, overwrite: Overwrite = False) -> None:
    """Write the Vitis HLS project of the plan: hls/."""
    from toolchain.flow.build import HLS, VITIS
    from toolchain.flow.stages import generate as run

    with _opened(folder, "generate") as build:
        run(build, overwrite=overwrite)
    console().print(f"Project: {folder / HLS}", soft_wrap=True)
    if (folder / VITIS).is_dir():
        console().print(f"Kept: {folder / VITIS}, what Vitis made of an earlier project", soft_wrap=True)


def simulate(
    folder: Folder,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    count: CountOption = None,
    qonnx_images: QonnxOption = 256,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
) -> None:
    """Run the C simulation and compare it with the integer network: simulation.json."""
    from toolchain.flow.simulate import demand_exact
    from toolchain.flow.simulate import simulate as run

    check = check_of(images, labels, data, count, qonnx_images, threads, memory)
    with _opened(folder, "simulate") as build, progress() as bars:
        found = run(build, check, progress=bars).simulation
    demand_exact(found)
    accuracy = "" if found.top1 is None else f", top-1 {found.top1:.2%}"
    console().print(f"exact on {found.images} images of {found.data}{accuracy}")


def rtl(
    folder: Folder,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    count: RtlCountOption = None,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
    trace: Annotated[bool, typer.Option("--trace", help="Keep the first wrong frame's waveform: rtl.vcd.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write the accelerator in SystemVerilog, rtl/, and simulate it cycle by cycle: rtl.json. Needs the extra rtl."""
    from toolchain.flow.rtl import RTL_IMAGES, demand_exact, make_rtl, summary

    check = check_of(images, labels, data, count or RTL_IMAGES, 0, threads, memory)
    with _opened(folder, "rtl") as build, progress() as bars:
        found = make_rtl(build, build.images(check), jobs=threads, overwrite=overwrite, trace=trace, progress=bars)
    demand_exact(found)
    console().print(summary(found), soft_wrap=True)


def count(folder: Folder, threads: ThreadsOption = 2, memory: MemoryOption = "2G") -> None:
    """Count LUT, FF, DSP and BRAM of every unit in SystemVerilog: counts.json, report.json. Needs the extra rtl."""
    from toolchain.flow.counts import count_build, demand_all, summary
    from toolchain.flow.stages import report as run
    from toolchain.memory import parse_size
    from toolchain.report.terminal import count_table

    with _opened(folder, "count") as build, progress() as bars:
        found = count_build(build, jobs=threads, memory=parse_size(memory, "--memory"), progress=bars)
        told = run(build) if (folder / "report.json").is_file() else None
    if told is not None and told.counted is not None:
        console().print(count_table(told, told.counted))
    demand_all(found)
    console().print(summary(build, found), soft_wrap=True)


def report(folder: Folder) -> None:
    """Write report.json and report.html again and print them; exit code 3 where the simulation was not exact."""
    from toolchain.flow.simulate import demand_exact
    from toolchain.flow.stages import report as run
    from toolchain.report.terminal import render

    with _opened(folder, "report") as build:
        console().print(render(run(build)))
    demand_exact(build.simulation)


def _opened(folder: Path, command: str) -> AbstractContextManager[Build]:
    """The build in ``folder``, which must be there, for ``command`` alone."""
    from toolchain.flow.build import opened

    if not folder.is_dir():
        raise UserError(f"no build folder: {folder}", hint="run 'fpgaflow lower' or 'fpgaflow export' first")
    return opened(folder, command)


def _show_probe(folder: Path, check: Check) -> None:
    """Print what every intermediate tensor of the build in ``folder`` differs by, and the first node that deviates."""
    from toolchain.flow.probe import probe_build
    from toolchain.flow.tables import probe_table

    with _opened(folder, "probe") as build:
        found = probe_build(build, check)
    console().print(probe_table(found))
    console().print(found.verdict, soft_wrap=True)
