"""Bits of every layer's weights and the engine that multiplies them, chosen by one integer program.

``precision`` fixes the engine first, the fastest for weights of one width, and chooses bits on it. Here both are free:
a binary a convolution unit, one a layer and number of parts, and between them their products, whose sums over parts are
the unit's binary and whose sums over units are the layer's. So the program is exact with the binaries alone whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import pulp

from toolchain.dse.bits import Sensitivity, unbeaten
from toolchain.dse.ilp import available_solver
from toolchain.engine.candidates import Budget, Candidates
from toolchain.engine.layers import Cut
from toolchain.engine.options import Choices, ConvolutionOption, Tiling, base_shapes, engine_options, once
from toolchain.engine.precision import Mixed, held, parts_for, search_bits
from toolchain.engine.program import SCALE, Model, Picked, binaries
from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES, Places, TiledPass, schedule
from toolchain.engine.search import built
from toolchain.engine.shape import Shape
from toolchain.errors import UserError
from toolchain.ir.types import Array

Losses = Sequence[Mapping[int, tuple[int, float]]]
"""Pass by pass: the bits that lose least among those of so many parts, and what they lose; 1 part without weights."""

_INSIDE = Places(False, False, False)
_NEVER = 1 << 40
"""Stands in facts for a pass that no schedule exists of."""


@dataclass(frozen=True)
class _Variant:
    """A pass with its weights in some parts: all that its time follows from.

    ``units`` are cycles of the slowest unit but convolution and window, ``tiles`` those of all tiles but the last,
    ``beats`` memory beats without those of the next pass's first tile, whose words are ``first``, and without maps.
    """

    units: int
    tiles: int
    last: int
    beats: int
    first: int
    waits: int
    preload: int
    source_inside: bool
    result_inside: bool

    @classmethod
    def of(cls, s: TiledPass) -> _Variant:
        """The facts of a schedule."""
        cycles, last = s.cycles(), s.tile_cycles(s.tiles - 1, 0)
        again = s.source_groups * (s.reads - 1) if s.p.outside else 0
        return cls(
            units=max(n for name, n in cycles.items() if name not in ("convolve", "window")),
            tiles=cycles["convolve"] - last,
            last=last,
            beats=s.beats(_INSIDE)["weights"] + again,
            first=s.weight_words(0),
            waits=s.window_waits,
            preload=s.preload,
            source_inside=s.reads > 1 and not s.p.outside,
            result_inside=s.ragged,
        )


@dataclass(frozen=True)
class _Tiling(Tiling):
    """The passes with every number of parts; ``schedules`` are those of the fewest."""

    variants: tuple[Mapping[int, TiledPass], ...]
    losses: Losses

    @cached_property
    def table(self) -> tuple[Mapping[int, _Variant], ...]:
        """The facts of every pass by parts."""
        return tuple({n: _Variant.of(s) for n, s in each.items()} for each in self.variants)

    @cached_property
    def facts(self) -> tuple[int, ...]:
        rows = (
            (v.units, v.tiles, v.last, v.beats, v.first, v.waits, v.preload, v.source_inside, v.result_inside)
            if (v := each.get(n)) is not None
            else (_NEVER,) * 9
            for each, known in zip(self.table, self.losses, strict=True)
            for n in known
        )
        return tuple(int(n) for row in rows for n in row)

    def least(self, budget: Budget, limit: float) -> float:
        """Cycles that no bits within a loss of ``limit`` come below, whatever the other units and maps are."""
        if (budget.bytes_per_cycle, limit) not in self._floors:
            self._floors[budget.bytes_per_cycle, limit] = self._least(BEAT_BYTES / budget.bytes_per_cycle, limit)
        return self._floors[budget.bytes_per_cycle, limit]

    @cached_property
    def _floors(self) -> dict[tuple[float, float], float]:
        return {}

    def _least(self, rate: float, limit: float) -> float:
        rows = [
            [(max(v.units, v.tiles + v.last, v.beats * rate) + v.preload, known[n][1]) for n, v in each.items()]
            for each, known in zip(self.table, self.losses, strict=True)
        ]
        return _priced(rows, limit)

    def chosen(self, parts: Sequence[int]) -> Tiling:
        """The passes with their weights in so many parts."""
        return Tiling(self.depth, tuple(each[n] for each, n in zip(self.variants, parts, strict=True)))


def _tiled(cut: Cut, losses: Losses, shape: Shape) -> _Tiling | None:
    """The passes on a convolution unit with all parts; None where it does not hold one of them."""
    found: list[dict[int, TiledPass]] = []
    for p, known in zip(cut.passes, losses, strict=True):
        each: dict[int, TiledPass] = {}
        for parts in sorted(known):
            made = p if p.conv is None else replace(p, conv=replace(p.conv, parts=parts))
            try:
                each[parts] = schedule(made, shape, aligned=False)
            except UserError:
                break  # more parts take more of the weight memory
        if not each:
            return None
        found.append(each)
    return _Tiling(shape.tile_depth, tuple(each[min(each)] for each in found), tuple(found), losses)


def _priced(rows: Sequence[Sequence[tuple[float, float]]], limit: float) -> float:
    """Bound from below the cycles of all choices of one (cycles, loss) a pass whose losses are at most ``limit``.

    The best Lagrangian bound over the prices of the loss at which a pass changes its choice.
    """
    prices = {0.0}
    for row in rows:
        prices |= {(b[0] - a[0]) / (a[1] - b[1]) for a in row for b in row if b[1] < a[1] and b[0] > a[0]}
    price = np.array(sorted(prices))
    total: Array = -price * limit
    for row in rows:
        cost, loss = np.array(row).T
        total = total + (cost[:, None] + np.outer(loss, price)).min(axis=0)
    return float(total.max()) + PASS_CYCLES * (len(rows) + 1)


def _products(cut: Cut, losses: Losses, shape: Shape, limit: float) -> float:
    """Bound the cycles from below for all bits within ``limit``, by the products of convolutions in any tiling."""
    rows = []
    for p, known in zip(cut.passes, losses, strict=True):
        s = TiledPass(p, shape, 1, 1)
        steps = p.middle[0] * p.middle[1] * -(-s.words_out // shape.out_blocks)
        fold = s.fold if p.conv is not None else 0
        rows.append([(float(steps * max(fold * n, shape.out_blocks)), loss) for n, (_, loss) in known.items()])
    return _priced(rows, limit)


class _Joint(Model):
    """The engine's program with the parts of every layer free."""

    def __init__(self, program: Candidates, losses: Losses, limit: float) -> None:
        self.losses, self.limit = losses, limit
        super().__init__(program)

    def _choose(self) -> None:
        """The engine, the parts, and their products by the unit's tiling."""
        super()._choose()
        tilings: dict[int, tuple[_Tiling, list[pulp.LpVariable]]] = {}
        for x, o in zip(self.c, self.convolutions, strict=True):
            assert isinstance(o.tiling, _Tiling)
            tilings.setdefault(id(o.tiling), (o.tiling, []))[1].append(x)
        self.parts = [
            dict(zip(known, binaries(f"parts_{i}", len(known)), strict=True)) for i, known in enumerate(self.losses)
        ]
        self.terms: list[list[tuple[pulp.LpVariable, _Variant, Shape]]] = [[] for _ in self.losses]
        for i, parts in enumerate(self.parts):
            self.model += pulp.lpSum(parts.values()) == 1
            units: dict[int, list[pulp.LpVariable]] = {n: [] for n in parts}
            for k, (tiling, xs) in enumerate(tilings.values()):
                mine = []
                for n, variant in tiling.table[i].items():
                    y = pulp.LpVariable(f"y_{i}_{k}_{n}", lowBound=0)
                    mine.append(y)
                    units[n].append(y)
                    self.terms[i].append((y, variant, tiling.schedules[i].shape))
                self.model += pulp.lpSum(mine) == pulp.lpSum(xs)
            for n, x in parts.items():
                self.model += pulp.lpSum(units[n]) == x
        losses = [(x, self.losses[i][n][1]) for i, parts in enumerate(self.parts) for n, x in parts.items()]
        scale = max((loss for _, loss in losses), default=0.0) or 1.0
        self.model += pulp.LpAffineExpression([(x, loss / scale) for x, loss in losses]) <= self.limit / scale

    def _following(self, index: int, cost: float) -> list[tuple[pulp.LpVariable, float]]:
        """``cost`` a beat of the weights that a pass loads for the next one."""
        if index + 1 == len(self.terms):
            return []
        return [(y, v.first * shape.weight_beats * cost) for y, v, shape in self.terms[index + 1] if v.first]

    def _time(self, index: int) -> None:
        p, t, terms = self.program.cut.passes[index], self.t[index], self.terms[index]
        tiles = [(y, v.tiles * SCALE) for y, v, _ in terms]
        rate = BEAT_BYTES / self.program.budget.bytes_per_cycle * SCALE
        waits = [(y, v.waits * SCALE) for y, v, _ in terms]
        windows = [(x, o.cycles[index] * SCALE) for x, o in zip(self.w, self.windows, strict=True)]
        moved = pulp.LpAffineExpression([(y, v.beats * rate) for y, v, _ in terms] + self._following(index, rate))
        for name, cycles in self._maps(index):
            moved += cycles * SCALE * (1 - self._inside(name))
        for row in (
            [(y, max(v.units, v.tiles + v.last) * SCALE) for y, v, _ in terms],
            tiles + self._following(index, SCALE),
            windows + waits,
        ):
            self.model += t >= pulp.LpAffineExpression(row)
        self.model += t >= moved
        for name, bound in (
            (p.source, [y for y, v, _ in terms if v.source_inside]),
            (p.stored, [y for y, v, _ in terms if v.result_inside]),
        ):
            if bound:
                self.model += pulp.lpSum(bound) <= self._inside(name)

    def _start(self) -> list[tuple[pulp.LpVariable, float]]:
        slowest = max(1.0, BEAT_BYTES / self.program.budget.bytes_per_cycle)
        found = []
        for i, terms in enumerate(self.terms):
            for y, v, shape in terms:
                first = v.first * shape.weight_beats * slowest + PASS_CYCLES if i == 0 else 0
                found.append((y, (first + v.preload) * SCALE))
        return found

    def _convolution(self) -> ConvolutionOption | None:
        found = super()._convolution()
        if found is None:
            return None
        assert isinstance(found.tiling, _Tiling)
        chosen = [max(each, key=lambda n: each[n].varValue or 0.0) for each in self.parts]
        if any(n not in each for n, each in zip(chosen, found.tiling.variants, strict=True)):
            return None
        return replace(found, tiling=found.tiling.chosen(chosen))


