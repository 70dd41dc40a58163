"""The integer program of the explorer: one option a decision, one link a joint, resources within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import pulp

from toolchain.dse.problem import Option, Problem
from toolchain.errors import UserError, unknown_name
from toolchain.resources import KINDS, Resources

SOLVERS: dict[str, str] = {"highs": "HiGHS", "cbc": "PULP_CBC_CMD"}
_SCALE = 1000.0  # objectives of order 1 would meet the solvers' absolute gap of 1e-6 too early
_TIE = 1 / 16  # weight of the summed shares (at most 4) beside the count of mismatches: they decide only between equals


class Goal(Enum):
    """The quantity that a program minimises: none, the largest share of the budget, or the joints with converters."""

    ANY = "any"
    SCARCEST = "scarcest"
    MATCHED = "matched"


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


@dataclass(frozen=True)
class IntegerProgram:
    """Selections of ``problem`` within ``budget``, asked from ``solver``."""

    problem: Problem
    budget: Resources
    solver: str

    def select(self, goal: Goal, seconds: float) -> Selection:
        """The best selection by ``goal``; none within ``budget``: ``picked`` is None."""
        if any(not decision.options for decision in self.problem.decisions):
            return Selection(None, proved=True)
        model, variables = _build(self.problem, goal, self.budget)
        model.solve(_solver(self.solver, seconds))
        picked = _picked(self.problem, variables.options)
        if picked and not (self.problem.used(picked).fits(self.budget) and self.problem.allowed(picked)):
            picked = None  # within the solver's tolerance only
        if picked is None:
            return Selection(None, proved=model.status == pulp.LpStatusInfeasible)
        if goal is Goal.ANY:
            return Selection(picked, proved=True)
        value = self.value(picked, goal)
        if model.sol_status == pulp.LpSolutionOptimal:
            return Selection(picked, proved=True, bound=value)
        return Selection(picked, proved=False, bound=min(value, max(self.relaxed(goal) or 0.0, 0.0)))

    def value(self, picked: Sequence[Option], goal: Goal) -> float:
        """The objective of ``goal``."""
        used = self.problem.used(picked)
        if goal is Goal.MATCHED:
            return self.problem.mismatches(picked) + _TIE * used.share(self.budget)
        return used.scarcest(self.budget)

    def relaxed(self, goal: Goal) -> float | None:
        """Lower bound of ``goal`` with fractions of options allowed; None: not even those fit.

        It is 0 where the solver ran out of time, which proves nothing.
        """
        if any(not decision.options for decision in self.problem.decisions):
            return None
        model, _ = _build(self.problem, goal, self.budget)
        model.solve(_solver(self.solver, 60.0, mip=False))
        if model.status == pulp.LpStatusInfeasible:
            return None
        return float(pulp.value(model.objective) or 0.0) / _SCALE if model.sol_status == pulp.LpSolutionOptimal else 0.0

    def overshoot(self, seconds: float, kinds: Sequence[str] = KINDS) -> Resources | None:
        """The least violation of the budget in ``kinds``, summed as shares of it; None: it takes other resources."""
        model, variables = _build(self.problem, Goal.ANY, None)
        limits = dict(zip(KINDS, self.budget, strict=True))
        slack = {kind: pulp.LpVariable(f"over_{kind}", lowBound=0) for kind in kinds}
        for kind in self.problem.kinds:
            model += _used(self.problem, variables, kind) <= limits[kind] + slack.get(kind, 0), kind
        model.setObjective(pulp.lpSum(_SCALE / max(limits[kind], 1) * slack[kind] for kind in kinds))
        model.solve(_solver(self.solver, seconds))
        picked = _picked(self.problem, variables.options)
        if picked is None:
            return None
        return (self.problem.used(picked) - self.budget).at_least(0)


@dataclass(frozen=True)
class _Variables:
    """The variables of a program: one an option by decision; one a pair of ports by joint, with its link's cost."""

    options: list[list[pulp.LpVariable]]
    links: list[tuple[pulp.LpVariable, Resources, bool]]


