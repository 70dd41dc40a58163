"""Reads board.json and vivado.json back into a build's report, and into the user's rows of measured designs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from toolchain.deploy.package import deployable
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import Build
from toolchain.flow.measured import RECORD, MeasuredRecord, measured
from toolchain.flow.records import write_result
from toolchain.flow.rows import FPS, MeasuredRow, told, with_row, write_rows
from toolchain.flow.stages import report
from toolchain.locks import locked
from toolchain.records import Record, parse_record
from toolchain.report.data import Count, Measured, Report, Share
from toolchain.resources import KINDS

Some = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]


class Validation(Record):
    """The stored samples on the board."""

    images: Some
    codes: Some
    wrong_codes: Count
    top1: Share | None


class Benchmark(Record):
    """Rates on the board: of the accelerator in batches, of one frame, and from images to classes."""

    batch: Some
    frames: Some
    fps: Positive
    latency_ms: Positive
    end_to_end_fps: Positive


class Accuracy(Record):
    """The user's own test images on the board."""

    images: Some
    top1: Share


class BoardFile(Record):
    """board.json, as the driver writes it."""

    kind: Literal["board"]
    design: str
    clock_mhz: Positive
    validation: Validation
    benchmark: Benchmark
    accuracy: Accuracy | None = None
    versions: dict[str, str]
    machine: str


class Timing(Record):
    """Worst slack in ns, of setup and of hold."""

    wns_ns: float
    whs_ns: float


class VivadoFile(Record):
    """vivado.json, as build.tcl writes it: counts of the whole design and of the accelerator alone."""

    kind: Literal["vivado"]
    design: str
    version: str
    clock_mhz: Positive
    timing: Timing
    resources: dict[str, Count]
    accelerator: dict[str, Count]


def read_measurement(path: Path) -> BoardFile | VivadoFile:
    """The measurements in the file ``path``.

    Raises:
        UserError: it is missing or none of the two.
    """
    hint = "give the board.json of the driver, or the vivado.json of build.tcl"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UserError(f"not valid JSON: {error}", where=str(path), hint=hint) from error
    kinds: dict[str, type[BoardFile | VivadoFile]] = {"board": BoardFile, "vivado": VivadoFile}
    kind = table.get("kind") if isinstance(table, Mapping) else None
    if kind not in kinds:
        raise UserError("no measurements", where=str(path), hint=hint)
    return parse_record(kinds[kind], table, where=str(path))


def measure(build: Build, paths: Sequence[Path]) -> Report:
    """Write measured.json from the files ``paths`` and the report anew; what was read before and is not in them stays.

    Raises:
        UserError: a file is no measurement, or one of another accelerator.
        VerificationError: codes on the board differ; the report tells too.
    """
    design = deployable(build).facts["design"]
    facts: dict[str, Any] = {}
    before = measured(build)
    for path in paths:
        found = read_measurement(path)
        if found.design != design:
            raise UserError(
                f"measured on the design {found.design}, the build's is {design}",
                where=str(path),
                hint="give the build that was deployed",
            )
        facts |= _of_board(found) if isinstance(found, BoardFile) else _of_vivado(found)
    whole = Measured(**((before or Measured()).model_dump() | facts))
    write_result(MeasuredRecord(project=build.project.digest, found=whole), build.folder / RECORD)
    summary = report(build)
    if whole.wrong_codes:
        raise VerificationError(f"{whole.wrong_codes} of {whole.codes} codes on the board are wrong")
    return summary


def add_row(build: Build, summary: Report, path: Path) -> str:
    """Put what ``summary`` tells as measured of ``build``, beside its estimates, into the file of designs ``path``.

    A row of the same design is replaced. Returns what the file says now, in a line.

    Raises:
        UserError: the file is another.
    """
    found, design, deployed = summary.measured or Measured(), build.design, deployable(build)
    estimated = dict(zip(KINDS, map(float, design.resources), strict=True)) | {FPS: summary.estimate.fps}
    values = {kind: float(count) for kind, count in (found.accelerator or {}).items() if kind in KINDS}
    values |= {} if found.fps is None else {FPS: found.fps}
    name, board = deployed.facts["design"], deployed.board.name
    row = MeasuredRow(name, board, design.name, design.clock_mhz, found.vivado, estimated, values)
    with locked(path, "measure"):  # builds share the file
        rows = with_row(path, row)
        write_rows(path, rows)
    return told(rows, design.name)


def _of_board(found: BoardFile) -> dict[str, Any]:
    own = found.accuracy
    top1, images = (own.top1, own.images) if own else (found.validation.top1, found.validation.images)
    return {
        "clock_mhz": found.clock_mhz,
        "fps": found.benchmark.fps,
        "latency_ms": found.benchmark.latency_ms,
        "end_to_end_fps": found.benchmark.end_to_end_fps,
        "batch": found.benchmark.batch,
        "codes": found.validation.codes,
        "wrong_codes": found.validation.wrong_codes,
        "top1": top1,
        "images": images,
        "board_software": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
    }


def _of_vivado(found: VivadoFile) -> dict[str, Any]:
    return {
        "resources": found.resources,
        "accelerator": found.accelerator,
        "slack_ns": found.timing.wns_ns,
        "hold_slack_ns": found.timing.whs_ns,
        "vivado": found.version,
    }
