"""``fpgaflow measure``: figures of a board and of Vivado stand in the report beside the estimates."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.deploy.conftest import CHECK
from toolchain.deploy.measure import add_row, measure
from toolchain.deploy.mock import installed
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import load_driver, mock_board, on_the_board
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import Build
from toolchain.flow.choice import choose
from toolchain.flow.measured import MeasuredRecord
from toolchain.flow.options import Search, planned_board
from toolchain.flow.progress import silent
from toolchain.flow.records import read_result, write_result
from toolchain.flow.rows import read_rows, write_rows
from toolchain.flow.stages import report
from toolchain.locks import locked
from toolchain.report.data import Report, read_report
from toolchain.report.html import to_html
from toolchain.report.terminal import render

pytestmark = pytest.mark.needs_gxx


def _board_file(build: Path, **more: Any) -> Path:
    """board.json as the driver writes it on the mock board, with ``more`` in place of its figures."""
    deploy(Build(build), CHECK)
    with on_the_board(Build(build)) as home:
        facts = json.loads((home / "network.json").read_text())
        driver = load_driver(home / "accelerator.py")
        with installed(mock_board(Build(build), facts)), driver.Accelerator(home / "network.json") as network:
            found = driver.measure(network, None, None, 64)
    path = build.parent / "board.json"
    path.write_text(json.dumps(found | more))
    return path


def _vivado_file(build: Path, **more: Any) -> Path:
    """vivado.json in the form that build.tcl writes."""
    design = json.loads((build / "deploy/board/network.json").read_text())["design"]
    counts = {"lut": 11934, "ff": 15873, "dsp": 24, "bram18": 11}
    table = {"kind": "vivado", "design": design, "version": "2024.1", "clock_mhz": 249.997}
    table |= {"timing": {"wns_ns": 0.054, "whs_ns": 0.01}, "resources": counts, "accelerator": counts}
    path = build.parent / "vivado.json"
    path.write_text(json.dumps(table | more))
    return path


def _text(summary: Report) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(summary))
    return console.export_text()


def test_measurements_stand_beside_the_estimates_in_every_report(build: Path) -> None:
    """report.json, the page and the terminal; the driver's own file is read as it is."""
    benchmark = {"batch": 64, "frames": 640, "fps": 1234.5, "latency_ms": 0.75, "end_to_end_fps": 987.0}
    board = _board_file(build, benchmark=benchmark, clock_mhz=249.9, accuracy={"images": 400, "top1": 0.8125})
    summary = measure(Build(build), [board, _vivado_file(build)])
    found = json.loads((build / "report.json").read_text())["measured"]
    assert found == {
        "clock_mhz": 249.9,
        "fps": 1234.5,
        "latency_ms": 0.75,
        "end_to_end_fps": 987.0,
        "batch": 64,
        "codes": 2560,
        "wrong_codes": 0,
        "top1": 0.8125,
        "images": 400,
        "resources": {"lut": 11934, "ff": 15873, "dsp": 24, "bram18": 11},
        "accelerator": {"lut": 11934, "ff": 15873, "dsp": 24, "bram18": 11},
        "slack_ns": 0.054,
        "hold_slack_ns": 0.01,
        "board_software": found["board_software"],
        "vivado": "2024.1",
    }
    assert found["board_software"].endswith("pynq mock")
    assert read_report(build) == summary
    apart = f"{100 * (1234.5 / summary.estimate.fps - 1):+.1f} %"
    for text in (_text(summary), to_html(summary)):
        assert all(part in text for part in ("1,234", "0.75 ms", "81.25 % of 400 images", "0.054 ns", "11,934", apart))


def test_what_was_measured_before_stays(build: Path) -> None:
    board = _board_file(build)
    vivado = _vivado_file(build)
    measure(Build(build), [vivado])
    summary = measure(Build(build), [board])
    assert summary.measured is not None
    assert summary.measured.vivado == "2024.1" and summary.measured.wrong_codes == 0
    assert report(Build(build)).measured == summary.measured  # another report keeps it