def search_front(
    cut: Cut,
    budget: Budget,
    sensitivity: Sensitivity,
    widths: Sequence[int],
    *,
    loss: float | None = None,
    choices: Choices | None = None,
    time_limit: float = 60.0,
) -> list[Mixed]:
    """The front of ``search_bits``, and at the loss of each of its points the fastest bits and engine together.

    With ``loss`` the fastest that loses no more, alone. ``time_limit`` is of an engine's program, and of the joint
    programs in all.

    Raises:
        UserError: the table lacks a layer or a width, no engine fits, or nothing loses as little as ``loss``.
    """
    front = search_bits(cut, budget, sensitivity, widths, loss=loss, choices=choices, time_limit=time_limit)
    pairs: list[tuple[float, Mixed | None]] = [(known.loss if loss is None else loss, known) for known in front]
    pairs = pairs or [(loss or 0.0, None)]
    seconds = time_limit / len(pairs)
    return unbeaten(
        search_jointly(cut, budget, sensitivity, widths, limit, known, choices=choices, time_limit=seconds)
        for limit, known in pairs
    )


def search_jointly(
    cut: Cut,
    budget: Budget,
    sensitivity: Sensitivity,
    widths: Sequence[int],
    limit: float,
    known: Mixed | None = None,
    *,
    choices: Choices | None = None,
    time_limit: float = 60.0,
) -> Mixed:
    """The fastest bits and engine together that lose at most ``limit``, with a proved bound.

    Args:
        known: what is there already: nothing slower is looked for, and it is returned where nothing is faster.
        time_limit: seconds of the programs in all; what they leave open counts with its floor in the bound.

    Raises:
        UserError: nothing loses as little as ``limit``, or nothing was found in time.
    """
    below = known.cycles if known is not None else float("inf")
    found, bound = faster_jointly(
        cut, budget, sensitivity, widths, limit, below, choices=choices, time_limit=time_limit
    )
    best = found or known
    if best is None:
        raise UserError(f"no bits lose as little as {limit}", hint="allow more loss, or give more bits to choose from")
    return replace(best, bound=bound)


