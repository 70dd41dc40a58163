"""Two builds side by side: every quantity and unit of both, changes as people say them, no build is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.flow.test_export import one_line, run  # noqa: F401  a fixture
from tests.report.examples import example_node, example_report
from tests.report.test_html import HOSTILE, _tags
from toolchain.report.compare import Comparison, Row, UnitRow, change, compare, tables
from toolchain.report.data import Report, to_json
from toolchain.report.html import comparison_page


def _text(found: Comparison, width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(found))
    return console.export_text()


def _faster() -> Report:
    """The example with its second unit twice as wide, its third gone and one more at the end."""
    report = example_report(5)
    wide = report.nodes[1].model_copy(update={"cycles": 4608, "dsp": 24, "parallelism": {"SIMD": 32, "PE": 16}})
    nodes = (report.nodes[0], wide, *report.nodes[3:], example_node(6))
    estimate = report.estimate.model_copy(update={"fps": 2 * report.estimate.fps, "latency_ms": 0.1})
    return report.model_copy(update={"nodes": nodes, "estimate": estimate, "accuracy": None})


def test_a_build_beside_itself_differs_in_nothing() -> None:
    report = example_report(5)
    found = compare(report, report, ("a", "b"))
    assert found.choices == () and all(row.first == row.second and not row.change for row in found.rows)
    assert [unit.name for unit in found.units] == [node.name for node in report.nodes]
    assert found.units[1].numbers["LUT"] == "2,140" and found.units[1].numbers["DSP"] == "12"
    assert "Every unit is built alike." in _text(found) and "Every unit is built alike." in comparison_page(found)


def test_units_that_differ_are_told_with_both_choices_and_both_costs() -> None:
    first, second = example_report(5), _faster()
    found = compare(first, second, ("slow", "fast"))
    names = [node.name for node in first.nodes]
    assert [unit.name for unit in found.units] == [*names, second.nodes[-1].name]
    assert found.units[1].numbers["Cycles"] == "9,216 → 4,608" and found.units[1].numbers["DSP"] == "12 → 24"
    assert found.units[2].numbers["LUT"] == "824 → -" and found.units[-1].numbers["LUT"] == "- → 2,237"
    bits = first.nodes[1].bits
    assert found.choices[0] == Row(names[1], f"MatVec, SIMD 16, PE 16, {bits}", f"MatVec, SIMD 32, PE 16, {bits}")
    assert [(row.name, row.second) for row in found.choices[1:2]] == [(names[2], "no such unit")]
    assert (found.choices[2].name, found.choices[2].first) == (second.nodes[-1].name, "no such unit")


def test_rates_resources_accuracy_and_bits_of_both_are_rows() -> None:
    rows = {row.name: row for row in compare(example_report(5), _faster(), ("slow", "fast")).rows}
    assert rows["Frames a second"] == Row("Frames a second", "27,127", "54,253", "2 times")
    assert rows["Latency"] == Row("Latency", "0.113 ms", "0.1 ms", "-11.5 %")
    assert rows["Top-1"].first and rows["Top-1"].second == ""
    assert {"LUT with the shell", "DSP with the shell", "Bits of weights", "Bits of activations"} <= rows.keys()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (100, 100, ""), (100, 150, "+50.0 %"), (100, 51, "-49.0 %"), (100, 200, "2 times"), (100, 50, "2 times less"),
        (4, 1000, "250 times"), (0, 5, ""), (5, 0, "none"), (None, 5, ""), (5, None, ""),
    ],
)  # fmt: skip
def test_changes_are_percents_below_twice_and_factors_from_there_on(first, second, told) -> None:
    assert change(first, second) == told


def test_the_page_is_well_formed_escaped_and_fetches_nothing() -> None:
    found = compare(example_report(5), _faster(), (HOSTILE, "b"))
    found = replace(found, choices=(Row(HOSTILE, HOSTILE, HOSTILE),), units=(UnitRow(HOSTILE, HOSTILE, {"LUT": "1"}),))
    page = comparison_page(found)
    assert _tags(page).isdisjoint({"script", "img", "link"}) and not re.search(r"https?://|url\(|@import", page)
    assert "<img" not in page and "<script" not in page
    assert "[bold]" in _text(compare(example_report(1), example_report(1), ("[bold]", "b")))


def test_the_command_prints_both_and_writes_the_page(run, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "120")
    for name, report in (("a", example_report(5)), ("b", _faster())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(to_json(report))
    code, output, error = run("compare", "a", "b/report.json", "--html", "pages/c.html")
    assert (code, error) == (0, "") and output.endswith("Page: pages/c.html\n")
    assert "27,127" in output and "54,253" in output and "no such unit" in output
    assert "27,127" in (tmp_path / "pages" / "c.html").read_text()


def test_what_is_no_build_is_refused_in_one_line_and_writes_nothing(run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.json").write_text(to_json(example_report(2)))
    (tmp_path / "x.json").write_text(json.dumps([1]))
    for other, told in (
        ("nowhere", "cannot read the report: No such file or directory [nowhere]"),
        (".", "cannot read the report: No such file or directory [report.json]"),
        ("x.json", "not a report: the file holds no JSON object [x.json]"),
    ):
        code, output, error = run("compare", "a", other, "--html", "c.html")
        assert (code, output) == (2, "") and one_line(error).startswith(told)
        assert not (tmp_path / "c.html").exists()
    code, _, error = run("compare", "a", "a", "--html", "a")
    assert (code, one_line(error)) == (2, "--html a is a folder; name a file")
