"""lower, explore, generate, simulate, report: each reads files below the build folder and writes its own.

model.onnx -> model.json graph.json weights.npz -> build.json plan.json -> hls/ -> simulation.json -> report.json
report.html
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

from toolchain.boards import Board, load_board
from toolchain.dse.front import Point, front
from toolchain.errors import UserError
from toolchain.files import digest_bytes, write_text
from toolchain.flow.build import FIRST, HLS, NETWORK, REST, Build, build_name, demand_build, outputs_of, staged
from toolchain.flow.choice import choose
from toolchain.flow.counts import count_build, with_counts
from toolchain.flow.coverage import mapped_part
from toolchain.flow.first import first_record
from toolchain.flow.hls4ml import beside, build_hls4ml, demand_buildable
from toolchain.flow.host import host_notes, host_part, write_part
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.measured import with_measured
from toolchain.flow.options import Check, Hls4mlOptions, Search, planned_board, prepared_board
from toolchain.flow.progress import Progress, silent
from toolchain.flow.project import change_notes, demand_own, foreign, write_project
from toolchain.flow.records import BuildRecord, FirstRecord, InputsRecord, ModelRecord, record_text, write_record
from toolchain.flow.rtl import RTL_IMAGES, demand_tools, make_rtl
from toolchain.flow.rtl import demand_exact as demand_exact_rtl
from toolchain.flow.simulate import demand_exact, simulate
from toolchain.flow.streaming import Streaming
from toolchain.frontend.front_part import behind
from toolchain.frontend.host_part import part_bytes
from toolchain.frontend.onnx_file import OnnxFile, load_onnx
from toolchain.frontend.read import ModelFile, read_file
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import input_text
from toolchain.ir.store import save
from toolchain.ir.types import Encoding, InputType
from toolchain.locks import locked
from toolchain.lowering.pipeline import to_integer
from toolchain.report.data import Report, read_report
from toolchain.report.write import write_report
from toolchain.rtl.generate import demand_rtl
from toolchain.simulate.compiler import compiler


def export(
    model: Path,
    out: Path,
    search: Search,
    check: Check,
    *,
    given: InputType | None = None,
    hls4ml: Hls4mlOptions | None = None,
    rtl: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """All stages, from the QONNX file ``model`` to the build folder ``out``, which appears when all of it is there.

    ``given`` is what the network's input holds, see ``lower``. A build whose C simulation or QONNX comparison fails is
    kept for inspection, and VerificationError is raised; so is one whose ``hls4ml`` step fails. Whether hls4ml's
    project is exact is for the caller to judge, see `toolchain.flow.hls4ml.demand_exact`. With ``rtl`` the accelerator
    is also written in SystemVerilog and simulated.

    Raises:
        UserError: the input is at fault, or ``out`` holds what no stage wrote and ``overwrite`` is not given; ``out``
            is untouched, except where hls4ml fails.
        VerificationError: the accelerator does not compute what the model does, or not in the cycles of the model.
    """
    compiler()
    board = prepared_board(search)
    if hls4ml is not None:
        if search.architecture == "engine":
            raise UserError("hls4ml's project stands beside a streaming build only", hint="leave --architecture out")
        search = replace(search, architecture="streaming")
    if rtl:
        demand_tools(search.architecture)
        search = replace(search, architecture="streaming")
    failed = found = None
    with locked(out, "export"), staged(out, overwrite=overwrite) as folder:
        build = lower(model, folder, given=given, board=board, progress=progress)
        images = build.images(check)  # before the long work
        if hls4ml is not None:
            demand_buildable(build)
        build = explore(build, search, progress=progress)
        if rtl and isinstance(build.design, Streaming):
            demand_rtl(build.design.hardware, hint="leave --rtl out; the C++ has every unit")
        if search.costs == "counted" and isinstance(build.design, Streaming):
            count_build(build, jobs=check.threads, memory=check.memory.total, progress=progress)
        build = generate(build, progress=progress)
        build = simulate(build, check, images=images, progress=progress)
        if hls4ml is not None:
            progress("hls4ml", 0, 1)
            try:
                build_hls4ml(build, images.x, hls4ml.seconds)
            except UserError as error:
                failed = error
            progress("hls4ml", 1, 1)
        if rtl:
            found = make_rtl(build, images.first(RTL_IMAGES), jobs=check.threads, progress=progress)
        summary = report(build)
    demand_exact(build.simulation)
    if found is not None:
        demand_exact_rtl(found)
    if failed is not None:
        raise failed
    return summary


def lower(
    model: Path,
    folder: Path,
    *,
    given: InputType | None = None,
    board: Board | None = None,
    progress: Progress = silent,
) -> Build:
    """Write model.json, graph.json and weights.npz: the integer network equal to the QONNX file.

    ``given`` is what the network's input holds, where the file does not tell it, or to say otherwise. ``board``, the
    usual one by default, tells what a DSP slice is worth, see `toolchain.lowering.lower.lower`.

    Raises:
        UserError: the file cannot be lowered, or ``folder`` holds something else than a build.
    """
    demand_build(folder)
    progress("lower", 0, 1)
    board = board or load_board()
    mapped = _mapped(model, given, board.lut_per_dsp)
    file, encoding, integer = mapped.file, mapped.encoding, mapped.graph
    host, rest = host_part(mapped.whole, file, integer)
    graph = replace(integer, classes=file.classes)
    if file.classes and outputs_of(graph) not in (None, len(file.classes)):
        what = f"the file names {len(file.classes)} classes, and the network has {outputs_of(graph)} outputs"
        raise UserError(what, where=model.name, hint="correct the metadata entry fpgaflow.classes")
    record = ModelRecord(
        file=str(model.resolve()),
        sha256=file.sha256,
        macs=file.macs,
        params=file.params,
        data=file.data,
        reading=dict(file.reading),
        axes=file.layout.axes,
        input=input_text(encoding),
        notes=[*file.notes, *mapped.notes, *host_notes(mapped.first, host)],
        joined=InputsRecord.of(file.joined),
        ends=list(mapped.ends),
        host=host,
        first=mapped.first,
        board=board.name,
    )
    write_record(record, folder / "model.json")  # first: it is what a build is known by, also after a kill
    write_part(mapped.front, folder / FIRST)
    write_part(mapped.network, folder / NETWORK)
    write_part(rest, folder / REST)
    network = save(graph, folder, source_digest=digest_bytes(record_text(record).encode()))
    progress("lower", 1, 1)
    return Build(folder).knowing(model=record, network=network)


@dataclass(frozen=True)
class _Mapped:
    """What of a file is the accelerator's: ``whole`` as read to the tensors ``ends``, where those are no outputs of it.

    ``whole`` is what ``network`` holds, where ``front``, first.onnx, of which ``first`` tells, stands before it.
    """

    whole: OnnxFile
    file: ModelFile
    ends: tuple[str, ...]
    encoding: Encoding
    notes: list[str]
    graph: Graph
    first: FirstRecord | None = None
    front: onnx.ModelProto | None = None
    network: onnx.ModelProto | None = None


def _mapped(model: Path, given: InputType | None, lut_per_dsp: int) -> _Mapped:
    """``model`` as far as the accelerator computes it, and its integer network."""

    def lowered(whole: OnnxFile, stated: InputType | None, ends: tuple[str, ...] = ()) -> _Mapped:
        file = read_file(whole, ends)
        encoding, notes = chosen_encoding(file, stated)
        graph = to_integer(replace(file.graph, name=build_name(model)), encoding, lut_per_dsp)
        return _Mapped(whole, file, ends, encoding, notes, graph)

    file = load_onnx(model)
    try:
        return lowered(file, given)
    except UserError:
        part = mapped_part(file, given)
        if part is None:
            raise
    found = lowered(part.file, part.given, part.outputs)
    if not part.starts:
        return found
    network = behind(file, part.starts)
    first, front = first_record(file, given, part.starts, digest_bytes(part_bytes(network)))
    return replace(found, first=first, front=front, network=network)


def explore(build: Build, search: Search, *, overwrite: bool = False, progress: Progress = silent) -> Build:
    """Write build.json and plan.json or engine.json: the best accelerator of the architecture that ``search`` asks for.

    Raises:
        UserError: nothing fits; or a plan that a person wrote would be lost, and ``overwrite`` is not given.
    """
    network = build.network
    if not overwrite:
        demand_own(build.foreign_plans(), "the plan")
    choice = choose(network, search, progress)
    design = choice.design
    text = design.text()
    # the earlier ones stay known: a kill between the two files must not make one a person's
    plans = [*build.own_plans(), digest_bytes(text.encode())]
    record = BuildRecord(architecture=design.name, plans=plans, notes=list(choice.notes))
    write_record(record, build.folder / "build.json")
    write_text(build.folder / design.file, text)
    return build.knowing(record=record, design=design)


def pareto(build: Build, search: Search) -> list[Point]:
    """Write pareto.json: frame rate against resources of the network, fastest first."""
    board, network = planned_board(search, Streaming.name), build.network
    points = front(network.graph, board, clock_mhz=search.clock_mhz, time_limit=search.time_limit)
    rows = [asdict(point) | {"board": board.name, "graph": network.digest} for point in points]
    write_text(build.folder / "pareto.json", json.dumps(rows, indent=1) + "\n")
    return points


def generate(build: Build, *, overwrite: bool = False, progress: Progress = silent) -> Build:
    """Write hls/: the Vitis HLS project of the accelerator.

    Raises:
        UserError: hls/ holds what this tool did not write, and ``overwrite`` is not given.
    """
    design, target = build.design, build.folder / HLS
    progress("generate", 0, 1)
    if not overwrite and target.is_dir():
        demand_own(foreign(target), f"{target}")
    project = write_project(design.generate(), target, design.digest)
    progress("generate", 1, 1)
    return build.knowing(project=project)


def report(build: Build) -> Report:
    """Write report.json and report.html from the files of the other stages.

    Raises:
        UserError: one is missing, or was made of something else than the files that stand there now.
    """
    simulation, record = build.simulation, build.record
    notes = [*build.model.notes, *record.notes, *change_notes(build.project)]
    model = build.model.model_copy(update={"notes": notes})
    summary = with_counts(build, beside(build, build.design.report(model, simulation)))
    summary = with_measured(build, summary)
    write_report(summary, build.folder)
    return summary


def written_report(path: Path) -> Report:
    """The report in the build folder or the file ``path``.

    Raises:
        UserError: there is none, or the build has another accelerator by now.
    """
    found = read_report(path)
    if (path / "build.json").is_file() and Build(path).simulation.design != found.design:
        hint = "run 'fpgaflow report' again"
        raise UserError("report.json is of another accelerator", where=str(path), hint=hint)
    return found
