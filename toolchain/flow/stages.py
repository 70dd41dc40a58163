"""lower, explore, generate, simulate, report: each reads files below the build folder and writes its own.

model.onnx -> model.json graph.json weights.npz -> plan.json -> hls/ -> simulation.json -> report.json report.html
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from toolchain.boards import Board, load_board
from toolchain.dse.explore import explore as find_plan
from toolchain.dse.front import Point, front
from toolchain.errors import UserError
from toolchain.files import replace_folder, write_files, write_text
from toolchain.flow import engine_stages
from toolchain.flow.architecture import choose as choose_architecture
from toolchain.flow.build import Progress, build_name, load_folder_images, load_hardware, silent, staged
from toolchain.flow.engine_report import make_report as make_engine_report
from toolchain.flow.hls4ml import build_hls4ml, demand_buildable, distance_line, read_hls4ml
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.options import Check, Search, prepared_board
from toolchain.flow.records import ModelRecord, SimulationRecord, read_record, write_record
from toolchain.flow.simulate import demand_exact, simulate
from toolchain.flow.summary import make_report
from toolchain.frontend.read import read_qonnx
from toolchain.hls_templates.generate import generate as generate_files
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import input_text
from toolchain.ir.store import load, save, stored_digest
from toolchain.ir.types import InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.apply_plan import load_plan
from toolchain.passes.minimize_fifos import minimize_fifos
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Plan, save_plan
from toolchain.report.data import Report
from toolchain.report.write import write_report
from toolchain.simulate.compiler import compiler
from toolchain.simulate.cycles import simulate as simulate_cycles
from toolchain.units.cycles import graph_cycles


def export(
    model: Path,
    out: Path,
    search: Search,
    check: Check,
    *,
    given: InputType | None = None,
    hls4ml_seconds: float | None = None,
    progress: Progress = silent,
) -> Report:
    """All stages, from the QONNX file ``model`` to the build folder ``out``, which appears when all of it is there.

    ``given`` is what the network's input holds, see ``lower``. A build whose C simulation or QONNX comparison fails is
    kept for inspection, and VerificationError is raised. With ``hls4ml_seconds`` the build also holds hls4ml's project,
    made in that time; whether it is exact is for the caller to judge, see `toolchain.flow.hls4ml.demand_exact`.

    Raises:
        UserError: the input is at fault; ``out`` is untouched.
        VerificationError: the accelerator does not compute what the model does.
    """
    compiler()
    prepared_board(search)
    if hls4ml_seconds is not None:
        if search.architecture == "engine":
            raise UserError("hls4ml's project stands beside a streaming build only", hint="leave --architecture out")
        search = replace(search, architecture="streaming")
    with staged(out) as folder:
        lower(model, folder, given=given, progress=progress)
        load_folder_images(folder, check)  # before the long work
        if hls4ml_seconds is not None:
            demand_buildable(folder)
        choose(folder, search, progress=progress)
        generate(folder, progress=progress)
        found = simulate(folder, check, progress=progress)
        if hls4ml_seconds is not None:
            progress("hls4ml", 0, 1)
            images = load_folder_images(folder, check)
            build_hls4ml(folder, load_hardware(folder)[0], images.x, hls4ml_seconds)
            progress("hls4ml", 1, 1)
        summary = report(folder)
    demand_exact(found)
    return summary


def choose(folder: Path, search: Search, *, progress: Progress = silent) -> None:
    """Explore for the architecture of ``search``, see `toolchain.flow.architecture.choose`.

    Raises:
        UserError: the architecture, or with "auto" neither of them, fits the network and the board.
    """
    choose_architecture(folder, search, lambda: _streaming_rate(folder, search, progress))


def _streaming_rate(folder: Path, search: Search, progress: Progress) -> float:
    """Frames per second of the streaming plan, which is written."""
    plan = explore(folder, search, progress=progress)
    cycles = plan.solver.cycles if plan.solver is not None else graph_cycles(load_hardware(folder)[0])
    return plan.clock_mhz * 1e6 / cycles


def lower(model: Path, folder: Path, *, given: InputType | None = None, progress: Progress = silent) -> Graph:
    """Write model.json, graph.json and weights.npz: the integer network equal to the QONNX file.

    ``given`` is what the network's input holds, where the file does not tell it, or to say otherwise.
    """
    progress("lower", 0, 1)
    file = read_qonnx(model)
    encoding, notes = chosen_encoding(file, given)
    graph = to_integer(replace(file.graph, name=build_name(model)), encoding)
    record = ModelRecord(
        file=str(model.resolve()),
        sha256=file.sha256,
        macs=file.macs,
        params=file.params,
        data=file.data,
        axes=file.layout.axes,
        input=input_text(encoding),
        notes=[*file.notes, *notes],
    )
    save(graph, folder, source_digest=file.sha256)
    write_record(record, folder / "model.json")
    progress("lower", 1, 1)
    return graph


def explore(folder: Path, search: Search, *, progress: Progress = silent) -> Plan:
    """Write plan.json: the explorer's plan for the graph in ``folder``, or the checked plan file of ``search``.

    The build is a streaming one from here on.
    """
    progress("explore", 0, 1)
    (folder / engine_stages.ENGINE_FILE).unlink(missing_ok=True)
    graph, board = load(folder), prepared_board(search)
    digest = stored_digest(folder)
    if search.plan is not None:
        plan = load_plan(search.plan, hardware_form(graph)).model_copy(update={"model": digest})
    else:
        plan = find_plan(
            graph,
            board,
            clock_mhz=search.clock_mhz,
            target_fps=search.target_fps,
            model=digest,
            time_limit=search.time_limit,
        )
    progress("explore", 1, 1)
    progress("fifos", 0, 1)
    plan = _sized(graph, plan)
    save_plan(plan, folder / "plan.json")
    progress("fifos", 1, 1)
    return plan


def plan_facts(folder: Path, search: Search) -> tuple[Graph, Plan, Board]:
    """The HARDWARE graph and the plan in ``folder``, and the board of ``search`` with its budget."""
    hardware, plan = load_hardware(folder)
    return hardware, plan, prepared_board(search)


def pareto(folder: Path, search: Search) -> list[Point]:
    """Write pareto.json: frame rate against resources of the graph in ``folder``, fastest first."""
    board = prepared_board(search)
    points = front(load(folder), board, clock_mhz=search.clock_mhz, time_limit=search.time_limit)
    rows = [asdict(point) | {"board": board.name, "graph": stored_digest(folder)} for point in points]
    write_text(folder / "pareto.json", json.dumps(rows, indent=1) + "\n")
    return points


def _sized(graph: Graph, plan: Plan) -> Plan:
    """``plan`` with the minimal FIFO depths, or with its own when they let every unit go on."""
    hardware = to_hardware(graph, plan)
    if plan.depths is None:
        depths = {name: value.depth for name, value in minimize_fifos(hardware).values().items()}
        return plan.model_copy(update={"depths": depths})
    deadlock = simulate_cycles(hardware, frames=2).deadlock
    if deadlock is not None:
        raise UserError(str(deadlock), where="depths of the plan", hint="leave them out to have them found")
    return plan


def generate(folder: Path, *, progress: Progress = silent) -> Path:
    """Write hls/: the Vitis HLS project of the plan, or of the engine, in ``folder``."""
    progress("generate", 0, 1)
    if engine_stages.is_engine(folder):
        found = engine_stages.generate(folder)
        progress("generate", 1, 1)
        return found
    hardware, plan = load_hardware(folder)
    board = load_board(plan.board)
    target = folder / "hls"
    with replace_folder(target) as partial:
        write_files(generate_files(hardware, board, plan.clock_mhz), partial)
    progress("generate", 1, 1)
    return target


def report(folder: Path) -> Report:
    """Write report.json and report.html from the files of the other stages."""
    model = read_record(ModelRecord, folder / "model.json")
    simulation = read_record(SimulationRecord, folder / "simulation.json")
    digest = stored_digest(folder)
    if simulation.graph != digest:
        raise UserError("simulation.json is of another graph", where=str(folder), hint="run 'fpgaflow simulate' again")
    if engine_stages.is_engine(folder):
        summary = make_engine_report(engine_stages.load_build(folder), model, simulation, digest)
        write_report(summary, folder)
        return summary
    hardware, plan = load_hardware(folder)
    metrics = Path(model.file).with_name("metrics.json")
    summary = make_report(hardware, plan, load_board(plan.board), model, simulation, metrics, digest)
    beside = read_hls4ml(folder, digest)
    if beside is not None:
        summary = summary.model_copy(update={"hls4ml": beside, "notes": (*summary.notes, distance_line(beside))})
    write_report(summary, folder)
    return summary
