"""Bits of every convolution's weights: time on an engine against what rounding the weights loses.

An engine multiplies weights of one width; wider ones take a pass over the inputs a part. So a layer of few bits on a
wide engine gains nothing, and a layer of many bits on a narrow one costs cycles and bytes in proportion: the search
takes the engine of each width and chooses the layers that are worth their parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pulp

from toolchain.dse.bits import Sensitivity, demand_losses, nearest, unbeaten
from toolchain.dse.ilp import SOLVERS, available_solver
from toolchain.engine.candidates import Budget, places_of
from toolchain.engine.layers import Cut, Pass, most_of, narrowed, signed_bits
from toolchain.engine.options import Choices
from toolchain.engine.schedule import TiledPass, schedule
from toolchain.engine.search import Engine, search, search_below
from toolchain.engine.timing import pass_timing, timings
from toolchain.errors import UserError

FRONT_POINTS = 8
"""Budgets between the losses of the fewest and the most bits that a front is searched at."""


@dataclass(frozen=True)
class Mixed:
    """Bits of every layer's weights on ``engine``, what they lose and the cycles a frame."""

    engine: Engine
    bits: dict[str, int]
    loss: float
    cycles: float
    bound: float = 0.0
    """The cycles that no engine with bits of no more loss comes below; 0 where nothing is proved."""

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)


def weight_noise(cut: Cut, widths: Sequence[int]) -> dict[str, dict[int, float]]:
    """A sensitivity table from the weights alone: the squared error at a layer's quantizer over the squared sums.

    Weights go to the nearest code of their channel's largest one; inputs count as independent and of one variance.
    """
    found: dict[str, dict[int, float]] = {}
    for p in cut.passes:
        if p.conv is None:
            continue
        rows = p.conv.weight.reshape(len(p.conv.weight), -1).astype(np.float64)
        gain = (p.first.mul if p.first is not None else np.ones(len(rows))).astype(np.float64) ** 2
        power = float(gain @ (rows**2).sum(axis=1))
        found[p.name] = {}
        for bits in widths:
            error = ((rows - nearest(rows, bits)) ** 2).sum(axis=1)
            found[p.name][bits] = float(gain @ error) / power if power else 0.0
    return found


def search_bits(
    cut: Cut,
    budget: Budget,
    sensitivity: Sensitivity,
    widths: Sequence[int],
    *,
    loss: float | None = None,
    choices: Choices | None = None,
    time_limit: float = 60.0,
) -> list[Mixed]:
    """The front of frame time and loss, the fastest first; with ``loss`` the fastest that loses no more, alone.

    Of every width first the engine, then the bits on it; ``joint`` searches both together.

    Args:
        widths: bits that a layer may have, and an engine.

    Returns:
        the front; empty where no engine of a single width, chosen first, loses as little as ``loss``.

    Raises:
        UserError: the table lacks a layer or a width, or no engine fits.
    """
    demand_losses(sensitivity, (p.name for p in cut.passes if p.conv is not None), widths)
    found: list[Mixed] = []
    faults: list[UserError] = []
    for width in widths:
        try:
            engine = search(held(cut, width, max(widths)), budget, choices, time_limit=time_limit)
        except UserError as fault:
            faults.append(fault)
            continue
        program = _Program(cut, engine, budget, sensitivity, [b for b in widths if b >= width])
        limits = [loss] if loss is not None else program.limits()
        found += [mixed for limit in limits if (mixed := program.solve(limit)) is not None]
    if len(faults) == len(widths):
        raise faults[-1]
    front = unbeaten(found)
    return front[:1] if loss is not None else front


def _rounded(cut: Cut, bits: int) -> Cut:
    """``cut`` with weights cut to ``bits`` bits: only its shapes and formats mean something."""
    most = (1 << (bits - 1)) - 1
    passes = tuple(
        replace(p, conv=replace(p.conv, weight=np.clip(p.conv.weight, -most, most))) if p.conv is not None else p
        for p in cut.passes
    )
    return replace(cut, passes=passes, weight_bits=bits)


def held(cut: Cut, bits: int, widest: int) -> Cut:
    """``_rounded``, for an engine that also holds the sums of weights of ``widest`` bits, in parts."""
    return replace(_rounded(cut, bits), within=_rounded(cut, widest).formats)


def parts_for(bits: int, width: int) -> int:
    """Return the number of parts in which an engine of ``width`` bits multiplies symmetric weights of ``bits`` bits."""
    return next(n for n in range(1, 63) if most_of(n, width) >= (1 << (bits - 1)) - 1)


