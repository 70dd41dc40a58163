"""The accelerator in SystemVerilog beside the C++: rtl/, and rtl.json with what its simulation found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.boards import load_board
from toolchain.dse.expand import expand
from toolchain.dse.explore import plan_of
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import RTL, RTL_RECORD, WAVEFORM, Build
from toolchain.flow.coverage import mapped_file
from toolchain.flow.images import Images
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.progress import Progress, silent
from toolchain.flow.project import demand_own, foreign, write_project
from toolchain.flow.records import RtlRecord, write_record
from toolchain.flow.streaming import Streaming
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.rtl.generate import demand_rtl, generate_rtl, missing_units, rtl_bundles, rtl_top, synthesis
from toolchain.rtl.simulate import NO_PAUSES, Pauses, RtlRun, RtlSimulation, Standstill, expected_ends
from toolchain.rtl.verilate import simulation, verilator

RTL_IMAGES = 4
"""Images to simulate where nobody says how many: a clock cycle of a large network takes some 20 us."""

STALLS = Pauses(reads=96, writes=96)
"""Every image runs a second time so: pauses at both ends, and pipelines that stand still."""


def refusals_of(model: Path, given: InputType | None = None) -> list[str]:
    """Units without SystemVerilog of the QONNX file ``model`` with the input ``given``, at fewest and at most lanes.

    Raises:
        UserError: no Verilator, or the file cannot be built.
    """
    verilator()
    file, stated = mapped_file(model, given)
    encoding, _ = chosen_encoding(file, stated)
    network = to_integer(file.graph, encoding)
    form = hardware_form(network)
    chosen = [[o.lanes for o in decision.options if not o.padded] for decision in expand(form).decisions]
    missing: dict[str, str] = {}
    for end in (0, -1):
        lanes = {name: own for options in chosen for name, own in options[end].items()}
        missing |= missing_units(to_hardware(network, plan_of(form, lanes, "zu3eg", 250.0, "")))
    return [f"{name} ({function})" for name, function in missing.items()]


def demand_tools(architecture: str) -> None:
    """Raise UserError where Verilator is missing or the ``architecture`` that is asked for has no SystemVerilog."""
    if architecture == "engine":
        raise UserError("the engine has no SystemVerilog", hint="export with --architecture streaming")
    verilator()


def rtl_simulation(
    graph: Graph, files: Mapping[str, str], *, jobs: int = 2, trace: bool = False, progress: Progress = silent
) -> RtlSimulation:
    """The simulation of the SystemVerilog ``files`` of ``graph`` at its ports to memory; see `verilate.simulation`."""
    progress("verilate", 0, 1)
    program = simulation(files, rtl_top(graph), ports=len(rtl_bundles(graph)), jobs=jobs, trace=trace)
    progress("verilate", 1, 1)
    return RtlSimulation(graph, files, program)


@dataclass(frozen=True)
class _Wrong:
    """The first fault: told, in which frame, with which pauses."""

    text: str
    frame: int
    pauses: Pauses


def make_rtl(
    build: Build,
    images: Images,
    *,
    jobs: int = 2,
    overwrite: bool = False,
    trace: bool = False,
    progress: Progress = silent,
) -> RtlRecord:
    """Write rtl/ and rtl.json: the SystemVerilog, and its codes and cycles on ``images``.

    With ``trace`` the waveform of the first wrong frame goes to rtl.vcd, if there is one.

    Raises:
        UserError: no Verilator, the build is no streaming one, a unit of it has no module, or rtl/ holds what no stage
            wrote.
    """
    demand_tools(build.record.architecture)
    design, target = build.design, build.folder / RTL
    assert isinstance(design, Streaming)
    demand_rtl(design.hardware)
    if not overwrite and target.is_dir():
        demand_own(foreign(target), f"{target}")
    progress("rtl", 0, 1)
    files = generate_rtl(design.hardware)
    scripts = synthesis(design.hardware, load_board(design.plan.board), design.plan.clock_mhz)
    project = write_project(files | scripts, target, design.digest)
    progress("rtl", 1, 1)
    started = time.monotonic()
    simulated = rtl_simulation(design.hardware, files, jobs=jobs, progress=progress)
    spent = time.monotonic() - started
    progress("rtl images", 0, 1)
    codes = encode(design.hardware, images.x)
    frames = expected_ends(design.hardware, len(codes))
    first, mismatches, free = _compare(simulated, codes, frames)
    progress("rtl images", 1, 1)
    waveform = build.folder / WAVEFORM
    if trace and first is not None:
        traced = rtl_simulation(design.hardware, files, jobs=jobs, trace=True, progress=progress)
        traced.trace(codes, first.frame, waveform, first.pauses)
    else:
        waveform.unlink(missing_ok=True)  # of an earlier run
    record = RtlRecord(
        design=design.digest,
        project=project.digest,
        data=images.name,
        images=len(codes),
        mismatches=mismatches,
        first_deviation=first.text if first else None,
        traced_frame=first.frame if first and trace else None,
        frame_ends=list(free.frame_ends) if free else [],
        model_frame_ends=list(frames),
        fill=dict(free.fill) if free else {},
        build_seconds=round(spent, 1),
        seconds=round(free.seconds, 3) if free else 0.0,
    )
    write_record(record, build.folder / RTL_RECORD)
    return record


def _compare(
    simulated: RtlSimulation, codes: Array, model: tuple[int, ...]
) -> tuple[_Wrong | None, int, RtlRun | None]:
    """The first fault over runs without and with pauses, codes that are, and the run without if it came to an end.

    The ``model`` says in which cycle each frame ends.
    """
    right = evaluate(simulated.graph, codes)
    wrong: list[_Wrong] = []
    mismatches, free = 0, None
    for pauses in (NO_PAUSES, STALLS):
        try:
            run = simulated.run(codes, pauses)
        except Standstill as error:
            word = simulated.first_deviation(codes, pauses)
            told = f"{error}; {word or 'every word is right'}"
            wrong.append(_Wrong(told, word.frame if word else error.frames, pauses))
            continue
        differ = np.array([(found != right[name]).sum(axis=(1, 2, 3)) for name, found in run.codes.items()]).sum(axis=0)
        mismatches += int(differ.sum())
        if differ.any():
            word = simulated.first_deviation(codes, pauses)
            frame = word.frame if word else int(np.flatnonzero(differ)[0])
            wrong.append(_Wrong(str(word or "the output words"), frame, pauses))
        if pauses == NO_PAUSES:
            free = run
            paces = enumerate(zip(run.frame_ends, model, strict=True))
            wrong += [
                _Wrong(f"frame {number} ends in cycle {end}, the model says {said}", number, pauses)
                for number, (end, said) in paces
                if end != said
            ]
    return next(iter(wrong), None), mismatches, free


def demand_exact(found: RtlRecord) -> None:
    """Raise VerificationError unless all codes and cycles of ``found`` are the model's."""
    if found.first_deviation:
        told = f"the SystemVerilog is not exact, {found.mismatches} codes differ: {found.first_deviation}"
        traced = found.traced_frame
        raise VerificationError(told if traced is None else f"{told}; {WAVEFORM} has the waveform of frame {traced}")


def summary(found: RtlRecord) -> str:
    """``found`` in a line."""
    rate = f"{found.images / found.seconds:,.1f} images a second" if found.seconds else "no time"
    exact = f"SystemVerilog exact on {found.images} images of {found.data}, also with pauses"
    return f"{exact}, each of them in the model's cycle; {rate} simulated"
