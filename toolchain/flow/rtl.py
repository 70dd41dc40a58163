"""The accelerator in SystemVerilog beside the C++: rtl/, and rtl.json with what its simulation found."""

from __future__ import annotations

import time

from toolchain.boards import load_board
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import RTL, RTL_RECORD, Build
from toolchain.flow.images import Images
from toolchain.flow.progress import Progress, silent
from toolchain.flow.project import demand_own, foreign, write_project
from toolchain.flow.records import RtlRecord, write_record
from toolchain.flow.streaming import Streaming
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.rtl.generate import demand_rtl, generate_rtl, rtl_bundles, rtl_top, synthesis
from toolchain.rtl.simulate import NO_PAUSES, Pauses, RtlRun, RtlSimulation, expected_ends, interval
from toolchain.rtl.verilate import simulation, verilator

RTL_IMAGES = 4
"""Images to simulate where nobody says how many: a clock cycle of a large network takes some 20 us."""

STALLS = Pauses(reads=96, writes=96)
"""Every image runs a second time so: pauses at both ends, and pipelines that stand still."""


def demand_tools(architecture: str) -> None:
    """Raise UserError where Verilator is missing or the ``architecture`` that is asked for has no SystemVerilog."""
    if architecture == "engine":
        raise UserError("the engine has no SystemVerilog", hint="give --architecture streaming, or leave --rtl out")
    verilator()


def make_rtl(
    build: Build, images: Images, *, jobs: int = 2, overwrite: bool = False, progress: Progress = silent
) -> RtlRecord:
    """Write rtl/ and rtl.json: the SystemVerilog, and its codes and cycles on ``images``.

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
    progress("verilate", 0, 1)
    started = time.monotonic()
    ports = len(rtl_bundles(design.hardware))
    program = simulation(files, rtl_top(design.hardware), ports=ports, jobs=jobs)
    simulated = RtlSimulation(design.hardware, files, program)
    spent = time.monotonic() - started
    progress("verilate", 1, 1)
    progress("rtl images", 0, 1)
    codes = encode(design.hardware, images.x)
    right = evaluate(design.hardware, codes)
    frames = expected_ends(design.hardware, len(codes))
    deviation: str | None = None
    free: RtlRun | None = None
    wrong = 0
    for pauses in (NO_PAUSES, STALLS):
        try:
            run = simulated.run(codes, pauses)
        except VerificationError as error:
            deviation = deviation or f"{error}; {simulated.first_deviation(codes, pauses) or 'every word is right'}"
            continue
        differ = sum(int((found != right[name]).sum()) for name, found in run.codes.items())
        wrong += differ
        if differ and not deviation:
            deviation = simulated.first_deviation(codes, pauses) or "the output words"
        if pauses == NO_PAUSES:
            free, deviation = run, deviation or _wrong_pace(run.frame_ends, frames)
    progress("rtl images", 1, 1)
    record = RtlRecord(
        design=design.digest,
        project=project.digest,
        data=images.name,
        images=len(codes),
        mismatches=wrong,
        first_deviation=deviation,
        frame_ends=list(free.frame_ends) if free else [],
        model_frame_ends=list(frames),
        fill=dict(free.fill) if free else {},
        build_seconds=round(spent, 1),
        seconds=round(free.seconds, 3) if free else 0.0,
    )
    write_record(record, build.folder / RTL_RECORD)
    return record


def demand_exact(found: RtlRecord) -> None:
    """Raise VerificationError unless all codes and cycles of ``found`` are the model's."""
    if found.first_deviation:
        raise VerificationError(
            f"the SystemVerilog is not exact, {found.mismatches} codes differ: {found.first_deviation}"
        )


def summary(found: RtlRecord) -> str:
    """What ``found`` says, in a line."""
    pace = f", a frame every {interval(found.frame_ends):,} cycles as modelled" if len(found.frame_ends) > 1 else ""
    rate = f"{found.images / found.seconds:,.1f} images a second" if found.seconds else "no time"
    return f"SystemVerilog exact on {found.images} images of {found.data}, also with pauses{pace}; {rate} simulated"


def _wrong_pace(ends: tuple[int, ...], frames: tuple[int, ...]) -> str | None:
    for number, (end, right) in enumerate(zip(ends, frames, strict=True)):
        if end != right:
            return f"frame {number} ends in cycle {end}, the model says {right}"
    return None
