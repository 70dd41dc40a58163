"""The one integer program of the explorer: one option a decision, resources within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import pulp

from toolchain.dse.problem import Option, Problem
from toolchain.dse.resources import KINDS, Resources, total
from toolchain.errors import UserError, unknown_name

SOLVERS: dict[str, str] = {"highs": "HiGHS", "cbc": "PULP_CBC_CMD"}
_SCALE = 1000.0  # objectives of order 1 would meet the solvers' absolute gap of 1e-6 too early


@dataclass(frozen=True)
class Selection:
    """A solver's answer. ``proved``: ``picked`` is optimal, or, being None, impossible. ``bound`` is a lower bound."""

    picked: tuple[Option, ...] | None
    proved: bool
    bound: float = 0.0


def available_solver(name: str) -> str:
    """``name`` when it is installed, otherwise the first solver that is.

    Raises:
        UserError: an unknown name, or no solver at all.
    """
    if name not in SOLVERS:
        raise unknown_name("solver", name, SOLVERS)
    installed = pulp.listSolvers(onlyAvailable=True)
    for candidate in (name, *SOLVERS):
        if SOLVERS[candidate] in installed:
            return candidate
    raise UserError("no integer solver is installed", hint="pip install highspy")


def select(problem: Problem, budget: Resources, *, minimise: bool, solver: str, seconds: float) -> Selection:
    """Options within ``budget``; with ``minimise`` those of the least summed share of it, else any."""
    if any(not decision.options for decision in problem.decisions):
        return Selection(None, proved=True)
    least = [[min(r) for r in zip(*(astuple(o.resources) for o in d.options), strict=True)] for d in problem.decisions]
    if not Resources(*(sum(column) for column in zip(*least, strict=True))).fits(budget):
        return Selection(None, proved=True)
    model, variables = _build(problem, budget, minimise=minimise)
    model.solve(_solver(solver, seconds))
    picked = _picked(problem, variables)
    if picked is not None and not total(option.resources for option in picked).fits(budget):
        picked = None  # within the solver's tolerance only
    if picked is None:
        return Selection(None, proved=model.status == pulp.LpStatusInfeasible)
    if model.sol_status == pulp.LpSolutionOptimal or not minimise:
        return Selection(picked, proved=True, bound=share(picked, budget))
    return Selection(picked, proved=False, bound=_relaxed(problem, budget, solver))


def share(picked: Sequence[Option], budget: Resources) -> float:
    """The objective: used / budget summed over the resources."""
    return total(option.resources for option in picked).share(budget)


def overshoot(problem: Problem, budget: Resources, *, solver: str, seconds: float) -> Resources:
    """The least violation of ``budget``, summed as shares of it, that any selection of ``problem`` needs."""
    model, variables = _build(problem, None, minimise=False)
    slack = {kind: pulp.LpVariable(f"over_{kind}", lowBound=0) for kind in KINDS}
    limits = dict(zip(KINDS, astuple(budget), strict=True))
    for kind in KINDS:
        model += _used(problem, variables, kind) <= limits[kind] + slack[kind], kind
    model.setObjective(pulp.lpSum(_SCALE / max(limits[kind], 1) * slack[kind] for kind in KINDS))
    model.solve(_solver(solver, seconds))
    picked = _picked(problem, variables)
    used = total(option.resources for option in picked) if picked is not None else Resources()
    return (used - budget).at_least(0)


Variables = list[list[pulp.LpVariable]]


def _build(problem: Problem, budget: Resources | None, *, minimise: bool) -> tuple[pulp.LpProblem, Variables]:
    model = pulp.LpProblem("explore", pulp.LpMinimize)
    variables = [
        [pulp.LpVariable(f"x_{i}_{j}", cat=pulp.LpBinary) for j in range(len(decision.options))]
        for i, decision in enumerate(problem.decisions)
    ]
    goal = pulp.LpAffineExpression()
    if minimise and budget is not None:
        pairs = zip(problem.decisions, variables, strict=True)
        goal = pulp.LpAffineExpression(
            [(x, _SCALE * o.resources.share(budget)) for d, xs in pairs for o, x in zip(d.options, xs, strict=True)]
        )
    model.setObjective(goal)
    for i, row in enumerate(variables):
        model += pulp.lpSum(row) == 1, f"one_{i}"
    if budget is not None:
        for kind, limit in zip(KINDS, astuple(budget), strict=True):
            model += _used(problem, variables, kind) <= limit, kind
    return model, variables


def _used(problem: Problem, variables: Variables, kind: str) -> pulp.LpAffineExpression:
    pairs = zip(problem.decisions, variables, strict=True)
    return pulp.LpAffineExpression(
        [(x, getattr(o.resources, kind)) for d, xs in pairs for o, x in zip(d.options, xs, strict=True)]
    )


def _solver(name: str, seconds: float, *, mip: bool = True) -> pulp.LpSolver:
    return pulp.getSolver(SOLVERS[name], msg=False, mip=mip, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0)


def _picked(problem: Problem, variables: Variables) -> tuple[Option, ...] | None:
    """The options whose variable is one; None when the solver left no selection."""
    picked = []
    for decision, row in zip(problem.decisions, variables, strict=True):
        ones = [option for option, x in zip(decision.options, row, strict=True) if (x.varValue or 0.0) > 0.5]
        if len(ones) != 1:
            return None
        picked.append(ones[0])
    return tuple(picked)


def _relaxed(problem: Problem, budget: Resources, solver: str) -> float:
    """Lower bound of the least share: fractions of options allowed."""
    model, _ = _build(problem, budget, minimise=True)
    model.solve(_solver(solver, 60.0, mip=False))
    return float(pulp.value(model.objective) or 0.0) / _SCALE
