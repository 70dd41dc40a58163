"""Plans with counts in place of estimates: what is counted, and that a count decides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.graphs import mlp
from toolchain.boards import load_board
from toolchain.dse.counted import Counting, counted_cost, uncounted, with_counts
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore, plan_of
from toolchain.dse.problem import Option, Problem
from toolchain.errors import FlowError
from toolchain.files import write_text
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Plan, plan_text
from toolchain.resources import Resources, total
from toolchain.rtl import count as counting
from toolchain.rtl.count import Design, cached, count, count_units, designs
from toolchain.units.table import unit_cost
from toolchain.units.totals import cost, graph_cost

BOARD = load_board("zu3eg")
GRAPH = hardware_form(mlp((16, 12, 8, 4), bits=4))
FPS = BOARD.clock.default_mhz * 1e6 / 16
"""At sixteen cycles a frame units have many forms."""


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the designs that are counted: in place of yosys, which takes seconds, the LUTs that were estimated."""
    seen: list[str] = []

    def estimate(together: Sequence[Design], memory: int) -> list[Resources]:
        found = [Resources(lut=design.luts) for design in together]
        for design, result in zip(together, found, strict=True):
            write_text(cached(design), json.dumps(list(result)))
            seen.append(design.name)
        return found

    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(counting, "_counted_together", estimate)
    yield seen


def planned() -> Plan:
    return explore(GRAPH, BOARD, target_fps=FPS, counting=Counting(jobs=1))


def built(picked: dict[str, Option]) -> Graph:
    lanes = {name: lanes for option in picked.values() for name, lanes in option.lanes.items()}
    padded = {name: count for option in picked.values() for name, count in option.padded.items()}
    return to_hardware(GRAPH, plan_of(GRAPH, lanes, BOARD.name, 250.0, "", padded=padded))


def test_a_planted_count_of_a_unit_changes_the_plan(runs: list[str]) -> None:
    first = planned()
    hardware = to_hardware(GRAPH, first)
    victim = designs(hardware)["matvec0"][0]
    runs.clear()
    assert planned().nodes == first.nodes and runs == []  # all is known

    write_text(cached(victim), json.dumps([30_000, 0, 0, 0, 0]))
    second = planned()
    assert second.nodes["matvec0"] != first.nodes["matvec0"]
    assert designs(to_hardware(GRAPH, second))["matvec0"][0].digest != victim.digest
    assert second.solver is not None and second.solver.cycles <= 16


def test_the_plan_tells_by_what_units_were_counted_and_one_of_estimates_says_nothing() -> None:
    plan = planned()
    assert plan.solver is not None and plan.solver.costs.startswith("counted by yosys ")
    assert json.loads(plan_text(plan))["solver"]["costs"] == plan.solver.costs
    assert "costs" not in json.loads(plan_text(explore(GRAPH, BOARD, target_fps=FPS)))["solver"]


def test_options_on_the_front_are_counted_and_no_others() -> None:
    """With counts, an option takes its estimate less those of its units, plus their counts."""
    problem = expand(GRAPH)
    waiting = uncounted(problem, (16,), BOARD.budget)
    front = [option for decision in problem.within(16).decisions for option in decision.options]
    assert len(front) > 20 and {id(o) for o in waiting} == {id(o) for o in front}

    known = with_counts(problem, waiting, Counting(jobs=1), built)
    before, after = ([o for d in p.decisions for o in d.options] for p in (problem, known))
    assert [o.counted for o in after] == [any(o is other for other in waiting) for o in before]
    picked = {d.name: next(o for o in d.options if o.counted) for d in known.decisions}
    hardware = built(picked)
    lanes = {name: lanes for option in picked.values() for name, lanes in option.lanes.items()}
    nodes = [node for node in hardware.nodes if node.name in lanes]
    counts = total(count(designs(hardware)[node.name][0]) for node in nodes)
    estimates = total(unit_cost(node, hardware.value(node.inputs[0]), lanes[node.name]) for node in nodes)
    old = total(before[[o is new for o in after].index(True)].resources for new in picked.values())
    assert total(o.resources for o in picked.values()) == old - estimates + counts != old


def test_a_design_is_held_against_the_budget_with_counts_of_everything_between_its_ends() -> None:
    hardware = to_hardware(GRAPH, planned())
    counts = [found for found in count_units(hardware).values() if isinstance(found, Resources)]
    ends = graph_cost(hardware) - total(cost(node, hardware) for node in hardware.nodes)
    assert counted_cost(hardware, Counting(jobs=1)) == ends + total(counts)


def test_what_yosys_fails_on_keeps_its_estimate_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(together: Sequence[Design], memory: int) -> list[Resources]:
        raise FlowError("it was ended by signal 9")

    monkeypatch.setattr(counting, "_counted_together", fail)
    problem = expand(GRAPH)
    waiting = uncounted(problem, (16,), BOARD.budget)
    known = with_counts(problem, waiting, Counting(jobs=1), built)
    assert _resources(known) == _resources(problem)
    assert "estimated, not counted: yosys failed on " in caplog.text


def _resources(problem: Problem) -> list[Resources]:
    return [option.resources for decision in problem.decisions for option in decision.options]
