"""The terminal tables, read as text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.report.examples import example_report
from toolchain.report.data import Report, Usage
from toolchain.report.terminal import render


def _text(report: Report, width: int = 140, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(render(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_small_report_shows_what_matters() -> None:
    text = _text(example_report(5))
    for words in ("27,127 fps", "✔", "1,000 images, 0 mismatches", "optimal, gap 0 %", "87.34 % top-1", "86.8 % of it"):
        assert words in text
    assert all(node.name in text for node in example_report(5).nodes)
    assert "slowest of" not in text


def test_a_long_network_is_cut_to_its_slowest_nodes() -> None:
    report = example_report(60)
    text = _text(report)
    assert "The 20 slowest of 60 nodes; all are in report.json." in text
    assert sum(f"\n{node.name} " in text for node in report.nodes) == 20


@pytest.mark.parametrize("width", [60, 80])
def test_it_fits_narrow_terminals(width: int) -> None:
    assert max(len(line) for line in _text(example_report(), width).splitlines()) <= width


@pytest.mark.parametrize("width", [50, 60, 80, 100])
def test_a_narrow_terminal_loses_columns_and_no_digit(width: int) -> None:
    """The cycles, LUTs, DSP slices and block RAMs of every node stand in its line."""
    report = example_report(5)
    wide = {"cycles": 1_234_567, "lut": 123_456, "ff": 234_567, "parallelism": {"PE": 128, "SIMD": 1152}}
    report = report.model_copy(update={"nodes": tuple(n.model_copy(update=wide) for n in report.nodes)})
    text = _text(report, width)
    lines = [line.split() for line in text.splitlines() if "1,234,567" in line and "cycles" not in line]

    assert len(lines) == 5
    assert [(line[-2], line[-1]) for line in lines] == [(str(n.dsp), str(n.bram18)) for n in report.nodes]
    assert all("123,456" in line for line in lines)
    assert ("columns being few" in text) == (width < 100)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_ultraram_is_shown_of_devices_that_have_it(width: int) -> None:
    """A row of the resources and a column of the nodes; none where the device has no UltraRAM."""
    report = example_report(3)
    within = report.resources.model_copy(update={"uram": Usage(used=12, budget=51, available=64)})
    nodes = tuple(node.model_copy(update={"uram": 4}) for node in report.nodes)
    text = _text(report.model_copy(update={"resources": within, "nodes": nodes}), width)
    lines = [line.split() for line in text.splitlines()]

    assert any(line[:1] == ["URAM"] and line[-5:-2] == ["12", "51", "64"] for line in lines)
    assert sum(line[-1:] == ["4"] for line in lines) >= len(nodes)
    assert "URAM" not in _text(report, width)


def test_a_long_name_leaves_room_for_the_numbers() -> None:
    report = example_report(2)
    long = report.nodes[1].model_copy(update={"name": "stage/" * 20 + "conv1", "counted_cycles": 9300})
    text = _text(report.model_copy(update={"nodes": (long,)}), 100)
    (line,) = (line for line in text.splitlines() if line.startswith("…"))
    assert "/conv1 MatVec" in line
    assert line.split()[1:] == [
        "MatVec",
        "SIMD",
        "16,",
        "PE",
        "16",
        "9,216",
        "9,300",
        "100",
        "%",
        "2,140",
        "2,388",
        "12",
        "9",
    ]


def test_a_deviation_is_marked_red() -> None:
    report = example_report(5)
    wrong = report.verification.model_copy(update={"csim_mismatches": 7, "first_deviation": "layer1_add"})
    text = _text(report.model_copy(update={"verification": wrong}), colour=True)
    assert "\x1b[31m✘ C simulation against the integer network: 1,000 images, 7 mismatches, first at layer1_add" in text


def test_names_are_neither_markup_nor_escape_sequences() -> None:
    report = example_report(2)
    odd = report.nodes[0].model_copy(update={"name": "[red]x[/red]\x1b[2J"})
    text = _text(report.model_copy(update={"nodes": (odd,), "name": "[bold]net\x1b[1m"}))
    assert "[red]x[/red]\ufffd[2J" in text
    assert "[bold]net" in text
    assert "\x1b" not in text


def test_unknown_facts_and_an_overrun_budget_are_shown() -> None:
    report = example_report(0)
    usage = report.resources.model_copy(update={"dsp": Usage(used=400, budget=300, available=360)})
    text = _text(report.model_copy(update={"accuracy": None, "resources": usage}))
    assert "not measured" in text
    assert "111.1 %" in text
