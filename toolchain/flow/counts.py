"""counts.json: resources of the units in SystemVerilog as yosys counts them, and their place in the report."""

from __future__ import annotations

from toolchain.errors import FlowError, UserError
from toolchain.flow.build import COUNT_RECORD, Build
from toolchain.flow.progress import Progress, silent
from toolchain.flow.records import CountRecord, read_result, write_result
from toolchain.flow.streaming import Streaming
from toolchain.report.data import Counted, Counts, Report
from toolchain.report.view import recounted
from toolchain.resources import KINDS, Resources, total
from toolchain.rtl.count import count_units
from toolchain.rtl.generate import demand_rtl
from toolchain.rtl.yosys import demand_yosys, tool
from toolchain.units.totals import cost


def count_build(build: Build, *, jobs: int = 2, memory: int, progress: Progress = silent) -> CountRecord:
    """Write counts.json; a unit that yosys fails on is told in it, and the others are kept.

    ``jobs`` runs of yosys may take ``memory`` bytes together.

    Raises:
        UserError: no yosys, the build is no streaming one, or a unit of it has no SystemVerilog.
    """
    demand_yosys()
    design = build.design
    if not isinstance(design, Streaming):
        raise UserError("the engine has no SystemVerilog to count", where=str(build.folder))
    demand_rtl(design.hardware)
    found = count_units(
        design.hardware, jobs=jobs, memory=memory, progress=lambda done, of: progress("count", done, of)
    )
    record = CountRecord(
        design=design.digest,
        tool=tool(),
        counts={name: list(counts) for name, counts in found.items() if isinstance(counts, Resources)},
        failed={name: reason for name, reason in found.items() if isinstance(reason, str)},
    )
    write_result(record, build.folder / COUNT_RECORD)
    return record


def summary(build: Build, found: CountRecord) -> str:
    """``found`` of the accelerator in ``build`` in a line."""
    design = build.design
    assert isinstance(design, Streaming)
    estimated = total(cost(node, design.hardware) for node in design.hardware.nodes if node.name in found.counts)
    counted = total(Resources(*counts) for counts in found.counts.values())
    each = (f"{kind.upper()} {recounted(*pair)}" for kind, *pair in zip(KINDS, estimated, counted, strict=True))
    return f"{len(found.counts)} units, estimated → counted by {found.tool}: {', '.join(each)}"


def demand_all(found: CountRecord) -> None:
    """Raise FlowError unless every unit was counted."""
    if found.failed:
        raise FlowError("; ".join(found.failed.values()))


def with_counts(build: Build, summary: Report) -> Report:
    """``summary`` with the counts of the same accelerator; a note where they are of another one."""
    path = build.folder / COUNT_RECORD
    if not path.is_file():
        return summary
    record = read_result(CountRecord, path, "run 'fpgaflow count' again")
    if record.design != build.design.digest:
        stale = f"{COUNT_RECORD} is of another plan and left out: 'fpgaflow count' makes it again"
        return summary.model_copy(update={"notes": (*summary.notes, stale)})
    by_unit = {name: Resources(*counts) for name, counts in record.counts.items()}
    nodes = [
        n.model_copy(update={"counted": _facts(by_unit[n.name])}) if n.name in by_unit else n for n in summary.nodes
    ]
    known = [node for node in nodes if node.counted is not None]
    estimated = total(Resources(*(getattr(node, kind) for kind in KINDS)) for node in known)
    counted = total(by_unit[node.name] for node in known)
    used = Resources(*(getattr(summary.resources, kind).used for kind in KINDS)) - estimated + counted
    facts = Counted(
        tool=record.tool,
        units=len(known),
        estimated=_facts(estimated),
        counted=_facts(counted),
        used=_facts(used),
        failed=record.failed,
    )
    return summary.model_copy(update={"nodes": tuple(nodes), "counted": facts})


def _facts(found: Resources) -> Counts:
    return Counts(**dict(zip(KINDS, found, strict=True)))
