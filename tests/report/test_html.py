"""The page: complete, offline, escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from tests.report.examples import INTERVAL, example_node, example_report
from toolchain.report.data import Report, Span, Usage, read_report
from toolchain.report.html import (
    FAMILIES,
    _environment,
    cycle_bars,
    network_steps,
    resource_meters,
    resource_stacks,
    roofline,
    to_html,
)
from toolchain.report.write import write_report
from toolchain.units.table import UNITS

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>"
_VOID = {"meta", "br", "wbr"}


class _Balance(HTMLParser):
    """Collects tags and checks that each one closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open += [] if tag in _VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _tags(page: str) -> set[str]:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    return parser.tags


@pytest.mark.parametrize("count", [0, 1, 25, 160])
def test_the_page_is_small_well_formed_and_fetches_nothing(count: int) -> None:
    page = to_html(example_report(count))
    assert len(page.encode()) < 300_000
    assert _tags(page).isdisjoint({"script", "img", "link", "iframe", "object"})
    assert not re.search(r"https?://|url\(|@import|src=", page)


def test_the_page_tells_the_facts() -> None:
    page = to_html(example_report())
    for words in ("27,127", "1,000 images, 0 mismatches", "87.34 %", "86.8 % reached", "HiGHS 1.11", "vitis-run"):
        assert words in page
    assert all(node.name in page and node.origin[0] in page for node in example_report().nodes)


def test_hostile_names_are_escaped() -> None:
    report = example_report(2)
    odd = report.nodes[0].model_copy(update={"name": HOSTILE, "op": HOSTILE, "bits": HOSTILE, "origin": (HOSTILE,)})
    update: dict[str, Any] = {
        "nodes": (odd,),
        "name": HOSTILE,
        "board": HOSTILE,
        "notes": (HOSTILE,),
        "tool": {HOSTILE: HOSTILE},
    }
    page = to_html(report.model_copy(update=update))
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert _tags(page).isdisjoint({"script", "img"})


def test_unknown_facts_leave_no_holes() -> None:
    report = example_report(3)
    gone = {"qonnx_top1_agreement": None, "qonnx_code_mismatches": None, "csim_mismatches": None, "csim_seconds": None}
    update: dict[str, Any] = {
        "verification": report.verification.model_copy(update=gone),
        "bound": report.bound.model_copy(update={"ceilings": {}}),
        "solver": report.solver.model_copy(update={"gap": None}),
        "accuracy": None,
        "training": None,
        "fifo": None,
        "next_steps": (),
        "tool": {},
    }
    page = to_html(report.model_copy(update=update))
    assert "None" not in page
    assert "nothing is claimed" in page
    assert "not measured" in page


def test_a_misspelt_fact_in_a_template_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        _environment().from_string("{{ report.bord }}").render(report=example_report(1))


def test_the_longest_bar_is_the_slowest_node() -> None:
    report = example_report()
    bars = cycle_bars(report, report.nodes)
    assert [bar.node.name for bar in bars if bar.worst] == ["layer1_matvec"]
    assert [bar.fill for bar in bars if bar.worst] == [100]
    assert max(bar.fill for bar in bars) == 100


def test_of_equally_slow_nodes_one_alone_is_the_bottleneck_that_is_shown() -> None:
    report = example_report(12)
    tied = [node.name for node in report.nodes if node.cycles == INTERVAL]
    twice = (*report.nodes, report.nodes[1].model_copy(update={"name": "again"}))
    for limited_by, shown in (("", tied[0]), ("again", "again"), ("nobody", tied[0])):
        estimate = report.estimate.model_copy(update={"limited_by": limited_by})
        found = report.model_copy(update={"nodes": twice, "estimate": estimate})
        bars = cycle_bars(found, found.nodes)
        assert [bar.node.name for bar in bars if bar.worst] == [shown]
        assert [bar.fill for bar in bars].count(100) == len(tied) + 1
        assert to_html(found).count(">slowest<") == 1


def test_every_unit_has_the_colour_of_a_family() -> None:
    families = {member for members in FAMILIES.values() for member in members}
    assert {op.__name__ for op in UNITS} <= families
    rows = [example_node(0).model_copy(update={"name": f"n{i}", "op": op}) for i, op in enumerate(families)]
    report = example_report(1).model_copy(update={"nodes": tuple(rows)})
    colours = {s.op: s.colour for s in resource_stacks(report)[0].segments}
    assert all(colours[op] > 0 for op in families)
    style = to_html(report)
    assert all(f".c{i} {{ background" in style and f"--c{i}:" in style for i in range(len(FAMILIES) + 1))