def faster_jointly(
    cut: Cut,
    budget: Budget,
    sensitivity: Sensitivity,
    widths: Sequence[int],
    limit: float,
    cycles: float,
    *,
    choices: Choices | None = None,
    time_limit: float = 60.0,
) -> tuple[Mixed | None, float]:
    """Return the fastest bits and engine that lose at most ``limit`` in less than ``cycles``, and a lower bound.

    The former are None where there are none; no other choice comes below the bound. See ``search_jointly``.
    """
    assert budget.prefetch, "the program loads weights during the pass before"
    name = available_solver("highs")
    best, below, bound, started = None, cycles, cycles, time.monotonic()
    work = list(_programs(cut, budget, sensitivity, widths, limit, below, choices or Choices()))
    for floor, program, losses in sorted(work, key=lambda each: each[0]):
        left = time_limit - (time.monotonic() - started)
        if left <= 0 or floor >= below:
            bound = min(bound, floor)
            break  # the floors of the others are no lower
        picked, lower = _Joint(program, losses, limit).solve(name, left, below)
        bound = min(bound, max(lower, floor))
        if picked is not None and picked.cycles < below:
            best, below = _mixed(program, picked, losses, time.monotonic() - started), picked.cycles
    return best, min(bound, below)


def _programs(
    cut: Cut,
    budget: Budget,
    sensitivity: Sensitivity,
    widths: Sequence[int],
    limit: float,
    cycles: float,
    choices: Choices,
) -> Iterator[tuple[float, Candidates, Losses]]:
    """The engines of every width and number of lanes that can come below ``cycles``, with their floor."""
    for width in widths:
        network = held(cut, width, max(widths))
        source = _Units(network, _losses(cut, sensitivity, widths, width), budget, limit, cycles)
        for base in base_shapes(network, choices):
            options = engine_options(network, base, choices, budget.resources, source.faster, source.tiled)
            if options.convolutions and options.windows:
                floor = min(source.least(o.tiling) for o in options.convolutions)
                yield floor, Candidates(network, options, budget), source.losses


