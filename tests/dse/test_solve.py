"""The integer program equals brute force, and failures say what is short."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pulp
import pytest

from toolchain.dse import ilp
from toolchain.dse.ilp import Goal, IntegerProgram, Selection
from toolchain.dse.prices import limits
from toolchain.dse.problem import Decision, Joint, Link, Option, Port, Problem, pareto, prune
from toolchain.dse.solve import Infeasible, fits, least_bound, solve
from toolchain.errors import UserError
from toolchain.ir.types import Parallelism
from toolchain.resources import Resources


def random_problem(seed: int, decisions: int = 4, options: int = 5) -> tuple[Problem, Resources]:
    """A chain with a shortcut from its first decision to its last; options trade cycles for resources.

    Links cost resources where lanes differ, sometimes limit the cycles, and a few are missing. The budget is often too
    small.
    """
    rng = random.Random(seed)
    ends = [(i, i + 1) for i in range(decisions - 1)] + [(0, decisions - 1)]

    def option(i: int) -> Option:
        speed = rng.choice([1, 2, 4, 8])
        used = Resources(*(rng.randint(0, 30) * speed for _ in range(4)))
        ports = {f"j{a}{b}": Port(rng.choice([1, 2, 4]), rng.choice([0, 3])) for a, b in ends if i in (a, b)}
        return Option({f"d{i}": Parallelism(speed, speed)}, rng.randint(50, 120) // speed, used, ports)

    found = tuple(Decision(f"d{i}", tuple(option(i) for _ in range(options))) for i in range(decisions))

    def joint(a: int, b: int) -> Joint:
        name = f"j{a}{b}"
        links = {
            (x, y): Link(rng.choice([1, 1, 1, 50]), Resources(*(rng.randint(0, 20) * (x != y) for _ in range(4))))
            for x in sorted({o.ports[name] for o in found[a].options})
            for y in sorted({o.ports[name] for o in found[b].options})
            if rng.random() < 0.9
        }
        return Joint(name, f"d{a}", f"d{b}", links)

    return Problem(found, tuple(joint(a, b) for a, b in ends)), Resources(*(rng.randint(60, 450) for _ in range(4)))


def brute_force(problem: Problem, budget: Resources, target: int | None) -> tuple[float, float, int] | None:
    """Least (cycles, largest share, mismatches) within the budget; with a target, cycles beyond it do not count."""
    best: tuple[float, float, int] | None = None
    for picked in itertools.product(*(d.options for d in problem.decisions)):
        if not problem.legal(picked):
            continue
        used, slowest = problem.used(picked), problem.slowest(picked)
        if used.fits(budget) and (target is None or slowest <= target):
            share = round(used.scarcest(budget), 9)
            key = (slowest if target is None else 0, share, problem.mismatches(picked))
            best = key if best is None else min(best, key)
    return best


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize("target", [None, 45])
def test_the_optimum_is_that_of_brute_force(solver: str, target: int | None) -> None:
    """On 16 random problems with converters: the same cycles, scarcest resource and mismatches, or nothing fits."""
    infeasible = 0
    for seed in range(16):
        problem, budget = random_problem(seed)
        expected = brute_force(problem, budget, target)
        try:
            solution = solve(problem, budget, target_cycles=target, solver=solver)
        except Infeasible:
            assert expected is None
            infeasible += 1
            continue
        assert expected is not None
        assert (solution.status, solution.gap) == ("optimal", 0.0)
        assert target is not None or solution.cycles == expected[0]
        assert solution.resources.scarcest(budget) == pytest.approx(expected[1], abs=1e-6)
        assert solution.mismatches == expected[2]
        assert solution.resources.fits(budget)
    assert 0 < infeasible < 16


def test_within_keeps_an_optimum() -> None:
    """Dropping beaten options changes no answer."""
    for seed in range(8):
        problem, budget = random_problem(seed)

        assert brute_force(problem.within(40, matched=True), budget, 40) == brute_force(problem, budget, 40)
        spared, best = brute_force(problem.within(40), budget, 40), brute_force(problem, budget, 40)
        assert (spared or best) is None or (spared and best and spared[:2] == best[:2])


def test_pareto_keeps_what_nothing_beats() -> None:
    assert pareto([(3, 1), (1, 3), (2, 2), (2, 3), (3, 3), (1, 3)]) == [0, 1, 2]
    assert pareto([]) == []


def test_prune_keeps_the_order_of_options() -> None:
    problem, _ = random_problem(0, options=20)
    options = problem.decisions[0].options
    kept = prune(options)

    assert [o for o in options if o in kept] == list(kept)


def chain() -> Problem:
    """Two units: slow and small, or fast and large."""
    small, large = Resources(10, 10, 1, 1), Resources(100, 50, 20, 2)
    names = ("a", "b")
    options = {n: (Option({n: Parallelism(1, 1)}, 80, small), Option({n: Parallelism(4, 4)}, 20, large)) for n in names}
    return Problem(tuple(Decision(n, options[n]) for n in names))


@pytest.mark.parametrize("target", [None, 20, 10])
def test_a_network_too_large_names_what_is_short(target: int | None) -> None:
    """At any rate."""
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(15, 100, 10, 10), target_cycles=target)

    assert (error.value.cycles, error.value.fitting) == (None, None)
    assert str(error.value) == (
        "the network does not fit: 5 lut short (20 needed, 15 beside the shell); use fewer bits, prune it, or take a "
        "larger board"
    )


def test_a_target_too_fast_says_what_is_short_and_what_fits() -> None:
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(150, 100, 25, 10), target_cycles=20)

    assert str(error.value) == (
        "20 cycles a frame do not fit: 50 lut short (200 needed, 150 beside the shell), 15 dsp short (40 needed, "
        "25 beside the shell); 80 cycles a frame fit"
    )
    assert error.value.fitting == 80


def test_a_target_no_unit_reaches_names_the_unit() -> None:
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(500, 500, 50, 10), target_cycles=10)

    assert str(error.value) == "10 cycles a frame are out of reach: 'a' takes 20 at least; 20 cycles a frame fit"


def test_a_solver_out_of_time_is_not_a_network_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IntegerProgram, "select", lambda *_: Selection(None, proved=False))
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(500, 500, 50, 10))

    assert str(error.value) == "the solver found no accelerator in time, nor proved there is none; give it longer"


def late(monkeypatch: pytest.MonkeyPatch, wanted: Goal, answer: Callable[[Selection], Selection]) -> None:
    """The solver runs out of time where ``wanted`` is asked, with ``answer`` of what it would have found."""
    select = IntegerProgram.select

    def selected(program: IntegerProgram, goal: Goal, seconds: float) -> Selection:
        found = select(program, goal, seconds)
        return answer(found) if goal is wanted else found

    monkeypatch.setattr(IntegerProgram, "select", selected)


@pytest.mark.parametrize(
    ("goal", "answer", "cycles", "gap"),
    [
        (Goal.SCARCEST, lambda found: replace(found, proved=False, bound=found.bound / 4), 20, 0.75),
        (Goal.MATCHED, lambda found: replace(found, proved=False, bound=found.bound / 2), 20, 0.5),
        (Goal.MATCHED, lambda found: Selection(None, proved=False), 20, 1.0),
        (Goal.MATCHED, lambda found: found, 20, 0.0),
    ],
)
def test_what_is_not_proved_is_feasible_and_its_gap_is_told(
    goal: Goal,
    answer: Callable[[Selection], Selection],
    cycles: int,
    gap: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late(monkeypatch, goal, answer)
    for target in (None, cycles):
        found = solve(chain(), Resources(500, 500, 80, 10), target_cycles=target)
        assert (found.cycles, found.cycles_bound, found.gap) == (cycles, cycles, gap)
        assert found.status == ("feasible" if gap else "optimal")


def test_cycles_that_were_not_refuted_are_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast units were not found in time; the slow ones are told with the cycles that may still be reached."""
    fast = chain().cycle_counts()[0]

    def none_fast(found: Selection) -> Selection:
        quick = found.picked is not None and all(option.cycles == fast for option in found.picked)
        return Selection(None, proved=False) if quick else found

    late(monkeypatch, Goal.ANY, none_fast)
    found = solve(chain(), Resources(500, 500, 50, 10))
    assert (found.cycles, found.cycles_bound, found.gap, found.status) == (80, 20, 0.75, "feasible")
    assert solve(chain(), Resources(500, 500, 50, 10), target_cycles=80).status == "optimal"


