"""Plans with counts in place of estimates: what is counted, and that a count decides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.graphs import mlp
from toolchain.boards import load_board
from toolchain.dse.counted import Counting, Counts, Key, counted_cost
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore, plan_of
from toolchain.dse.problem import Option, Problem
from toolchain.dse.solve import solve
from toolchain.errors import FlowError, NoRoom
from toolchain.files import write_text
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Plan, plan_text
from toolchain.resources import Resources, total
from toolchain.rtl import count as counting
from toolchain.rtl.count import Design, cached, count, count_units, designs, known
from toolchain.units.totals import cost, graph_cost

BOARD = load_board("zu3eg")
GRAPH = hardware_form(mlp((16, 12, 8, 4), bits=4))
FPS = BOARD.clock.default_mhz * 1e6 / 16
"""At sixteen cycles a frame units have many forms."""


def written(together: Sequence[Design], factor: float) -> list[Resources]:
    """Counts of so many times the estimated LUTs, which the cache holds then."""
    found = [Resources(lut=int(design.luts * factor)) for design in together]
    for design, result in zip(together, found, strict=True):
        write_text(cached(design), json.dumps(list(result)))
    return found


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the designs that are counted: in place of yosys, which takes seconds, the LUTs that were estimated."""
    seen: list[str] = []

    def estimate(together: Sequence[Design], memory: int) -> list[Resources]:
        seen.extend(design.name for design in together)
        return written(together, 1)

    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(counting, "_counted_together", estimate)
    yield seen


def planned() -> Plan:
    return explore(GRAPH, BOARD, target_fps=FPS, counting=Counting(jobs=1))


def built(picked: Mapping[str, Option]) -> Graph:
    lanes = {name: lanes for option in picked.values() for name, lanes in option.lanes.items()}
    padded = {name: count for option in picked.values() for name, count in option.padded.items()}
    return to_hardware(GRAPH, plan_of(GRAPH, lanes, BOARD.name, 250.0, "", padded=padded))


def counted_once() -> tuple[Counts, dict[str, Key]]:
    """Counts of the best options by estimates, and which these are."""
    counts = Counts(expand(GRAPH), built, Counting(jobs=1))
    chosen = solve(counts.estimated, BOARD.budget, target_cycles=16).chosen
    keys = {d.name: (d.name, [o is chosen[d.name] for o in d.options].index(True)) for d in counts.estimated.decisions}
    counts.count(keys)
    return counts, keys


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


def test_only_units_of_solutions_are_counted(runs: list[str]) -> None:
    """Fewer than the fronts hold; without a target one solution is enough where its counts fit."""
    front = [option for d in expand(GRAPH).within(16).decisions for option in d.options]
    hardware = to_hardware(GRAPH, planned())
    units = [design for parts in designs(hardware).values() for design in parts[:1]]
    assert all(known(design) for design in units) and len(runs) < len(front)

    runs.clear()
    hardware = to_hardware(GRAPH, explore(GRAPH, BOARD, counting=Counting(jobs=1)))
    assert len(runs) <= len({d.digest for parts in designs(hardware).values() for d in parts})


def test_a_counted_option_takes_its_estimate_less_those_of_its_units_plus_their_counts() -> None:
    counts, keys = counted_once()
    before, after = ({d.name: d.options for d in p.decisions} for p in (counts.estimated, counts.problem()))
    picked = {name: before[name][place] for name, place in keys.values()}
    hardware = built(picked)
    names = [name for option in picked.values() for name in option.units]
    found = total(count(designs(hardware)[name][0]) for name in names)
    estimates = total(option.units[name] for option in picked.values() for name in option.units)
    old, new = (total(side[name][place].resources for name, place in keys.values()) for side in (before, after))
    assert new == old - estimates + found != old


def test_what_is_not_counted_is_priced_as_the_counts_of_its_like_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of units in the same form: an estimate times what the count of the one is of its estimate."""
    monkeypatch.setattr(counting, "_counted_together", lambda parts, memory: written(parts, 2))
    counts, keys = counted_once()
    before, after = (
        next(d.options for d in p.decisions if d.name == "matvec0") for p in (counts.estimated, counts.problem())
    )
    one = before[keys["matvec0"][1]]
    factors = {name: found.lut / one.units[name].lut for name, found in counts.units[keys["matvec0"]].items()}

    def forms(option: Option) -> list[int | None]:
        return [option.lanes[name].products_per_dsp for name in option.units]

    alike = [i for i, option in enumerate(before) if forms(option) == forms(one)]
    assert len(alike) > 5 and all(factor > 1.5 for factor in factors.values())
    for i in alike:
        units = before[i].units
        more = sum(round(units[name].lut * factors[name]) - units[name].lut for name in units)
        assert after[i].resources.lut == before[i].resources.lut + more


def test_what_fits_by_its_counts_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth fewer LUTs than the least by estimates, of which counts are half."""
    monkeypatch.setattr(counting, "_counted_together", lambda parts, memory: written(parts, 0.5))
    plenty = 10**6
    least = solve(expand(GRAPH), Resources(10_000, plenty, plenty, plenty), target_cycles=16).resources.lut
    share = (int(0.9 * least) + BOARD.shell.lut + 0.5) / BOARD.device.lut
    small = BOARD.model_copy(update={"planning": BOARD.planning.model_copy(update={"lut": share})})
    with pytest.raises(NoRoom):
        explore(GRAPH, small, target_fps=FPS)
    assert explore(GRAPH, small, target_fps=FPS, counting=Counting(jobs=1)).solver is not None


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
    counts, _ = counted_once()
    assert _resources(counts.problem()) == _resources(counts.estimated)
    assert "estimated, not counted: yosys failed on " in caplog.text


def _resources(problem: Problem) -> list[Resources]:
    return [option.resources for decision in problem.decisions for option in decision.options]
