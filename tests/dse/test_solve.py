"""The integer program equals brute force, and failures say what is short."""

from __future__ import annotations

import itertools
import random

import pytest

from toolchain.dse.problem import Decision, Option, Problem, pareto, prune
from toolchain.dse.resources import Resources, total
from toolchain.dse.solve import Infeasible, solve
from toolchain.errors import UserError
from toolchain.ir.types import Parallelism


def random_problem(seed: int, decisions: int = 4, options: int = 5) -> tuple[Problem, Resources]:
    """Options that trade cycles for resources, and a budget that is often too small."""
    rng = random.Random(seed)

    def option(name: str) -> Option:
        speed = rng.choice([1, 2, 4, 8])
        used = Resources(*(rng.randint(0, 30) * speed for _ in range(4)))
        return Option({name: Parallelism(speed, speed)}, rng.randint(50, 120) // speed, used)

    found = [Decision(f"d{i}", tuple(option(f"d{i}") for _ in range(options))) for i in range(decisions)]
    return Problem(tuple(found)), Resources(*(rng.randint(60, 400) for _ in range(4)))


def brute_force(problem: Problem, budget: Resources, target: int | None) -> tuple[int, float] | None:
    """Least (cycles, share) over all selections within the budget; with a target the least share alone counts."""
    best: tuple[int, float] | None = None
    for picked in itertools.product(*(d.options for d in problem.decisions)):
        used = total(o.resources for o in picked)
        slowest = max(o.cycles for o in picked)
        if used.fits(budget) and (target is None or slowest <= target):
            key = (slowest if target is None else 0, used.share(budget))
            best = key if best is None else min(best, key)
    return best


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize("target", [None, 30])
def test_the_optimum_is_that_of_brute_force(solver: str, target: int | None) -> None:
    """On 16 random problems: the same least cycles, then the same least resources; infeasible when nothing fits."""
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
        assert solution.resources.share(budget) == pytest.approx(expected[1], rel=1e-6)  # the solvers' gap is absolute
        assert solution.resources.fits(budget)
    assert 0 < infeasible < 16


def test_within_keeps_an_optimum() -> None:
    """Dropping beaten options changes no answer."""
    for seed in range(8):
        problem, budget = random_problem(seed)

        assert brute_force(problem.within(40), budget, 40) == brute_force(problem, budget, 40)


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


def test_a_network_too_large_names_what_is_short() -> None:
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(15, 100, 10, 10))

    assert str(error.value) == (
        "the network does not fit: 5 lut short (20 needed, 15 there); use fewer bits, prune it, or take a larger board"
    )


def test_a_target_too_fast_says_what_is_short_and_what_fits() -> None:
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(150, 100, 25, 10), target_cycles=20)

    assert str(error.value) == (
        "20 cycles a frame do not fit: 50 lut short (200 needed, 150 there), 15 dsp short (40 needed, 25 there); "
        "80 cycles a frame fit"
    )
    assert error.value.fitting == 80


def test_a_target_no_unit_reaches_names_the_unit() -> None:
    with pytest.raises(Infeasible) as error:
        solve(chain(), Resources(500, 500, 50, 10), target_cycles=10)

    assert str(error.value) == "10 cycles a frame are out of reach: 'a' takes 20 at least; 20 cycles a frame fit"


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(UserError) as error:
        solve(chain(), Resources(500, 500, 50, 10), solver="higs")

    assert str(error.value) == "unknown solver 'higs'; did you mean 'highs'?"


def test_the_answer_is_repeatable() -> None:
    """Two runs choose the same options."""
    problem, budget = random_problem(3)

    assert solve(problem, budget).lanes == solve(problem, budget).lanes
