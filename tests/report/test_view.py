"""The conclusions drawn from a report, and how numbers read."""

from __future__ import annotations

import pytest

from tests.report.examples import INTERVAL, example_report
from toolchain.report import view
from toolchain.report.data import Report, Usage
from toolchain.report.view import Verdict


def _verified(**changes: object) -> Report:
    report = example_report(5)
    return report.model_copy(update={"verification": report.verification.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.EXACT, "1,000 images, 0 mismatches"),
        ({"images": 1}, Verdict.EXACT, "1 image, 0 mismatches"),
        ({"images": 0}, Verdict.OPEN, "has not run"),
        ({"csim_mismatches": None}, Verdict.OPEN, "has not run"),
        (
            {"vectors": 70, "vector_mismatches": 3, "first_deviation": "c"},
            Verdict.DIFFERS,
            "70 vectors, 3 mismatches, ",
        ),
        ({"csim_mismatches": 1, "first_deviation": "conv1"}, Verdict.DIFFERS, "1 mismatch, first at conv1"),
        ({"qonnx_unexplained": 2}, Verdict.DIFFERS, "2 codes beyond float32 rounding"),
        ({"qonnx_unexplained": 2, "csim_mismatches": None}, Verdict.DIFFERS, "2 codes"),
    ],
)
def test_only_a_simulation_without_deviation_is_exact(changes: dict[str, object], verdict: Verdict, words: str) -> None:
    conclusion = view.conclude(_verified(**changes))
    assert conclusion.verdict is verdict
    assert words in conclusion.text


def test_vectors_are_told_in_all_and_by_unit() -> None:
    report = _verified(vectors=70, vector_mismatches=0)
    nodes = [n.model_copy(update={"vectors": count}) for n, count in zip(report.nodes, (60, 10), strict=False)]
    several = report.model_copy(update={"nodes": (*nodes, *report.nodes[2:])})
    assert view.driven(several) == "70 vectors at the ends of 2 units, 10 to 60 each, 0 mismatches"
    assert view.driven(report) == ""


def test_every_slowest_node_is_a_bottleneck() -> None:
    report = example_report(50)
    assert [node.name for node in view.bottlenecks(report)] == ["layer1_matvec", "layer6_matvec"]
    assert view.limited_by(report) == "layer1_matvec and 1 equally slow node"
    assert view.interval_share(report, view.bottlenecks(report)[0]) == 1
    named = report.estimate.model_copy(update={"limited_by": "memory"})
    assert view.limited_by(report.model_copy(update={"estimate": named})) == "memory"


def test_an_empty_network_has_no_bottleneck() -> None:
    assert view.bottlenecks(example_report(0)) == ()
    assert view.limited_by(example_report(0)) == "nothing known"


def test_the_slowest_nodes_keep_the_networks_order() -> None:
    report = example_report(60)
    kept = view.slowest(report, 20)
    places = [report.nodes.index(node) for node in kept]
    assert places == sorted(places)
    assert min(n.cycles for n in kept) >= max(n.cycles for n in report.nodes if n not in kept)
    assert view.slowest(report, 100) == report.nodes


def test_deviating_cycle_counts_are_told() -> None:
    report = example_report(5)
    assert view.counted(report).endswith("for all 5 nodes")
    off = report.nodes[1].model_copy(update={"counted_cycles": INTERVAL + 1})
    changed = report.model_copy(update={"nodes": (report.nodes[0], off, *report.nodes[2:])})
    assert view.counted(changed).endswith("for 4 of 5 nodes")
    uncounted = tuple(node.model_copy(update={"counted_cycles": None}) for node in report.nodes)
    assert view.counted(report.model_copy(update={"nodes": uncounted})) == ""


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.9999, "99.9 %"), (0.00001, "< 0.1 %"), (0.5, "50.0 %"), (1.00001, "> 100.0 %")],
)
def test_only_a_full_share_reads_100_percent(share: float, text: str) -> None:
    assert view.percent(share) == text


def test_numbers_read_as_people_write_them() -> None:
    assert [view.number(x) for x in (27126.7, 99.96, 0.1134, 2.0, 0)] == ["27,127", "100", "0.113", "2", "0"]
    assert [view.large(x, "B") for x in (12_501_632, 999_600, 3076, 12)] == ["12.5 MB", "1 MB", "3.08 kB", "12 B"]
    assert view.plural(1, "image") == "1 image"


def test_lanes_read_as_an_arrow_or_by_name() -> None:
    nodes = example_report(2).nodes
    assert [view.lanes(node) for node in nodes] == ["16 → 16", "SIMD 16, PE 16"]


def test_shares_of_nothing_are_defined() -> None:
    assert view.used_share(Usage(used=0, budget=0, available=0)) == 0
    assert not view.over_budget(Usage(used=5, budget=5, available=9))
    assert view.over_budget(Usage(used=6, budget=5, available=9))
    report = example_report(1)
    free = report.bound.model_copy(update={"fps": 0.0})
    assert view.bound_share(report.model_copy(update={"bound": free})) is None