@dataclass
class _Units:
    """Tiles passes for convolution units that can come below ``cycles``; those that differ in buffers alone once."""

    cut: Cut
    losses: Losses
    budget: Budget
    limit: float
    cycles: float
    _floors: dict[tuple[int, int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tile = once(partial(_tiled, self.cut, self.losses))

    def tiled(self, shape: Shape) -> _Tiling | None:
        """The passes on a unit; None where it does not hold one of them or is too slow."""
        unit = (shape.lanes, shape.in_blocks, shape.out_blocks)
        if unit not in self._floors:
            self._floors[unit] = _products(self.cut, self.losses, shape, self.limit)
        if self._floors[unit] >= self.cycles:
            return None
        return self._tile(shape)

    def least(self, tiling: Tiling) -> float:
        """The floor of a tiling."""
        assert isinstance(tiling, _Tiling)
        return tiling.least(self.budget, self.limit)

    def faster(self, tiling: Tiling) -> bool:
        """Whether it can come below ``cycles``."""
        return self.least(tiling) < self.cycles


def _losses(cut: Cut, sensitivity: Sensitivity, widths: Sequence[int], width: int) -> Losses:
    """Return the ``Losses`` of the passes for an engine of ``width`` bits."""
    found: list[dict[int, tuple[int, float]]] = []
    for p in cut.passes:
        if p.conv is None:
            found.append({1: (0, 0.0)})
            continue
        each: dict[int, tuple[int, float]] = {}
        for bits in widths:
            parts, loss = parts_for(bits, width), sensitivity[p.name][bits]
            if parts not in each or loss <= each[parts][1]:
                each[parts] = (bits, loss)
        found.append(each)
    return found


def _mixed(program: Candidates, picked: Picked, losses: Losses, seconds: float) -> Mixed:
    """Build the engine that the program has picked."""
    passes = program.cut.passes
    parts = [s.p.conv.parts if s.p.conv is not None else 1 for s in picked.convolution.tiling.schedules]
    engine = built(program.cut, program.options, picked, program.budget, 0.0, seconds)
    chosen = [known[n] for known, n in zip(losses, parts, strict=True)]
    bits = {p.name: b for p, (b, _) in zip(passes, chosen, strict=True) if b}
    return Mixed(engine, bits, sum(loss for _, loss in chosen), picked.cycles)
