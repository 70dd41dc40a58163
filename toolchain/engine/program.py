"""The engine's integer program: one option a unit, a place for every map, the sum of all pass times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import pulp

from toolchain.dse.ilp import SOLVERS
from toolchain.engine.candidates import Candidates, start_cycles
from toolchain.engine.maps import color
from toolchain.engine.options import ConvolutionOption, UnitOption
from toolchain.resources import KINDS

SMALL_BANKS = 2
"""Banks beside the large one."""

SCALE = 1e-3
"""Cycles of a frame are millions: thousands suit the solver's tolerances."""

Option = TypeVar("Option", bound=UnitOption)


@dataclass(frozen=True)
class Picked:
    """A choice of every unit, the bank of every map on the chip, and the cycles a frame."""

    cycles: float
    convolution: ConvolutionOption
    window: UnitOption
    bank: UnitOption
    banks: dict[str, int]


def solve(candidates: Candidates, solver: str, seconds: float, limit: float) -> tuple[Picked | None, float]:
    """The best of ``candidates`` and a lower bound of all of them, at most ``limit``: what is known to be possible."""
    if not candidates.options.convolutions or not candidates.options.windows:
        return None, limit
    return Model(candidates).solve(solver, seconds, limit)


class Model:
    """The program's variables: one a choice, one a map on the chip, the time of every pass."""

    def __init__(self, program: Candidates) -> None:
        self.program, self.convolutions = program, program.options.convolutions
        self.windows, self.banks = program.options.windows, program.options.banks
        self.lives = program.lives()
        self.model = pulp.LpProblem("engine", pulp.LpMinimize)
        self.c = binaries("c", len(self.convolutions))
        self.w = binaries("w", len(self.windows))
        self.b = binaries("b", len(self.banks))
        self.large = dict(zip(self.lives, binaries("large", len(self.lives)), strict=True))
        self.small = dict(zip(self.lives, binaries("small", len(self.lives)), strict=True))
        self.inside = {life.name: self.large[life] + self.small[life] for life in self.lives}
        self.t = [pulp.LpVariable(f"t_{i}", lowBound=0) for i in range(len(program.cut.passes))]
        self._choose()
        self._place()
        for index in range(len(self.t)):
            self._time(index)
        self.model.setObjective(self._objective())

    def _choose(self) -> None:
        for row in (self.c, self.w, self.b):
            self.model += pulp.lpSum(row) == 1
        chosen = [*zip(self.c, self.convolutions, strict=True), *zip(self.w, self.windows, strict=True)]
        chosen += zip(self.b, self.banks, strict=True)
        limits = zip(KINDS, self.program.budget.resources - self.program.options.fixed, strict=True)
        for kind, limit in limits:
            self.model += pulp.LpAffineExpression([(x, getattr(o.resources, kind)) for x, o in chosen]) <= limit

    def _place(self) -> None:
        """A map fits its bank, and no bank holds two at once: two small ones hold what is never more than two."""
        for life in self.lives:
            pairs = list(zip(self.b, self.banks, strict=True))
            self.model += self.inside[life.name] <= 1
            self.model += self.large[life] <= pulp.lpSum(x for x, o in pairs if o.shape.bank_words >= life.words)
            self.model += self.small[life] <= pulp.lpSum(x for x, o in pairs if o.shape.small_words >= life.words)
        for index in range(len(self.t)):
            live = [life for life in self.lives if life.first <= index <= life.last]
            self.model += pulp.lpSum(self.large[life] for life in live) <= 1
            self.model += pulp.lpSum(self.small[life] for life in live) <= SMALL_BANKS

    def _inside(self, name: str) -> pulp.LpAffineExpression:
        return self.inside.get(name, pulp.LpAffineExpression())

    def _time(self, index: int) -> None:
        p, t = self.program.cut.passes[index], self.t[index]
        rows = zip(self.c, self.convolutions, strict=True)
        self.model += t >= pulp.LpAffineExpression([(x, o.cycles[index] * SCALE) for x, o in rows])
        columns = [(x, o.cycles[index] * SCALE) for x, o in zip(self.w, self.windows, strict=True)]
        waits = [(x, o.tiling.window_waits[index] * SCALE) for x, o in zip(self.c, self.convolutions, strict=True)]
        self.model += t >= pulp.LpAffineExpression([*columns, *waits])
        rows = zip(self.c, self.convolutions, strict=True)
        moved = pulp.LpAffineExpression([(x, self.program.memory_time(o, index) * SCALE) for x, o in rows])
        for name, cycles in self._maps(index):
            moved += cycles * SCALE * (1 - self._inside(name))
        self.model += t >= moved
        for name, must in ((p.source, "source_inside"), (p.stored, "result_inside")):
            bound = [x for x, o in zip(self.c, self.convolutions, strict=True) if index in getattr(o.tiling, must)]
            if bound:
                self.model += pulp.lpSum(bound) <= self._inside(name)

    def _maps(self, index: int) -> list[tuple[str, float]]:
        """Return the maps of a pass with the cycles that each takes on the memory port."""
        p = self.program.cut.passes[index]
        source, residual, result = self.program.map_time(index)
        names = [(p.source, source), (p.stored, result)]
        return names + ([(p.merge.residual, residual)] if p.merge is not None else [])

    def _objective(self) -> pulp.LpAffineExpression:
        passes = range(len(self.t))
        idle = [
            (x, sum(self.program.idle(o, i) for i in passes) * SCALE) for x, o in zip(self.w, self.windows, strict=True)
        ]
        return pulp.lpSum(self.t) + pulp.LpAffineExpression([*idle, *self._start()])

    def _start(self) -> list[tuple[pulp.LpVariable, float]]:
        """Return the terms of the cycles before the first pass, with the constants that the passes wait for."""
        return [
            (x, (start_cycles(o.tiling, self.program.budget) + o.tiling.preload) * SCALE)
            for x, o in zip(self.c, self.convolutions, strict=True)
        ]

    def solve(self, solver: str, seconds: float, limit: float) -> tuple[Picked | None, float]:
        """Solve the program; see the function of this name."""
        settings = {"msg": False, "threads": 1, "timeLimit": max(seconds, 0.1), "gapRel": 0.0}
        self.model.solve(pulp.getSolver(SOLVERS[solver], **settings))
        if self.model.status == pulp.LpStatusInfeasible:
            return None, limit
        c, w, b = self._convolution(), _one(self.w, self.windows), _one(self.b, self.banks)
        lower = min(self._bound() / SCALE, limit)
        if c is None or w is None or b is None or not self.program.fits(c, w, b):
            return None, lower
        banks = color({x: _on(self.large[x]) for x in self.lives if _on(self.large[x]) or _on(self.small[x])})
        cycles = self.program.cycles_of(c, w, frozenset(banks))
        return (None, lower) if cycles is None else (Picked(cycles, c, w, b, banks), min(lower, cycles))

    def _convolution(self) -> ConvolutionOption | None:
        """The convolution unit that the solver has chosen."""
        return _one(self.c, self.convolutions)

    def _bound(self) -> float:
        """The solver's proved lower bound of the objective."""
        if self.model.sol_status == pulp.LpSolutionOptimal:
            return float(pulp.value(self.model.objective))
        found = getattr(getattr(self.model, "solverModel", None), "getInfo", None)
        return max(0.0, float(found().mip_dual_bound)) if found is not None else 0.0


def binaries(name: str, count: int) -> list[pulp.LpVariable]:
    """Return ``count`` variables that are 0 or 1."""
    return [pulp.LpVariable(f"{name}_{i}", cat=pulp.LpBinary) for i in range(count)]


def _on(x: pulp.LpVariable) -> bool:
    return (x.varValue or 0.0) > 0.5


def _one(row: Sequence[pulp.LpVariable], options: Sequence[Option]) -> Option | None:
    ones = [o for x, o in zip(row, options, strict=True) if _on(x)]
    return ones[0] if len(ones) == 1 else None
