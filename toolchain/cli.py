"""The command line: parse, load, one call, print."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain import __version__
from toolchain.errors import FlowError, UserError, VerificationError, unknown_name
from toolchain.terminal import console, progress

if TYPE_CHECKING:
    from toolchain.flow.options import Check, Search

app = typer.Typer(
    help="Quantized neural networks to verified Vitis HLS accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[Path, typer.Argument(help="QONNX file, or the folder of a training run.")]
Folder = Annotated[Path, typer.Argument(help="Build folder.")]
Out = Annotated[Path | None, typer.Option(help="Build folder; build/NAME by default.")]
BoardName = Annotated[str, typer.Option("--board", help="Board; see 'fpgaflow boards'.")]
ClockOption = Annotated[float | None, typer.Option("--clock", min=1, max=1000, help="Clock in MHz.")]
FpsOption = Annotated[float | None, typer.Option(min=1e-3, help="Least resources at this rate, not the most fps.")]
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
CountOption = Annotated[int, typer.Option("--count", min=0, help="Images to verify on; 0 for all.")]
QonnxOption = Annotated[int, typer.Option("--qonnx-images", min=0, help="Images that also run in float32 QONNX.")]
BackendOption = Annotated[str, typer.Option(help="fpgaflow, or hls4ml for its project beside this one.")]
MemoryOption = Annotated[str, typer.Option("--memory", help="Memory that it may take, e.g. 4G.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads of the C simulation.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fpgaflow {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what is done.")] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="Run file (TOML), or the name of a recipe.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. train.epochs=5.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run first.")] = False,
) -> None:
    """Train a quantized network and export it as QONNX."""
    from toolchain.config.run import find_config, load_config

    run = load_config(find_config(config), settings or [])
    from toolchain.flow.training import train as run_training

    folder = run_training(run, out or Path("runs") / run.name, resume, overwrite=overwrite)
    from toolchain.train.summary import summary

    console().print(summary(folder))


@app.command()
def quantize(
    network: Annotated[str, typer.Argument(help="Folder of a float run, or a network's name: efficientnet-lite0.")],
    weights: Annotated[int, typer.Option("--weights", help="Bits of the weights, 1 to 8.")] = 8,
    acts: Annotated[int, typer.Option("--acts", help="Bits of the activations, 1 to 8.")] = 8,
    layers: Annotated[list[str] | None, typer.Option("--bits", help="Bits of one layer, e.g. fc=8.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Data set to calibrate with; a run's own.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Images to calibrate with, .npy.")] = None,
    labels: LabelsOption = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Calibration images; others judge.")] = 256,
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One weight scale a layer.")] = False,
    factors: Annotated[
        int | None, typer.Option("--factor-bits", help="Bits of requantizers' factors, 8 to 24.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-wXaY by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove what is there first.")] = False,
    memory: MemoryOption = "2G",
) -> None:
    """Quantize a trained float network without training it, and export it as QONNX."""
    from toolchain.flow.options import parse_bits
    from toolchain.memory import parse_memory

    own = parse_bits(layers or [])
    from toolchain.flow.quantize import default_folder
    from toolchain.flow.quantize import quantize as run
    from toolchain.train.ptq.quantize import Bits

    bits = Bits(weights, acts, own, per_channel=not per_tensor, factors=factors)
    out = out or default_folder(network, bits)
    folder = run(
        network,
        out,
        bits,
        images=images,
        labels=labels,
        data=data,
        count=count,
        overwrite=overwrite,
        memory=parse_memory(memory),
    )
    from toolchain.train.summary import summary

    console().print(summary(folder))


@app.command()
def export(
    model: Model,
    out: Out = None,
    board: BoardName = "zu3eg",
    clock: ClockOption = None,
    target_fps: FpsOption = None,
    budget: BudgetOption = None,
    plan: PlanOption = None,
    time_limit: TimeOption = 60.0,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    count: CountOption = 1000,
    qonnx_images: QonnxOption = 256,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
    architecture: Annotated[str, typer.Option(help="streaming, engine, or auto: the faster that fits.")] = "auto",
    probe: Annotated[bool, typer.Option("--probe", help="Compare every intermediate tensor afterwards.")] = False,
    backend: BackendOption = "fpgaflow",
    hls4ml_seconds: Annotated[float, typer.Option(min=1, help="Seconds that hls4ml may take.")] = 600.0,
    allow_inexact: Annotated[bool, typer.Option("--allow-inexact", help="Accept an inexact hls4ml project.")] = False,
) -> None:
    """QONNX to a verified HLS project: lower, explore, generate, simulate, report."""
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.options import uses_hls4ml

    seconds = hls4ml_seconds if uses_hls4ml(backend) else None
    search = _search(board, clock, target_fps, budget, plan, time_limit, architecture)
    check = _check(images, labels, data, count, qonnx_images, threads, memory)
    model = _model_file(model)
    from toolchain.flow.build import build_name
    from toolchain.flow.stages import export as run

    folder = out or Path("build") / build_name(model)

    try:
        with progress() as bars:
            summary = run(
                model,
                folder,
                search,
                check,
                given=stated_input(given, pixel_scale),
                hls4ml_seconds=seconds,
                progress=bars,
            )
    except VerificationError:
        if (folder / "hls").is_dir():
            _show_probe(folder, check)
        raise
    from toolchain.report.terminal import render

    console().print(render(summary))
    console().print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    if probe:
        _show_probe(folder, check)
    if summary.hls4ml is not None and not allow_inexact:
        from toolchain.flow.hls4ml import demand_exact

        demand_exact(summary.hls4ml)


@app.command()
def lower(model: Model, out: Out = None, pixel_scale: PixelOption = None, given: InputOption = None) -> None:
    """QONNX to the integer network: graph.json and weights.npz."""
    model = _model_file(model)
    from toolchain.flow.build import build_name
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.stages import lower as run
    from toolchain.ir.text import to_text

    graph = run(model, out or Path("build") / build_name(model), given=stated_input(given, pixel_scale))
    console().print(to_text(graph), markup=False, soft_wrap=True)


@app.command()
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
    found = run(_model_file(model), stated)
    console().print(coverage_table(found))
    console().print(found.verdict, markup=False, soft_wrap=True)
    if not found.supported:
        raise typer.Exit(UserError.exit_code)
    if engine:
        from toolchain.flow.engine_stages import refusals_of

        refused = refusals_of(_model_file(model), stated)
        console().print("\n".join(refused) or "the engine runs it", markup=False, soft_wrap=True)
        if refused:
            raise typer.Exit(UserError.exit_code)


@app.command()
def explore(
    source: Annotated[Path, typer.Argument(help="Build folder, QONNX file, or the folder of a training run.")],
    out: Out = None,
    board: BoardName = "zu3eg",
    clock: ClockOption = None,
    target_fps: FpsOption = None,
    budget: BudgetOption = None,
    plan: PlanOption = None,
    time_limit: TimeOption = 60.0,
    pareto: Annotated[bool, typer.Option("--pareto", help="Show what slower accelerators save: pareto.json.")] = False,
    pixel_scale: PixelOption = None,
    given: InputOption = None,
    bits: Annotated[str | None, typer.Option("--bits", help="search: bits of weights on the engine.")] = None,
    widths: Annotated[str, typer.Option("--widths", help="Bits to choose from.")] = "4,6,8",
    sensitivity: Annotated[Path | None, typer.Option("--sensitivity", help="JSON: layer, bits, loss.")] = None,
    loss: Annotated[float | None, typer.Option("--loss", min=0, help="Most summed loss; a front without.")] = None,
) -> None:
    """Choose the parallelism of every unit: plan.json. With --bits search, bits of weights on the engine: bits.json."""
    from toolchain.flow.build import build_name
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.stages import explore as run
    from toolchain.flow.stages import lower as run_lower
    from toolchain.flow.stages import pareto as run_pareto
    from toolchain.flow.stages import plan_facts
    from toolchain.flow.tables import front_table, plan_table, solver_lines

    folder, stated = source, stated_input(given, pixel_scale)
    if not (source / "graph.json").is_file():
        model = _model_file(source)
        folder = out or Path("build") / build_name(model)
        run_lower(model, folder, given=stated)
    elif stated is not None:
        raise UserError(f"{source} is a build, whose input has its type", hint="explore the QONNX file with another")
    search = _search(board, clock, target_fps, budget, plan, time_limit)
    if bits is not None:
        _search_bits(folder, search, bits, widths, sensitivity, loss)
        return
    found = run(folder, search)
    console().print(plan_table(*plan_facts(folder, search)))
    for line in solver_lines(found):
        console().print(line, markup=False, soft_wrap=True)
    if pareto:
        console().print(front_table(run_pareto(folder, search)))
        console().print(f"Front: {folder / 'pareto.json'}", soft_wrap=True)
    console().print(f"Plan: {folder / 'plan.json'}", soft_wrap=True)


def _search_bits(
    folder: Path, search: Search, bits: str, widths: str, sensitivity: Path | None, loss: float | None
) -> None:
    """The ``--bits search`` of ``explore``."""
    from toolchain.flow.engine_bits import BITS_FILE, search_weight_bits
    from toolchain.flow.options import parse_widths
    from toolchain.flow.tables import bits_table

    if bits != "search":
        raise UserError(f"--bits {bits}", hint="explore knows --bits search; single layers belong to quantize")
    front, clock = search_weight_bits(folder, search, parse_widths(widths), table=sensitivity, loss=loss)
    console().print(bits_table(front, clock))
    console().print(f"Bits: {folder / BITS_FILE}", soft_wrap=True)


@app.command()
def generate(folder: Folder) -> None:
    """Write the Vitis HLS project of the plan: hls/."""
    from toolchain.flow.stages import generate as run

    console().print(f"Project: {run(folder)}", soft_wrap=True)


@app.command()
def simulate(
    folder: Folder,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    count: CountOption = 1000,
    qonnx_images: QonnxOption = 256,
    threads: ThreadsOption = 2,
    memory: MemoryOption = "2G",
) -> None:
    """Run the C simulation and compare it with the integer network: simulation.json."""
    from toolchain.flow.simulate import demand_exact
    from toolchain.flow.simulate import simulate as run

    with progress() as bars:
        found = run(folder, _check(images, labels, data, count, qonnx_images, threads, memory), progress=bars)
    demand_exact(found)
    accuracy = "" if found.top1 is None else f", top-1 {found.top1:.2%}"
    console().print(f"exact on {found.images} images of {found.data}{accuracy}")


@app.command()
def report(folder: Folder) -> None:
    """Write report.json and report.html again and print them."""
    from toolchain.flow.stages import report as run
    from toolchain.report.terminal import render

    console().print(render(run(folder)))


@app.command()
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


def _show_probe(folder: Path, check: Check) -> None:
    """Print what every intermediate tensor of the build in ``folder`` differs by, and the first node that deviates."""
    from toolchain.flow.probe import probe_build
    from toolchain.flow.tables import probe_table

    found = probe_build(folder, check)
    console().print(probe_table(found))
    console().print(found.verdict, markup=False, soft_wrap=True)


def _model_file(path: Path) -> Path:
    """The QONNX file ``path``, or the one in the run folder ``path``."""
    if path.is_dir():
        if not (path / "model.onnx").is_file():
            raise UserError(f"no model.onnx in {path}", hint="give a QONNX file or a finished run's folder")
        return path / "model.onnx"
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    return path


def _search(
    board: str,
    clock: float | None,
    fps: float | None,
    budget: list[str] | None,
    plan: Path | None,
    seconds: float,
    architecture: str = "auto",
) -> Search:
    from toolchain.flow.options import ARCHITECTURES, Search, parse_budget

    if architecture not in ARCHITECTURES:
        raise unknown_name("architecture", architecture, ARCHITECTURES)
    return Search(board, clock, fps, parse_budget(budget or []), seconds, plan, architecture)


def _check(
    images: Path | None, labels: Path | None, data: str | None, count: int, qonnx_images: int, threads: int, memory: str
) -> Check:
    from toolchain.flow.options import Check
    from toolchain.memory import parse_memory

    return Check(images, labels, data, count or None, qonnx_images, threads, parse_memory(memory))


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except FlowError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except MemoryError as error:
        if debug:
            raise
        _fail(_out_of_memory(error), UserError.exit_code)
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}", UserError.exit_code)


def _out_of_memory(error: MemoryError) -> str:
    """One line: what was asked for, where numpy says it, and what may be had."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    said = " ".join(str(error).split())
    what = f"out of memory: {said}" if said else "out of memory"
    if limit != resource.RLIM_INFINITY:
        what += f"; this process may take {limit / 1e9:.1f} GB (ulimit -v)"
    return f"{what}; give it more, or a smaller --memory and fewer --threads"


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"fpgaflow: {message}\n")
    raise SystemExit(code)