def test_a_relaxation_that_was_not_finished_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a mere tolerance: what no selection reaches is told by an infeasible program alone."""
    room, none = Resources(500, 500, 50, 10), Resources(15, 100, 10, 10)
    assert [least_bound(chain(), budget) for budget in (room, none)] == [20, 80]

    def stopped(model: pulp.LpProblem, *_: object) -> None:
        model.status, model.sol_status = pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound

    monkeypatch.setattr(pulp.LpProblem, "solve", stopped)
    assert [least_bound(chain(), budget) for budget in (room, none)] == [20, 20]
    program = IntegerProgram(chain(), room, "highs")
    assert [program.relaxed(goal) for goal in Goal] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("goal", Goal)
def test_a_selection_that_fits_within_the_solvers_tolerance_alone_is_none(
    goal: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One LUT too many, or a loss too many: not taken, and no proof that there is none."""
    monkeypatch.setattr(ilp, "_picked", lambda problem, _: tuple(d.options[-1] for d in problem.decisions))
    problem, room = chain(), Resources(200, 100, 40, 4)
    large = tuple(d.options[-1] for d in problem.decisions)
    assert IntegerProgram(problem, room, "highs").select(goal, 10).picked == large
    assert IntegerProgram(problem, replace(room, lut=199), "highs").select(goal, 10) == Selection(None, proved=False)
    lossy = tuple(replace(d, options=tuple(replace(o, loss=1) for o in d.options)) for d in problem.decisions)
    for most, taken in ((2, True), (1, False)):
        found = IntegerProgram(replace(problem, decisions=lossy, most_loss=most), room, "highs").select(goal, 10)
        assert (found.picked is not None) == taken


