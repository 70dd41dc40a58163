"""The integer program of the engine: one option a unit, the maps that stay on the chip, the sum of all pass times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import combinations, product

import pulp

from toolchain.dse.ilp import SOLVERS, available_solver
from toolchain.dse.resources import KINDS, Resources, total
from toolchain.engine.cost import engine_cost
from toolchain.engine.layers import Cut
from toolchain.engine.options import (
    Choices,
    ConvolutionOption,
    EngineOptions,
    Tiling,
    UnitOption,
    base_shapes,
    expand,
)
from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES, Places, Schedule
from toolchain.engine.shape import Shape
from toolchain.engine.timing import Timing, idle_cycles, timings
from toolchain.errors import UserError

SMALL_BANKS = 2
"""Banks beside the large one."""

_SCALE = 1e-3  # cycles of a frame are millions: thousands suit the solver's tolerances


@dataclass(frozen=True)
class Budget:
    """What an engine may take, and the memory's bytes a clock cycle."""

    resources: Resources
    bytes_per_cycle: float
    prefetch: bool = True
    """Whether weights come in while the pass before runs; without it their time is added, for comparison."""


@dataclass(frozen=True)
class Engine:
    """The engine found: its shape, the bank of every map on the chip, and the time of every pass.

    ``bound`` is a lower bound of ``cycles``, proved by the program for all engines of the options.
    """

    shape: Shape
    placement: dict[str, int]
    schedules: tuple[Schedule, ...]
    timings: tuple[Timing, ...]
    cycles: float
    bound: float
    seconds: float
    resources: Resources

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)


@dataclass(frozen=True)
class Lifetime:
    """A map, the first and last pass that need it, and its words."""

    name: str
    first: int
    last: int
    words: int


def lifetimes(cut: Cut, shape: Shape) -> list[Lifetime]:
    """The maps that passes hand on; the network's input and answer always lie in memory."""
    made = {p.result: i for i, p in enumerate(cut.passes)}
    last: dict[str, int] = {}
    for i, p in enumerate(cut.passes):
        for name in (p.source, *([p.merge.residual] if p.merge is not None else [])):
            last[name] = i
    return [
        Lifetime(p.result, made[p.result], last[p.result], p.out[0] * p.out[1] * shape.words(p.out[2]))
        for p in cut.passes
        if p.result in last
    ]


def color(inside: Mapping[Lifetime, bool]) -> dict[str, int]:
    """A bank for every map; the first, large one for those that are True."""
    banks: dict[str, int] = {}
    for life, large in sorted(inside.items(), key=lambda each: each[0].first):
        taken = {banks[o.name] for o in inside if o.name in banks and o.last >= life.first and o.first <= life.last}
        banks[life.name] = 0 if large else min({1, 2} - taken)
    return banks


def search(
    cut: Cut, budget: Budget, choices: Choices | None = None, *, solver: str = "highs", time_limit: float = 60.0
) -> Engine:
    """The engine with the fewest cycles a frame.

    Raises:
        UserError: no engine of the options holds the network.
    """
    choices, name, started = choices or Choices(), available_solver(solver), time.monotonic()
    best: tuple[float, EngineOptions, _Picked] | None = None
    bound = float("inf")
    for base in base_shapes(cut, choices):
        limit = best[0] if best is not None else float("inf")
        options = expand(cut, base, choices, budget.resources, lambda t, n=limit: least_cycles(t, budget) < n)
        found, lower = _Program(cut, options, budget, name).solve(time_limit, limit)
        bound = min(bound, lower)
        if found is not None and found.cycles < limit:
            best = (found.cycles, options, found)
    if best is None:
        raise _no_engine(cut, choices, budget)
    cycles, options, picked = best
    return _engine(cut, options, picked, budget, min(bound, cycles), time.monotonic() - started)


