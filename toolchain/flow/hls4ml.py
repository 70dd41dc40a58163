"""hls4ml as a second generator: its project of a build's network, in the build folder beside this tool's own."""

from __future__ import annotations

from pathlib import Path

from toolchain.boards import load_board
from toolchain.errors import UserError, VerificationError
from toolchain.files import digest_file
from toolchain.flow.records import Hls4mlRecord, ModelRecord, read_record, write_record
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.hls4ml_backend.build import Target, build, reuse_factors
from toolchain.hls4ml_backend.refusals import demand_no_refusal
from toolchain.ir.encode import encode
from toolchain.ir.graph import Graph
from toolchain.ir.store import load, stored_digest
from toolchain.ir.types import Array
from toolchain.passes.apply_plan import load_plan
from toolchain.passes.pipeline import hardware_form
from toolchain.report.data import Hls4ml

IMAGES = 64
"""Images that its C simulation runs at most: it takes about a thousand times as long an image as this tool's."""
RECORD = "hls4ml.json"


def demand_buildable(folder: Path) -> None:
    """Raise UserError when hls4ml is known to get the network in ``folder`` wrong, before anything is built."""
    demand_no_refusal(_model(folder).graph)


def build_hls4ml(folder: Path, hardware: Graph, images: Array, seconds: float) -> Hls4ml:
    """Write hls4ml/ and hls4ml.json for the plan in ``folder``; its C simulation runs on the first ``images``.

    Raises:
        UserError: hls4ml gets a part of the network wrong, fails on it, or takes longer than ``seconds``.
    """
    integer = load(folder)
    plan = load_plan(folder / "plan.json", hardware_form(integer))
    target = Target(load_board(plan.board).part, plan.clock_mhz, reuse_factors(hardware))
    found = build(_model(folder).graph, integer, encode(integer, images[:IMAGES]), target, folder, seconds)
    write_record(Hls4mlRecord(graph=stored_digest(folder), found=found), folder / RECORD)
    return found


def read_hls4ml(folder: Path, graph: str) -> Hls4ml | None:
    """What hls4ml's project in ``folder`` computes; None without one, or with one of another graph."""
    if not (folder / RECORD).is_file():
        return None
    record = read_record(Hls4mlRecord, folder / RECORD)
    return record.found if record.graph == graph else None


def distance_line(found: Hls4ml) -> str:
    """One line: how far hls4ml's project is from the integer network."""
    what = f"hls4ml {found.version} ({found.io_type})"
    if not found.mismatches:
        return f"{what} is exact: 0 of {found.outputs:,} output codes of {found.images} images differ"
    return (
        f"{what} is not exact: {found.mismatches:,} of {found.outputs:,} output codes of {found.images} images differ, "
        f"up to {found.max_steps:.3g} steps ({found.max_deviation:.3g}); {found.classes} images have another class"
    )


def demand_exact(found: Hls4ml) -> None:
    """Raise VerificationError unless hls4ml's project computes every code of the integer network."""
    if found.mismatches:
        raise VerificationError(f"{distance_line(found)}; --allow-inexact takes it all the same")


def _model(folder: Path) -> ModelFile:
    record = read_record(ModelRecord, folder / "model.json")
    path = Path(record.file)
    if not path.is_file() or digest_file(path) != record.sha256:
        raise UserError("the QONNX file of the build is gone or has changed", where=str(path), hint="export it again")
    return read_qonnx(path)