def test_what_fits_at_any_rate_is_told() -> None:
    """Where even the least of all options together does not, no program is asked."""
    assert [fits(chain(), Resources(lut, 50, 2, 2), 10) for lut in (20, 19)] == [True, False]
    problem = replace(chain(), decisions=(*chain().decisions, Decision("c", chain().decisions[0].options[1:])))
    assert [fits(problem, Resources(lut, 999, 99, 99), 10) for lut in (120, 119)] == [True, False]


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(UserError) as error:
        solve(chain(), Resources(500, 500, 50, 10), solver="higs")

    assert str(error.value) == "unknown solver 'higs'; did you mean 'highs'?"


def test_the_answer_is_repeatable() -> None:
    """Two runs choose the same options."""
    problem, budget = random_problem(3)

    assert solve(problem, budget).lanes == solve(problem, budget).lanes


def test_a_price_is_what_the_next_step_needs() -> None:
    """Two fast units need 200 LUTs and 40 DSPs; with 150 and 40 the LUTs bind, and 50 more give four times the rate."""
    found = limits(chain(), Resources(150, 100, 40, 10), 80, solver="highs", seconds=10)

    assert found.by == "lut"
    assert [price.text(80) for price in found.prices] == ["+50 LUT would give +300% fps"]


def test_resources_that_only_help_together_are_named_together() -> None:
    found = limits(chain(), Resources(150, 100, 25, 10), 80, solver="highs", seconds=10)

    assert found.by == "lut and dsp"
    assert [price.text(80) for price in found.prices] == ["+50 LUT and +15 DSP would give +300% fps"]


def test_a_unit_without_a_faster_form_is_named() -> None:
    found = limits(chain(), Resources(500, 500, 50, 10), 20, solver="highs", seconds=10)

    assert (found.by, found.prices) == ("'a', which has no faster form", ())


def test_a_price_is_least_among_random_problems() -> None:
    """The budget plus the price admits the faster rate, one less of it does not."""
    seen = 0
    for seed in range(12):
        problem, budget = random_problem(seed, decisions=3)
        best = brute_force(problem, budget, None)
        if best is None:
            continue
        for price in limits(problem, budget, int(best[0]), solver="highs", seconds=20).prices:
            faster = brute_force(problem, budget + price.extra, price.cycles)
            assert faster is not None
            if sum(1 for n in price.extra if n) == 1:
                less = Resources(*(max(n - 1, 0) for n in price.extra))
                assert brute_force(problem, budget + less, price.cycles) is None
                seen += 1
    assert seen
