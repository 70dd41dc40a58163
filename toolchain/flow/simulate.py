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
from toolchain.ir.encode import encode, host_values, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array
from toolchain.ir.store import load, stored_digest
from toolchain.simulate.compare import first_deviation
from toolchain.simulate.compiler import compiler
from toolchain.simulate.csim import CSim, build
from toolchain.simulate.drive import drive_units


def simulate(folder: Path, check: Check, *, progress: Progress = silent) -> SimulationRecord:
    """Write simulation.json: the C simulation against the integer network, and that against the QONNX file."""
    graph = load(folder)
    images = load_folder_images(folder, check)
    agreement, deviation = _qonnx(read_record(ModelRecord, folder / "model.json"), graph, images, check, progress)
    if engine_stages.is_engine(folder):
        progress("simulate", 0, 1)
        run = engine_stages.simulate(folder, encode(graph, images.x), check.threads)
        progress("simulate", 1, 1)
    else:
        run = _simulate_units(folder, images, check, progress)
    top1 = None
    if images.y is not None and len(run.codes):
        top1 = float(np.mean(predictions(graph, run.codes) == images.y))
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
    csim = build(hardware, files, jobs=check.threads)
    progress("compile", 1, 1)
    codes = encode(hardware, images.x)
    deviation = None
    if not _host_encodes(csim, images.x):
        deviation = "the project's host code encodes images differently"
    driven = drive_units(csim, progress=lambda d, n: progress("units", d, n))
    started = time.monotonic()
    try:
        found = csim.run(codes, threads=check.threads, progress=lambda d, n: progress("simulate", d, n))
    except VerificationError as error:
        none = np.zeros((0, *hardware.value(hardware.output).shape), dtype=np.int64)
        seconds = time.monotonic() - started
        return Simulated(none, seconds, len(codes), str(error), csim.cycles(), csim.calls, driven)
    seconds = time.monotonic() - started
    mismatches, where = _differences(csim, hardware, codes, found, progress)
    first = where or driven.deviation or deviation
    return Simulated(found, seconds, mismatches, first, csim.cycles(), csim.calls, driven)


def _host_encodes(csim: CSim, images: Array, batch: int = 64) -> bool:
    """Whether the project's own host code makes the codes of ``images``, and of the real values they are worth."""
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        for x in (part, host_values(csim.graph, part)):
            if not np.array_equal(encode(csim.graph, x), csim.encode(x)):
                return False
    return True


def _differences(
    csim: CSim, graph: Graph, codes: Array, found: Array, progress: Progress, batch: int = 128
) -> tuple[int, str | None]:
    """How many of the ``found`` codes differ from the evaluator's, and the first unit that deviates."""
    mismatches, frame = 0, None
    for start in range(0, len(codes), batch):
        part = slice(start, start + batch)
        wrong = (evaluate(graph, codes[part])[graph.output] != found[part]).reshape(len(found[part]), -1)
        mismatches += int(wrong.sum())
        if frame is None and wrong.any():
            frame = start + int(wrong.any(axis=1).argmax())
        progress("compare", min(start + batch, len(codes)), len(codes))
    where = None if frame is None else ": ".join(first_deviation(csim, codes[frame : frame + 1]))
    return mismatches, where


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
        agreement = compare_with_qonnx(file, graph, images.x[: check.qonnx_images])
    except VerificationError as error:
        return None, str(error)
    progress("qonnx", 1, 1)
    return agreement, None
