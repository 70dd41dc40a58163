"""The stage that proves a build: C simulation = integer network, and integer network = QONNX file up to ties."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from toolchain.errors import UserError, VerificationError
from toolchain.files import digest_file
from toolchain.flow import engine_stages
from toolchain.flow.build import Progress, Simulated, load_folder_images, load_hardware, silent
from toolchain.flow.images import Images
from toolchain.flow.options import Check
from toolchain.flow.records import ModelRecord, SimulationRecord, read_record, write_record
from toolchain.frontend.agreement import Agreement
from toolchain.frontend.agreement import compare as compare_with_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode, host_values
from toolchain.ir.graph import Graph
from toolchain.ir.store import load, stored_digest
from toolchain.ir.types import Array
from toolchain.simulate.compare import compare_frames
from toolchain.simulate.compiler import compiler
from toolchain.simulate.csim import CSim, build
from toolchain.simulate.drive import drive_units


def simulate(folder: Path, check: Check, *, progress: Progress = silent) -> SimulationRecord:
    """Write simulation.json: the C simulation against the integer network, and that against the QONNX file."""
    graph = load(folder)
    images = load_folder_images(folder, check)
    agreement, deviation = _qonnx(read_record(ModelRecord, folder / "model.json"), graph, images, check, progress)
    if engine_stages.is_engine(folder):
        run = engine_stages.simulate(folder, images.x, check, progress)
    else:
        run = _simulate_units(folder, images, check, progress)
    top1 = None
    if images.y is not None and len(run.classes):
        top1 = float(np.mean(run.classes == images.y))
    result = SimulationRecord(
        graph=stored_digest(folder),
        data=images.name,
        images=len(images.x),
        qonnx_images=agreement.images if agreement else 0,
        qonnx_top1_agreement=agreement.top1 if agreement else None,
        qonnx_code_mismatches=agreement.mismatches if agreement else None,
        csim_mismatches=run.mismatches,
        csim_seconds=run.seconds,
        vectors=run.driven.vectors,
        vector_mismatches=run.driven.mismatches,
        first_deviation=deviation or run.deviation,
        top1=top1,
        calls=run.calls,
        cycles=run.cycles,
        compiler=compiler()[1],
    )
    write_record(result, folder / "simulation.json")
    return result


def demand_exact(found: SimulationRecord) -> None:
    """Raise VerificationError unless every comparison of ``found`` is exact."""
    if found.first_deviation or found.csim_mismatches or found.vector_mismatches:
        alone = f", {found.vector_mismatches} of units driven alone" if found.vector_mismatches else ""
        raise VerificationError(
            f"the build is not exact: {found.csim_mismatches} codes of the C simulation differ{alone}; "
            f"{found.first_deviation or 'no node was found to deviate'}"
        )


def _simulate_units(folder: Path, images: Images, check: Check, progress: Progress) -> Simulated:
    """Drive every unit, then run the accelerator on the images.

    An image that the project's host code encodes differently is a deviation too.
    """
    hardware, _ = load_hardware(folder)
    progress("compile", 0, 1)
    project = folder / "hls"
    files = {str(p.relative_to(project)): p.read_text() for p in sorted(project.rglob("*")) if p.is_file()}
    if not files:
        raise UserError("no project to simulate", where=str(project), hint="run 'fpgaflow generate' first")
    csim = build(hardware, files, jobs=check.threads, frames=len(images.x))
    progress("compile", 1, 1)
    encoded_alike = True

    def feed(part: slice) -> Array:
        nonlocal encoded_alike
        codes = encode(hardware, images.x[part])
        encoded_alike = encoded_alike and _host_encodes(csim, images.x[part])
        return codes

    driven = drive_units(csim, check.memory, progress=lambda d, n: progress("units", d, n))
    count, started = len(images.x), time.monotonic()
    try:
        found = compare_frames(csim, count, feed, check.threads, check.memory, lambda d, n: progress("simulate", d, n))
    except VerificationError as error:
        none = np.zeros(0, dtype=np.int64)
        return Simulated(none, time.monotonic() - started, count, str(error), csim.cycles(), csim.calls, driven)
    first = f"{found.node}: {found.detail}" if found.mismatches else driven.deviation
    if not first and not encoded_alike:
        first = "the project's host code encodes images differently"
    return Simulated(found.classes, found.seconds, found.mismatches, first or None, csim.cycles(), csim.calls, driven)


def _host_encodes(csim: CSim, images: Array) -> bool:
    """Whether the project's own host code makes the codes of ``images``, and of the real values they are worth."""
    both = (images, host_values(csim.graph, images))
    return all(np.array_equal(encode(csim.graph, x), csim.encode(x)) for x in both)


def _qonnx(
    record: ModelRecord, graph: Graph, images: Images, check: Check, progress: Progress
) -> tuple[Agreement | None, str | None]:
    """The comparison with the QONNX file, and what it found wrong; nothing when the file is gone or has changed."""
    path = Path(record.file)
    if not path.is_file() or digest_file(path) != record.sha256 or not check.qonnx_images:
        return None, None
    file = read_qonnx(path)
    progress("qonnx", 0, 1)
    try:
        agreement = compare_with_qonnx(file, graph, images.x[: check.qonnx_images], check.memory)
    except VerificationError as error:
        return None, str(error)
    progress("qonnx", 1, 1)
    return agreement, None
