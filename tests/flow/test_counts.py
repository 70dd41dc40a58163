"""``fpgaflow count``: what it writes, its place in the report, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.flow.test_rtl import fpgaflow
from tests.onnx_models import flatten_linear
from toolchain.files import write_text
from toolchain.flow.build import Build
from toolchain.flow.records import CountRecord, read_result, write_result
from toolchain.flow.streaming import Streaming
from toolchain.report.data import Report, read_report
from toolchain.resources import KINDS, Resources, total
from toolchain.rtl import yosys
from toolchain.rtl.count import cached, count_units, designs
from toolchain.units.totals import cost

pytestmark = pytest.mark.needs_gxx


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with its report."""
    folder = tmp_path_factory.mktemp("counts")
    model = str(flatten_linear(folder / "net.onnx"))
    assert fpgaflow("export", model, "--out", str(folder / "build"), "--architecture", "streaming") == 0
    return folder / "build"


@pytest.fixture
def build(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and a cache that knows a count of each of its designs: yosys takes seconds for one."""
    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path / "cache"))
    design = Build(exported).design
    assert isinstance(design, Streaming)
    parts = [part for several in designs(design.hardware).values() for part in several]
    for number, part in enumerate(parts, 1):
        write_text(cached(part), json.dumps([100 * number, number, number % 2, number % 3, 0]))
    return Path(shutil.copytree(exported, tmp_path / "build"))


def figures(report: Report) -> dict[str, Resources]:
    """The counts of a report's nodes."""
    return {n.name: Resources(*(getattr(n.counted, kind) for kind in KINDS)) for n in report.nodes if n.counted}


def test_the_report_shows_the_counts_of_every_unit_beside_the_estimates(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fpgaflow("count", str(build)) == 0
    design, report = Build(build).design, read_report(build)
    assert isinstance(design, Streaming) and report.counted is not None
    counts = count_units(design.hardware)
    estimated = total(cost(node, design.hardware) for node in design.hardware.nodes if not node.renames)
    used = Resources(*(usage.used for _, usage in report.resources.items()))
    counted = total(figures(report).values())
    facts = report.counted.estimated, report.counted.counted, report.counted.used
    line = f"{len(counts)} units, estimated → counted by {report.counted.tool}: LUT {estimated.lut:,} → {counted.lut:,}"

    assert figures(report) == counts and report.counted.failed == {} and report.counted.units == len(counts) > 1
    assert [Resources(**part.model_dump()) for part in facts] == [estimated, counted, used - estimated + counted]
    assert line in " ".join(capsys.readouterr().out.split())
    page = (build / "report.html").read_text()
    assert all(f"counted {found.lut:,}" in page for found in counts.values() if isinstance(found, Resources))


def test_counts_of_another_plan_are_left_out_with_a_note(build: Path) -> None:
    assert fpgaflow("count", str(build)) == 0
    record = read_result(CountRecord, build / "counts.json", "")
    write_result(record.model_copy(update={"design": "of another"}), build / "counts.json")
    assert fpgaflow("report", str(build)) == 0
    report = read_report(build)
    assert report.counted is None and figures(report) == {}
    assert any(note.startswith("counts.json is of another plan") for note in report.notes)


def test_a_unit_whose_count_is_ended_is_named_and_the_rest_is_kept(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    design = Build(build).design
    assert isinstance(design, Streaming)
    victim, parts = next(iter(designs(design.hardware).items()))
    cached(parts[0]).unlink()
    monkeypatch.setattr(yosys, "_RUN", "import os; os.kill(os.getpid(), 9)")
    assert fpgaflow("count", str(build)) == 1
    told = f"yosys failed on {victim}: it was ended by signal 9"
    assert capsys.readouterr().err.endswith(f"fpgaflow: {told}\n")
    report = read_report(build)
    assert report.counted is not None and report.counted.failed == {victim: told}
    assert len(figures(report)) == report.counted.units == len(designs(design.hardware)) - 1


def test_without_yosys_nothing_is_written(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(yosys, "find_spec", lambda name: None)
    assert fpgaflow("count", str(build)) == 2
    assert capsys.readouterr().err.endswith(
        "fpgaflow: SystemVerilog is counted by yosys; install it: pip install 'fpgaflow[rtl]'\n"
    )
    assert not (build / "counts.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "SystemVerilog is counted by yosys; install it: pip install 'fpgaflow[rtl]'"),
        (("--architecture", "engine"), "--costs counted does not go with the engine, which has no SystemVerilog"),
        (
            ("--plan", "plan.json"),
            "--costs counted does not go with a plan; 'fpgaflow count' counts the units of a given one",
        ),
    ],
)
def test_costs_that_cannot_be_counted_are_refused_before_any_work(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(yosys, "find_spec", lambda name: None)
    out = tmp_path / "build"
    model = str(flatten_linear(tmp_path / "net.onnx"))
    assert fpgaflow("export", model, "--out", str(out), "--costs", "counted", *arguments) == 2
    assert told in " ".join(capsys.readouterr().err.split()) and not out.exists()


def test_unknown_costs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(flatten_linear(tmp_path / "net.onnx"))
    assert fpgaflow("explore", model, "--out", str(tmp_path / "build"), "--costs", "counte") == 2
    assert "did you mean 'counted'" in capsys.readouterr().err
    assert fpgaflow("explore", model, "--out", str(tmp_path / "build"), "--costs", "counted", "--pareto") == 2
    assert "--costs counted does not go with --pareto" in capsys.readouterr().err