def test_the_units_of_an_engine_have_the_colours_of_their_families_and_its_passes_are_the_network() -> None:
    parts = [("convolve", "Unit"), ("window", "Unit"), ("banks", "Memory"), ("requantizers and transfers", "Unit")]
    passes = [example_node(1).model_copy(update={"name": "conv1.Conv", "op": "conv 3x3"})]
    nodes = [example_node(0).model_copy(update={"name": name, "op": op}) for name, op in parts]
    report = example_report(1).model_copy(update={"nodes": (*nodes, *passes), "architecture": "engine"})
    assert [segment.colour for segment in resource_stacks(report)[0].segments[:4]] == [1, 2, 8, 4]
    assert [step.node.name for step in network_steps(report)] == ["conv1.Conv"]
    assert "Its passes, one after the other" in to_html(report)


def test_the_network_tells_what_is_read_where_that_is_not_the_step_before() -> None:
    first, second, third = (example_node(i) for i in range(3))
    nodes = (
        first,
        second.model_copy(update={"inputs": (first.name,)}),
        third.model_copy(update={"inputs": (first.name, second.name)}),
    )
    report = example_report(1).model_copy(update={"nodes": nodes})
    steps = network_steps(report)
    assert [step.sources for step in steps] == [(), (), (first.name, second.name)]
    assert [step.busy for step in steps] == [node.cycles / INTERVAL for node in nodes]
    assert f"reads {first.name} and {second.name}" in to_html(report).replace("<wbr>", "")
    assert to_html(report).count(' apart">') == 0
    apart = report.model_copy(update={"nodes": (*nodes[:2], third.model_copy(update={"inputs": (first.name,)}))})
    assert to_html(apart).count(' apart">') == 1  # no arrow from the second to the third


def test_ranges_name_the_bits_that_would_do() -> None:
    weights = Span(low=-3, high=3, bits=4, needed=3, zeros=0.25)
    values = Span(low=-90, high=91, bits=8, needed=8)
    node = example_node(1).model_copy(update={"weights": weights, "values": values})
    page = " ".join(to_html(example_report(1).model_copy(update={"nodes": (node, example_node(0))})).split())
    assert '<td class="number" data-of="weights">-3 to 3</td>' in page
    assert '<td class="number fewer" data-of="enough">3</td>' in page
    assert '<td class="number" data-of="zeros">25.0 %</td>' in page
    assert "<h2>Ranges</h2>" not in to_html(example_report(2))


def test_segments_add_up_to_what_is_used() -> None:
    report = example_report()
    stacks = {stack.title: stack for stack in resource_stacks(report)}
    for title, usage in zip(("LUT", "FF", "DSP", "BRAM18"), (u for _, u in report.resources.items()), strict=True):
        assert sum(s.count for s in stacks[title].segments) == usage.used
        assert sum(s.width for s in stacks[title].segments) == pytest.approx(100)  # a sum of float quotients


def test_meters_stay_within_their_length() -> None:
    report = _with_dsp(example_report(1), Usage(used=400, budget=300, available=360))
    meter = resource_meters(report)[2]
    assert (meter.fill, meter.mark, meter.over) == (100, 75, True)


def test_the_roofline_spans_whole_decades() -> None:
    chart = roofline(example_report())
    assert chart is not None
    assert [tick.fps for tick in chart.ticks] == [1e4, 1e5, 1e6, 1e7]
    assert [mark.own for mark in chart.marks] == [True, False, False, False]
    assert all(0 <= mark.at <= 100 for mark in chart.marks)


def test_the_roofline_falls_back_to_the_bound() -> None:
    report = example_report(1)
    alone = roofline(report.model_copy(update={"bound": report.bound.model_copy(update={"ceilings": {}})}))
    assert alone is not None
    assert [mark.title for mark in alone.marks] == ["this design", "upper bound"]
    nothing = report.bound.model_copy(update={"ceilings": {}, "fps": 0.0})
    assert roofline(report.model_copy(update={"bound": nothing})) is None


def _with_dsp(report: Report, usage: Usage) -> Report:
    return report.model_copy(update={"resources": report.resources.model_copy(update={"dsp": usage})})


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    report = example_report()
    data, page = write_report(report, tmp_path / "build")
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["report.html", "report.json"]
    assert read_report(data) == read_report(tmp_path / "build") == report
    assert page.read_text(encoding="utf-8") == to_html(report)