def weight_cycles(tiling: Tiling, index: int, bytes_per_cycle: float) -> float:
    """Cycles that the weights of a pass take on the memory port, without any map."""
    places = Places(False, False, False)
    return tiling.schedules[index].beats(places, tiling.following(index))["weights"] * BEAT_BYTES / bytes_per_cycle


def start_cycles(tiling: Tiling, budget: Budget) -> float:
    """Cycles in front of the passes: the first weights, and all of them where they do not come in meanwhile."""
    first = timings(tiling.schedules[:1], [Places(True, False, True)], budget.bytes_per_cycle)[0].cycles
    passes = 0 if budget.prefetch else len(tiling.schedules)
    return first + sum(weight_cycles(tiling, i, budget.bytes_per_cycle) for i in range(passes))


def least_cycles(tiling: Tiling, budget: Budget) -> float:
    """What no engine with ``tiling`` comes below, whatever its other units and maps are."""
    pairs = enumerate(tiling.cycles)
    return sum(
        (max(n, weight_cycles(tiling, i, budget.bytes_per_cycle)) + PASS_CYCLES for i, n in pairs),
        start=start_cycles(tiling, budget),
    )


@dataclass(frozen=True)
class _Picked:
    cycles: float
    convolution: ConvolutionOption
    window: UnitOption
    bank: UnitOption
    banks: dict[str, int]


def _engine(cut: Cut, options: EngineOptions, picked: _Picked, budget: Budget, bound: float, seconds: float) -> Engine:
    shape = options.shape(picked.convolution.shape, picked.window.shape, picked.bank.shape)
    schedules = tuple(replace(s, shape=shape) for s in picked.convolution.tiling.schedules)
    places = [places_of(cut, i, frozenset(picked.banks)) for i in range(len(cut.passes))]
    found = tuple(timings(schedules, places, budget.bytes_per_cycle))
    return Engine(shape, picked.banks, schedules, found, picked.cycles, bound, seconds, engine_cost(shape))


def places_of(cut: Cut, index: int, inside: frozenset[str]) -> Places:
    """Which maps of a pass lie in memory."""
    p = cut.passes[index]
    return Places(
        p.source not in inside, p.merge is not None and p.merge.residual not in inside, p.result not in inside
    )


def _no_engine(cut: Cut, choices: Choices, budget: Budget) -> UserError:
    """Why nothing fits: a pass that no weight memory or row buffer of the options holds, or the resources."""
    for base in base_shapes(cut, choices):
        options = expand(cut, base, choices, Resources(*(1 << 40,) * len(KINDS)))
        if options.convolutions:
            return UserError("no engine for this network fits the budget", hint="take a larger board or fewer bits")
    weights = max(cut.passes, key=lambda p: p.weights)
    size = weights.weights * cut.formats.weight_bits // 8
    return UserError(f"no weight tile or row of it fits the chip ({size} bytes of weights)", where=weights.name)