def test_wrong_codes_fail_after_the_report_is_written(build: Path) -> None:
    board = _board_file(build, validation={"images": 8, "codes": 2560, "wrong_codes": 3, "top1": None})
    with pytest.raises(VerificationError, match=r"^3 of 2560 codes on the board are wrong$"):
        measure(Build(build), [board])
    found = read_report(build).measured
    assert found is not None and found.wrong_codes == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "other"},
            "no measurements [PATH]; give the board.json of the driver, or the vivado.json of build.tcl",
        ),
        (
            {"timing": {"wns_ns": "NA", "whs_ns": 0.1}},
            "bad value for 'timing.wns_ns': Input should be a valid number, got 'NA' [PATH]",
        ),
        (
            {"design": "x_1"},
            "measured on the design x_1, the build's is DESIGN [PATH]; give the build that was deployed",
        ),
        (
            {"speed": 3},
            "unknown key 'speed' [PATH]; known: accelerator, clock_mhz, design, kind, resources, timing, version",
        ),
    ],
)
def test_a_file_that_is_none_of_this_build_is_refused(change: dict[str, Any], message: str, build: Path) -> None:
    deploy(Build(build), CHECK)
    path = _vivado_file(build, **change)
    design = json.loads((build / "deploy/board/network.json").read_text())["design"]
    with pytest.raises(UserError) as error:
        measure(Build(build), [path])
    assert str(error.value) == message.replace("PATH", str(path)).replace("DESIGN", design)
    assert not (build / "measured.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clock_mhz": 0}, "'clock_mhz': Input should be greater than 0, got 0"),
        ({"validation.top1": 90.0}, "'validation.top1': Input should be less than or equal to 1, got 90.0"),
        ({"validation.images": 0}, "'validation.images': Input should be greater than 0, got 0"),
        (
            {"validation.wrong_codes": -3},
            "'validation.wrong_codes': Input should be greater than or equal to 0, got -3",
        ),
        ({"benchmark.batch": 0}, "'benchmark.batch': Input should be greater than 0, got 0"),
        ({"benchmark.fps": math.inf}, "'benchmark.fps': Input should be a finite number, got inf"),
        ({"benchmark.fps": -1.0}, "'benchmark.fps': Input should be greater than 0, got -1.0"),
        ({"benchmark.latency_ms": math.nan}, "'benchmark.latency_ms': Input should be a finite number, got nan"),
        ({"timing.wns_ns": math.inf}, "'timing.wns_ns': Input should be a finite number, got inf"),
        ({"resources.lut": -4}, "'resources.lut': Input should be greater than or equal to 0, got -4"),
    ],
)
def test_a_figure_that_cannot_be_names_the_users_file_and_what_was_measured_before_stays(
    change: dict[str, Any], message: str, build: Path
) -> None:
    files = [_board_file(build), _vivado_file(build)]
    summary = measure(Build(build), files)
    before = (build / "measured.json").read_bytes()

    ((place, value),) = change.items()
    head, _, key = place.rpartition(".")
    path = files[head in ("timing", "resources")]
    table = json.loads(path.read_text())
    (table[head] if head else table)[key] = value
    path.write_text(json.dumps(table))
    with pytest.raises(UserError) as error:
        measure(Build(build), [path])
    assert str(error.value) == f"bad value for {message} [{path}]"
    assert (build / "measured.json").read_bytes() == before
    assert report(Build(build)).measured == summary.measured


def test_figures_of_another_accelerator_are_left_out_of_the_report(build: Path) -> None:
    deploy(Build(build), CHECK)
    measure(Build(build), [_vivado_file(build)])
    path = build / "measured.json"
    record = read_result(MeasuredRecord, path, "")
    write_result(record.model_copy(update={"project": "another"}), path)
    summary = report(Build(build))
    assert summary.measured is None
    assert summary.notes[-1].startswith("measured.json is of another accelerator and left out")


def test_a_measured_design_becomes_a_row_and_plans_keep_to_what_it_took(build: Path) -> None:
    """Known values: three times the LUTs of the estimate leave a third of their budget, and of nothing else."""
    benchmark = {"batch": 64, "frames": 640, "fps": 1000.0, "latency_ms": 0.75, "end_to_end_fps": 987.0}
    board = _board_file(build, benchmark=benchmark)
    used, rows = Build(build).design.resources, build.parent / "rows.csv"
    placed = {"lut": 2 * used.lut, "ff": used.ff, "dsp": used.dsp, "bram18": used.bram18, "uram": 0}
    summary = measure(Build(build), [board, _vivado_file(build, accelerator=placed)])
    line = add_row(Build(build), summary, rows)

    apart = 1000.0 / summary.estimate.fps
    start = "1 measured streaming design, measured over estimated: LUT × 2, FF × 1, DSP × 1, BRAM18 × 1"
    assert line == f"{start}, frames a second × {apart:.3g}"
    (row,) = read_rows(rows)
    assert (row.design, row.board, row.architecture) == (_design(build), "zu3eg", "streaming")
    assert row.estimated["lut"] == used.lut and row.measured == {**placed, "fps": 1000.0}

    again = measure(Build(build), [_vivado_file(build, accelerator=placed | {"lut": 3 * used.lut})])
    assert "LUT × 3," in add_row(Build(build), again, rows)  # in place of the first
    assert len(read_rows(rows)) == 1

    shared, other = rows.with_name("shared.csv"), replace(row, design="another")
    with locked(shared, "measure"):  # of another build
        thread = threading.Thread(target=add_row, args=(Build(build), again, shared))
        thread.start()
        thread.join(0.3)
        write_rows(shared, [other])
    thread.join()
    assert [found.design for found in read_rows(shared)] == ["another", row.design]

    search = Search(rows=read_rows(rows), architecture="streaming")
    plain, planned = planned_board(Search(), "streaming").budget, planned_board(search, "streaming").budget
    assert (planned.lut, planned.ff, planned.dsp) == (plain.lut // 3, plain.ff, plain.dsp)
    assert planned_board(search, "engine").budget == plain  # no row is an engine's
    found = choose(Build(build).network, search, silent)
    assert found.design.resources.fits(planned)
    assert found.notes[-1].startswith("planned by 1 measured streaming design, measured over estimated: LUT × 3, ")
    assert choose(Build(build).network, Search(architecture="streaming"), silent).notes == found.notes[:-1]


def _design(build: Path) -> str:
    return str(json.loads((build / "deploy/board/network.json").read_text())["design"])