def _build(problem: Problem, goal: Goal, budget: Resources | None) -> tuple[pulp.LpProblem, _Variables]:
    model = pulp.LpProblem("explore", pulp.LpMinimize)
    rows = [
        [pulp.LpVariable(f"x_{i}_{j}", cat=pulp.LpBinary) for j in range(len(decision.options))]
        for i, decision in enumerate(problem.decisions)
    ]
    variables = _Variables(rows, [])
    top = pulp.LpVariable("scarcest", 0, 1)
    model.setObjective(_SCALE * top if goal is Goal.SCARCEST else pulp.LpAffineExpression())
    for i, row in enumerate(rows):
        model += pulp.lpSum(row) == 1, f"one_{i}"
    _join(model, problem, variables)
    if problem.most_loss is not None:
        pairs = zip(problem.decisions, rows, strict=True)
        losses = [(x, o.loss) for d, xs in pairs for o, x in zip(d.options, xs, strict=True)]
        model += pulp.LpAffineExpression(losses) <= problem.most_loss, "loss"
    if goal is Goal.MATCHED and budget is not None:
        model.setObjective(_mismatch_goal(problem, variables, budget))
    if budget is not None:
        for kind in problem.kinds:
            limit = getattr(budget, kind)
            model += _used(problem, variables, kind) <= (limit * top if goal is Goal.SCARCEST else limit), kind
    return model, variables


def _join(model: pulp.LpProblem, problem: Problem, variables: _Variables) -> None:
    """Add a variable for each pair of ports; its sums over either side equal those of the options with that port.

    Binary options make them binary: they need no integrality of their own.
    """
    places = {decision.name: i for i, decision in enumerate(problem.decisions)}
    for s, joint in enumerate(problem.joints):
        sums: tuple[dict[object, list[pulp.LpVariable]], ...] = ({}, {})
        for k, ((a, b), link) in enumerate(joint.links.items()):
            y = pulp.LpVariable(f"y_{s}_{k}", 0, 1)
            variables.links.append((y, link.resources, a.lanes != b.lanes))
            sums[0].setdefault(a, []).append(y)
            sums[1].setdefault(b, []).append(y)
        for side, name in enumerate((joint.writer, joint.reader)):
            groups: dict[object, list[pulp.LpVariable]] = {}
            place = places[name]
            for option, x in zip(problem.decisions[place].options, variables.options[place], strict=True):
                groups.setdefault(option.ports[joint.name], []).append(x)
            for g, (port, xs) in enumerate(groups.items()):
                model += pulp.lpSum(sums[side].get(port, [])) == pulp.lpSum(xs), f"join_{s}_{side}_{g}"


def _used(problem: Problem, variables: _Variables, kind: str) -> pulp.LpAffineExpression:
    pairs = zip(problem.decisions, variables.options, strict=True)
    options = [(x, getattr(o.resources, kind)) for d, xs in pairs for o, x in zip(d.options, xs, strict=True)]
    return pulp.LpAffineExpression([*options, *((y, getattr(needed, kind)) for y, needed, _ in variables.links)])


def _mismatch_goal(problem: Problem, variables: _Variables, budget: Resources) -> pulp.LpAffineExpression:
    pairs = zip(problem.decisions, variables.options, strict=True)
    terms = [(x, _TIE * o.resources.share(budget)) for d, xs in pairs for o, x in zip(d.options, xs, strict=True)]
    terms += [(y, differs + _TIE * needed.share(budget)) for y, needed, differs in variables.links]
    return pulp.LpAffineExpression([(x, _SCALE * weight) for x, weight in terms])


def _solver(name: str, seconds: float, *, mip: bool = True) -> pulp.LpSolver:
    return pulp.getSolver(SOLVERS[name], msg=False, mip=mip, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0)


def _picked(problem: Problem, variables: list[list[pulp.LpVariable]]) -> tuple[Option, ...] | None:
    """The options whose variable is one; None when the solver left no selection."""
    picked = []
    for decision, row in zip(problem.decisions, variables, strict=True):
        ones = [option for option, x in zip(decision.options, row, strict=True) if (x.varValue or 0.0) > 0.5]
        if len(ones) != 1:
            return None
        picked.append(ones[0])
    return tuple(picked) if problem.legal(picked) else None  # the values of an infeasible program may be illegal