class _Program:
    """The choice of bits for every layer on one engine: the fewest cycles whose summed loss stays below a limit."""

    def __init__(
        self, cut: Cut, engine: Engine, budget: Budget, sensitivity: Sensitivity, widths: Sequence[int]
    ) -> None:
        self.engine, self.rate, self.sensitivity = engine, budget.bytes_per_cycle, sensitivity
        inside = frozenset(engine.placement)
        self.places = [places_of(cut, i, inside) for i in range(len(cut.passes))]
        self.options: list[dict[int, TiledPass]] = []
        for i, own in enumerate(engine.schedules):
            if own.p.conv is None:
                self.options.append({0: own})
                continue
            found = {bits: self._schedule(i, own.p, parts_for(bits, engine.shape.weight_bits)) for bits in widths}
            self.options.append({bits: s for bits, s in found.items() if s is not None})

    def _schedule(self, index: int, p: Pass, parts: int) -> TiledPass | None:
        """The pass with weights in ``parts``, unless a tile or a map has no place then."""
        assert p.conv is not None
        places = self.places[index]
        try:
            s = schedule(replace(p, conv=replace(p.conv, parts=parts)), self.engine.shape, aligned=places.result)
        except UserError:
            return None
        return None if places.source and s.reads > 1 and not p.outside else s

    def _loss(self, index: int, bits: int) -> float:
        return self.sensitivity[self.engine.schedules[index].p.name][bits] if bits else 0.0

    def _ends(self) -> tuple[float, float]:
        losses = [[self._loss(i, bits) for bits in each] for i, each in enumerate(self.options)]
        return sum(map(min, losses)), sum(map(max, losses))

    def limits(self) -> list[float]:
        """Losses to search at: from the least to the most that the widths make, as far apart on a logarithmic scale."""
        least, most = self._ends()
        if most == 0:
            return [least]
        return [least, *np.geomspace(max(least, most * 1e-4), most, FRONT_POINTS).tolist()]

    def solve(self, limit: float) -> Mixed | None:
        """The fastest bits that lose at most ``limit``.

        A pass loads the first weights of the next one, so that its time depends on both: the program has a binary a
        pass and its bits, and between them their product with the words that the next pass begins with.
        """
        model = pulp.LpProblem("bits", pulp.LpMinimize)
        z = [
            {bits: pulp.LpVariable(f"z_{i}_{bits}", cat=pulp.LpBinary) for bits in each}
            for i, each in enumerate(self.options)
        ]
        if not all(z):
            return None
        for each in z:
            model += pulp.lpSum(each.values()) == 1
        model += pulp.lpSum(self._loss(i, b) * x for i, each in enumerate(z) for b, x in each.items()) <= limit
        cycles = [(x, self._start(b)) for b, x in z[0].items()]
        for i, each in enumerate(z):
            following = self._following(i)
            both = {
                (b, words): pulp.LpVariable(f"both_{i}_{b}_{words}", lowBound=0) for b in each for words in following
            }
            for b, x in each.items():
                model += pulp.lpSum(both[b, words] for words in following) == x
            for words, bits in following.items():
                if bits:
                    model += pulp.lpSum(both[b, words] for b in each) == pulp.lpSum(z[i + 1][b] for b in bits)
            cycles += [(x, self._cycles(i, b, words)) for (b, words), x in both.items()]
        model.setObjective(pulp.LpAffineExpression(cycles))
        model.solve(pulp.getSolver(SOLVERS[available_solver("highs")], msg=False, threads=1))
        if model.status != pulp.LpStatusOptimal:
            return None
        return self.mixed([max(each, key=lambda b: each[b].varValue or 0.0) for each in z])

    def mixed(self, chosen: Sequence[int]) -> Mixed:
        """The passes with ``chosen`` bits, 0 without weights."""
        schedules = [self.options[i][bits] for i, bits in enumerate(chosen)]
        cycles = sum(t.cycles for t in timings(schedules, self.places, self.rate))
        names = [s.p.name for s in schedules]
        loss = sum(self._loss(i, bits) for i, bits in enumerate(chosen))
        return Mixed(self.engine, {n: b for n, b in zip(names, chosen, strict=True) if b}, loss, cycles)

    def _following(self, index: int) -> dict[int, list[int]]:
        """The words that the pass behind ``index`` may begin with, and the bits that it has then; 0 behind the last."""
        found: dict[int, list[int]] = {}
        for bits, s in (self.options[index + 1] if index + 1 < len(self.options) else {}).items():
            found.setdefault(s.weight_words(0), []).append(bits)
        return found or {0: []}

    def _start(self, bits: int) -> float:
        """Cycles of the first pass's weights, which come in before it."""
        return timings([self.options[0][bits]], self.places[:1], self.rate)[0].cycles

    def _cycles(self, index: int, bits: int, following: int) -> float:
        return pass_timing(self.options[index][bits], self.places[index], following, self.rate).cycles


def engine_widths(cut: Cut) -> list[int]:
    """Widths of engines that are worth a search: the widest layer's, and those of others that are much narrower."""
    convs = [p.conv.weight for p in cut.passes if p.conv is not None]
    needed = [signed_bits([int(w.min()), int(w.max())]) for w in convs] or [2]
    found = [max(needed)]
    for width in sorted(set(needed), reverse=True):
        if width <= found[-1] - 2:
            found.append(width)
    return found


def fastest(cut: Cut, budget: Budget, *, time_limit: float = 60.0) -> Engine:
    """The fastest engine of the widths that are worth a search.

    Raises:
        UserError: no engine holds the network.
    """
    widest, *narrower = engine_widths(cut)
    found = search(narrowed(cut, widest), budget, time_limit=time_limit)
    for bits in narrower:
        found = search_below(found.cycles, narrowed(cut, bits), budget, time_limit=time_limit) or found
    return found
