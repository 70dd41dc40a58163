"""hls4ml as a second generator: its project of a build's network, in the build folder beside this tool's own."""

from __future__ import annotations

from pathlib import Path

from toolchain.boards import load_board
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import HLS4ML, Build
from toolchain.flow.project import read_project, seal
from toolchain.flow.records import Hls4mlRecord, read_result, write_result
from toolchain.flow.streaming import Streaming
from toolchain.hls4ml_backend.build import Target, build, reuse_factors
from toolchain.hls4ml_backend.refusals import demand_no_refusal
from toolchain.ir.encode import encode
from toolchain.ir.types import Array
from toolchain.report.data import Hls4ml, Report

IMAGES = 64
"""Images that its C simulation runs at most: it takes about a thousand times as long an image as this tool's."""
RECORD = "hls4ml.json"


def demand_buildable(found: Build) -> None:
    """Raise UserError when hls4ml is known to get the network wrong, before anything is built."""
    demand_no_refusal(found.demand_source().graph)


def build_hls4ml(found: Build, images: Array, seconds: float) -> Hls4ml:
    """Write hls4ml/ and hls4ml.json beside the streaming project; its C simulation runs on the first ``images``.

    Raises:
        UserError: hls4ml gets a part of the network wrong, fails on it, or takes longer than ``seconds``; or the build
            is an engine.
    """
    design, integer = found.design, found.network.graph
    if not isinstance(design, Streaming):
        raise UserError("hls4ml's project stands beside a streaming build only", where=str(found.folder))
    target = Target(load_board(design.plan.board).part, design.plan.clock_mhz, reuse_factors(design.hardware))
    codes = encode(integer, images[:IMAGES])
    told = build(found.demand_source().graph, integer, codes, target, found.folder, seconds)
    seal(found.folder / HLS4ML, design.digest)
    write_result(Hls4mlRecord(design=design.digest, found=told), found.folder / RECORD)
    return told


def beside(found: Build, summary: Report) -> Report:
    """``summary`` with what hls4ml's project computes, where the build has one of this accelerator."""
    path = found.folder / RECORD
    if not path.is_file():
        return summary
    record = read_result(Hls4mlRecord, path, "run 'fpgaflow export --backend hls4ml' again")
    what = "of another plan" if record.design != found.design.digest else _damage(found.folder / HLS4ML)
    if what is not None:
        stale = f"hls4ml/ is {what} and left out: 'fpgaflow export --backend hls4ml' makes it again"
        return summary.model_copy(update={"notes": (*summary.notes, stale)})
    notes = (*summary.notes, distance_line(record.found))
    return summary.model_copy(update={"hls4ml": record.found, "notes": notes})


def _damage(folder: Path) -> str | None:
    """What became of the project in ``folder`` since its C simulation ran; what a person or Vitis added is none."""
    try:
        project = read_project(folder, "fpgaflow export --backend hls4ml")
    except UserError:
        return "gone or incomplete"
    return "not as it was simulated" if project.changed else None


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
