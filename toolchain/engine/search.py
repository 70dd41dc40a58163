"""The fastest engine for a network within a budget, with its proof."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from toolchain.dse.ilp import available_solver
from toolchain.engine.candidates import Budget, Candidates, least_cycles, places_of
from toolchain.engine.cost import engine_cost
from toolchain.engine.layers import Cut
from toolchain.engine.options import Choices, EngineOptions, Tiling, base_shapes, engine_options, once, tiled
from toolchain.engine.program import Picked, solve
from toolchain.engine.schedule import TiledPass
from toolchain.engine.shape import Shape
from toolchain.engine.timing import Timing, timings
from toolchain.errors import UserError
from toolchain.resources import KINDS, Resources, total


@dataclass(frozen=True)
class Engine:
    """The engine found: its shape, the bank of every map on the chip, and the time of every pass.

    ``bound`` is a lower bound of ``cycles``, proved by the program for all engines of the options.
    """

    shape: Shape
    placement: dict[str, int]
    schedules: tuple[TiledPass, ...]
    timings: tuple[Timing, ...]
    cycles: float
    bound: float
    seconds: float
    resources: Resources

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)


def search(
    cut: Cut, budget: Budget, choices: Choices | None = None, *, solver: str = "highs", time_limit: float = 60.0
) -> Engine:
    """The engine with the fewest cycles a frame.

    Raises:
        UserError: no engine of the options holds the network.
    """
    found = search_below(float("inf"), cut, budget, choices, solver=solver, time_limit=time_limit)
    if found is None:
        raise _no_engine(cut, choices or Choices(), budget)
    return found


def search_below(
    cycles: float,
    cut: Cut,
    budget: Budget,
    choices: Choices | None = None,
    *,
    solver: str = "highs",
    time_limit: float = 60.0,
) -> Engine | None:
    """The engine with the fewest cycles a frame; None where none takes less than ``cycles``."""
    choices, name, started = choices or Choices(), available_solver(solver), time.monotonic()
    best: tuple[float, EngineOptions, Picked] | None = None
    bound, scheduled = float("inf"), once(partial(tiled, cut))
    for base in base_shapes(cut, choices):
        limit = best[0] if best is not None else cycles
        options = engine_options(cut, base, choices, budget.resources, _below(limit, budget), scheduled)
        found, lower = solve(Candidates(cut, options, budget), name, time_limit, limit)
        bound = min(bound, lower)
        if found is not None and found.cycles < limit:
            best = (found.cycles, options, found)
    if best is None:
        return None
    fewest, options, picked = best
    return built(cut, options, picked, budget, min(bound, fewest), time.monotonic() - started)


def _below(limit: float, budget: Budget) -> Callable[[Tiling], bool]:
    """Return a test whether a tiling can come below ``limit`` cycles."""
    return lambda tiling: least_cycles(tiling, budget) < limit


def built(cut: Cut, options: EngineOptions, picked: Picked, budget: Budget, bound: float, seconds: float) -> Engine:
    """The engine that a program has picked among ``options``."""
    shape = options.shape(picked.convolution.shape, picked.window.shape, picked.bank.shape)
    schedules = tuple(replace(s, shape=shape) for s in picked.convolution.tiling.schedules)
    places = [places_of(cut, i, frozenset(picked.banks)) for i in range(len(cut.passes))]
    found = tuple(timings(schedules, places, budget.bytes_per_cycle))
    return Engine(shape, picked.banks, schedules, found, picked.cycles, bound, seconds, engine_cost(shape))


def _no_engine(cut: Cut, choices: Choices, budget: Budget) -> UserError:
    """Explain why nothing fits: the resources, or a pass that no weight memory or row buffer of the options holds."""
    choices = replace(choices, out_blocks=(min(choices.out_blocks),))  # more take more of everything
    room = replace(Resources(*(1 << 40,) * len(KINDS)), uram=budget.resources.uram)
    expanded = (engine_options(cut, base, choices, room) for base in base_shapes(cut, choices))
    least = [_least(options) for options in expanded if options.convolutions]
    if least:
        needs = Resources(*(min(column) for column in zip(*least, strict=True)))
        short = [
            f"{need:,} {kind} ({need - have:,} too many)"
            for kind, need, have in zip(KINDS, needs, budget.resources, strict=True)
            if need > have
        ]
        what = "no engine for this network fits the budget" + (f": it takes {', '.join(short)}" if short else "")
        return UserError(what, hint="take a larger board or fewer bits")
    weights = max(cut.passes, key=lambda p: p.weights)
    size = weights.weights * cut.formats.weight_bits // 8
    return UserError(f"no weight tile or row of it fits the chip ({size} bytes of weights)", where=weights.name)


def _least(options: EngineOptions) -> Resources:
    """The least that engines of ``options`` take of each resource: no engine has all of it at once."""
    parts = (options.convolutions, options.windows, options.banks)
    least = (Resources(*(min(column) for column in zip(*(o.resources for o in part), strict=True))) for part in parts)
    return total((options.fixed, *least))