@dataclass(frozen=True)
class _Program:
    """Engines of one number of lanes."""

    cut: Cut
    options: EngineOptions
    budget: Budget
    solver: str

    def start_cycles(self, tiling: Tiling) -> float:
        """Cycles in front of the passes: the first weights, and all of them where they do not come in meanwhile."""
        return start_cycles(tiling, self.budget)

    def memory_time(self, c: ConvolutionOption, index: int) -> float:
        """Cycles that the weights of a pass take on the memory port, without any map."""
        return weight_cycles(c.tiling, index, self.budget.bytes_per_cycle)

    def map_time(self, index: int) -> tuple[float, float, float]:
        """Cycles that source, residual and result of a pass take, each read or written once."""
        s = self.options.convolutions[0].tiling.schedules[index]
        beats = replace(s, tiles=1, groups=1 << 20).beats(Places(True, True, True))
        rate = BEAT_BYTES / self.budget.bytes_per_cycle
        return beats["source"] * rate, beats["residual"] * rate, beats["result"] * rate

    def idle(self, window: UnitOption, index: int) -> int:
        """Cycles of a pass in which not all units run."""
        s = replace(self.options.convolutions[0].tiling.schedules[index], shape=self._windowed(window))
        return idle_cycles(s)

    def _windowed(self, window: UnitOption) -> Shape:
        return replace(self.options.convolutions[0].tiling.schedules[0].shape, taps=window.shape.taps)

    def fits(self, *chosen: UnitOption) -> bool:
        """Whether the choices fit the budget together."""
        return total((self.options.fixed, *(o.resources for o in chosen))).fits(self.budget.resources)

    def lives(self) -> list[Lifetime]:
        return lifetimes(self.cut, self.options.base)

    def solve(self, seconds: float, limit: float) -> tuple[_Picked | None, float]:
        """The best engine below ``limit`` cycles and a lower bound of all of them."""
        if not self.options.convolutions or not self.options.windows:
            return None, limit
        return _Model(self, self.options.convolutions).solve(seconds, limit)

    def cycles_of(self, c: ConvolutionOption, w: UnitOption, inside: frozenset[str]) -> float | None:
        """Cycles a frame; None where a map that must stay on the chip does not."""
        rate = self.budget.bytes_per_cycle
        places = [places_of(self.cut, i, inside) for i in range(len(self.cut.passes))]
        if any(places[i].source for i in c.tiling.source_inside) or any(
            places[i].result for i in c.tiling.result_inside
        ):
            return None
        schedules = [replace(s, shape=replace(s.shape, taps=w.shape.taps)) for s in c.tiling.schedules]
        return sum(t.cycles for t in timings(schedules, places, rate)[1:]) + self.start_cycles(c.tiling)

    def brute_force(self) -> float:
        """The fewest cycles of all choices, one after the other; the oracle of small cases."""
        lives = self.lives()
        best = float("inf")
        for c, w, b in product(self.options.convolutions, self.options.windows, self.options.banks):
            if not self.fits(c, w, b):
                continue
            for placed in _placements(lives, b.shape):
                cycles = self.cycles_of(c, w, frozenset(placed))
                best = best if cycles is None else min(best, cycles)
        return best


def brute_force(cut: Cut, budget: Budget, choices: Choices) -> float:
    """The fewest cycles of every engine and placement of ``choices``: the oracle of ``search`` on small cases."""
    programs = [
        _Program(cut, expand(cut, base, choices, budget.resources), budget, "") for base in base_shapes(cut, choices)
    ]
    return min(program.brute_force() for program in programs)


def _placements(lives: Sequence[Lifetime], shape: Shape) -> Iterator[tuple[str, ...]]:
    """Every set of maps that the banks hold, by every way to put each into one or none."""
    for banks in product((None, 0, 1, 2), repeat=len(lives)):
        placed = [(life, bank) for life, bank in zip(lives, banks, strict=True) if bank is not None]
        fits = all(life.words <= shape.bank_size(bank) for life, bank in placed)
        apart = all(
            a[1] != b[1] or a[0].last < b[0].first or b[0].last < a[0].first for a, b in combinations(placed, 2)
        )
        if fits and apart:
            yield tuple(life.name for life, _ in placed)


