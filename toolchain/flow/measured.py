"""measured.json: what a board and the placed design showed of a build, and its place in the report."""

from __future__ import annotations

from toolchain import __version__
from toolchain.flow.build import Build
from toolchain.flow.records import read_result
from toolchain.records import Record
from toolchain.report.data import Measured, Report

RECORD = "measured.json"


class MeasuredRecord(Record):
    """measured.json. ``project`` is the digest of the hls/ that was synthesized."""

    project: str
    found: Measured
    fpgaflow: str = __version__


def measured(build: Build) -> Measured | None:
    """The measurements of the accelerator in ``build``; None where there are none, or only of another one."""
    path = build.folder / RECORD
    if not path.is_file():
        return None
    record = read_result(MeasuredRecord, path, "remove it, and let 'fpgaflow measure' read what the board showed again")
    return record.found if record.project == build.project.digest else None


def with_measured(build: Build, summary: Report) -> Report:
    """``summary`` with what was measured of the same accelerator; a note where it was another one."""
    found = measured(build)
    if found is not None:
        return summary.model_copy(update={"measured": found})
    if not (build.folder / RECORD).is_file():
        return summary
    stale = f"{RECORD} is of another accelerator and left out: 'fpgaflow measure' reads the new one's"
    return summary.model_copy(update={"notes": (*summary.notes, stale)})