class _Model:
    """The program's variables: one a choice, one a map on the chip, the time of every pass."""

    def __init__(self, program: _Program, convolutions: Sequence[ConvolutionOption]) -> None:
        self.program, self.convolutions = program, list(convolutions)
        self.windows, self.banks = program.options.windows, program.options.banks
        self.lives = program.lives()
        self.model = pulp.LpProblem("engine", pulp.LpMinimize)
        self.c = _binaries("c", len(self.convolutions))
        self.w = _binaries("w", len(self.windows))
        self.b = _binaries("b", len(self.banks))
        self.large = dict(zip(self.lives, _binaries("large", len(self.lives)), strict=True))
        self.small = dict(zip(self.lives, _binaries("small", len(self.lives)), strict=True))
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
        limits = zip(KINDS, astuple(self.program.budget.resources - self.program.options.fixed), strict=True)
        for kind, limit in limits:
            self.model += pulp.LpAffineExpression([(x, getattr(o.resources, kind)) for x, o in chosen]) <= limit

    def _place(self) -> None:
        """A map fits its bank, and no bank is needed by two maps at once: two small ones hold what never exceeds two."""
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
        self.model += t >= pulp.LpAffineExpression([(x, o.cycles[index] * _SCALE) for x, o in rows])
        columns = zip(self.w, self.windows, strict=True)
        self.model += t >= pulp.LpAffineExpression([(x, o.cycles[index] * _SCALE) for x, o in columns])
        rows = zip(self.c, self.convolutions, strict=True)
        moved = pulp.LpAffineExpression([(x, self.program.memory_time(o, index) * _SCALE) for x, o in rows])
        source, residual, result = self.program.map_time(index)
        names = [(p.source, source), (p.result, result)]
        names += [(p.merge.residual, residual)] if p.merge is not None else []
        for name, cycles in names:
            moved += cycles * _SCALE * (1 - self._inside(name))
        self.model += t >= moved
        for name, must in ((p.source, "source_inside"), (p.result, "result_inside")):
            bound = [x for x, o in zip(self.c, self.convolutions, strict=True) if index in getattr(o.tiling, must)]
            if bound:
                self.model += pulp.lpSum(bound) <= self._inside(name)

    def _objective(self) -> pulp.LpAffineExpression:
        passes = range(len(self.t))
        idle = [
            (x, sum(self.program.idle(o, i) for i in passes) * _SCALE)
            for x, o in zip(self.w, self.windows, strict=True)
        ]
        start = [
            (x, self.program.start_cycles(o.tiling) * _SCALE) for x, o in zip(self.c, self.convolutions, strict=True)
        ]
        return pulp.lpSum(self.t) + pulp.LpAffineExpression([*idle, *start])

    def solve(self, seconds: float, limit: float) -> tuple[_Picked | None, float]:
        solver = pulp.getSolver(
            SOLVERS[self.program.solver], msg=False, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0
        )
        self.model.solve(solver)
        if self.model.status == pulp.LpStatusInfeasible:
            return None, limit
        chosen = [
            _one(row, options)
            for row, options in ((self.c, self.convolutions), (self.w, self.windows), (self.b, self.banks))
        ]
        lower = self._bound() / _SCALE
        if any(option is None for option in chosen):
            return None, min(lower, limit)
        banks = color({x: _on(self.large[x]) for x in self.lives if _on(self.large[x]) or _on(self.small[x])})
        c, w, b = chosen
        cycles = self.program.cycles_of(c, w, frozenset(banks))
        if cycles is None or not self.program.fits(c, w, b):
            return None, min(lower, limit)
        return _Picked(cycles, c, w, b, banks), min(lower, cycles)

    def _bound(self) -> float:
        """The solver's proved lower bound of the objective."""
        if self.model.sol_status == pulp.LpSolutionOptimal:
            return float(pulp.value(self.model.objective))
        found = getattr(getattr(self.model, "solverModel", None), "getInfo", None)
        return max(0.0, float(found().mip_dual_bound)) if found is not None else 0.0


def _binaries(name: str, count: int) -> list[pulp.LpVariable]:
    return [pulp.LpVariable(f"{name}_{i}", cat=pulp.LpBinary) for i in range(count)]


def _on(x: pulp.LpVariable) -> bool:
    return (x.varValue or 0.0) > 0.5


def _one(row: Sequence[pulp.LpVariable], options: Sequence[UnitOption]) -> UnitOption | None:
    ones = [o for x, o in zip(row, options, strict=True) if _on(x)]
    return ones[0] if len(ones) == 1 else None
