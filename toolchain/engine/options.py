"""The options of an engine for a network: shapes that hold it, and each unit's choices that are worth their cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from itertools import product
from math import ceil
from typing import TypeVar

from toolchain.dse.problem import pareto
from toolchain.engine.cost import bank_cost, banks_cost, fixed_cost, products_cost, weights_cost, window_cost
from toolchain.engine.layers import Cut
from toolchain.engine.maps import lifetimes
from toolchain.engine.schedule import Places, TiledPass, row_words, schedule
from toolchain.engine.shape import Shape
from toolchain.errors import UserError
from toolchain.resources import Resources
from toolchain.units.fabric import packing

T = TypeVar("T")

LANES = (32, 16, 8, 4)
IN_BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16)
OUT_BLOCKS = (1, 2, 3, 4, 5, 6, 7, 8)
TILE_DEPTHS = (128, 256, 512, 1024, 2048)
TAPS = (1, 2, 3, 5, 7, 9, 13, 25)
CHANNEL_WORDS = (32, 64)
"""Most words of channels of a tile: as deep as memories in LUTs are without a second one, one or two bits a LUT."""

FABRIC_STEPS = 16
"""Steps in which outputs move from DSP slices to LUTs."""

FILTER_STEPS = 4
"""Steps in which lanes of the window unit do the same."""

MOST_PRODUCTS = 4096
"""Most products a cycle: HLS partitions no array further."""


@dataclass(frozen=True)
class Choices:
    """The engine shapes that a search tries; comparisons restrict them."""

    lanes: Sequence[int] = LANES
    in_blocks: Sequence[int] = IN_BLOCKS
    out_blocks: Sequence[int] = OUT_BLOCKS
    tile_depths: Sequence[int] = TILE_DEPTHS
    taps: Sequence[int] = TAPS
    bank_kib: Sequence[int] | None = None
    """Sizes of a bank; without them those of the network's maps: no other size holds more of them for its blocks."""
    channel_words: Sequence[int] = CHANNEL_WORDS
    bursts_in_luts: Sequence[bool] = (False, True)
    luts_multiply: bool = True


@dataclass(frozen=True)
class UnitOption:
    """A unit of ``shape`` alone: the cycles of every pass and the resources.

    Units that every engine of the lanes has count with the convolution, and so do the waits of the window unit, which
    the convolution's tiles decide.
    """

    shape: Shape
    cycles: tuple[int, ...]
    resources: Resources


@dataclass(frozen=True)
class Tiling:
    """The passes' ``schedules`` with a weight memory of twice ``depth`` words."""

    depth: int
    schedules: tuple[TiledPass, ...]

    def following(self, index: int) -> int:
        """Weight words that a pass loads for its successor."""
        return self.schedules[index + 1].weight_words(0) if index + 1 < len(self.schedules) else 0

    @cached_property
    def cycles(self) -> tuple[int, ...]:
        """Cycles of every pass: of its slowest unit but the window unit."""
        units = [s.cycles(self.following(i)) for i, s in enumerate(self.schedules)]
        return tuple(max(n for name, n in each.items() if name != "window") for each in units)

    @cached_property
    def window_waits(self) -> tuple[int, ...]:
        """Cycles in which the window unit waits in every pass."""
        return tuple(s.window_waits for s in self.schedules)

    @cached_property
    def preload(self) -> int:
        """Cycles in which the passes wait for constants, all together."""
        return sum(s.preload for s in self.schedules)

    @cached_property
    def source_inside(self) -> frozenset[int]:
        """Passes that read their source more than once: it must stay on the chip where it can."""
        return frozenset(i for i, s in enumerate(self.schedules) if s.reads > 1 and not s.p.outside)

    @cached_property
    def result_inside(self) -> frozenset[int]:
        """Passes whose tiles fill no whole memory beats: their result must stay on the chip."""
        return frozenset(i for i, s in enumerate(self.schedules) if s.ragged)

    @cached_property
    def facts(self) -> tuple[int, ...]:
        """The numbers of the tiling that the integer program sees."""
        passes = range(len(self.schedules))
        beats = (
            s.beats(Places(False, False, False), self.following(i))["weights"] for i, s in enumerate(self.schedules)
        )
        inside = (places for i in passes for places in (i in self.source_inside, i in self.result_inside))
        reads = (s.reads for s in self.schedules if s.p.outside)
        return (*self.cycles, *beats, *inside, *reads, *self.window_waits, self.preload)


@dataclass(frozen=True)
class ConvolutionOption(UnitOption):
    """The convolution unit with a tiling of the passes."""

    tiling: Tiling


@dataclass(frozen=True)
class EngineOptions:
    """The choices of engines of ``lanes``: one convolution, one window unit and one bank size make an engine."""

    base: Shape
    convolutions: tuple[ConvolutionOption, ...]
    windows: tuple[UnitOption, ...]
    banks: tuple[UnitOption, ...]
    fixed: Resources

    def shape(self, convolution: Shape, window: Shape, bank: Shape) -> Shape:
        """The engine of three choices."""
        return replace(
            convolution,
            taps=window.taps,
            filter_dsp_lanes=window.filter_dsp_lanes,
            bank_words=bank.bank_words,
            small_words=bank.small_words,
            ultra_banks=bank.ultra_banks,
        )


def base_shapes(cut: Cut, choices: Choices) -> Iterator[Shape]:
    """The smallest engine of every number of lanes, channels of a tile and kind of burst buffers for the network."""
    for lanes, most, luts in product(choices.lanes, choices.channel_words, choices.bursts_in_luts):
        draft = Shape(lanes, max(choices.in_blocks), 1, 1, bursts_in_luts=luts, **asdict(cut.formats))
        if not draft.legal():
            continue
        bypassed = max((draft.words(p.out[2]) for p in cut.passes if p.conv is None), default=0)
        channels = max(most, bypassed)
        lines = [
            (p.middle[1] + p.window.pads[1] + p.window.pads[3]) * min(draft.words(p.out[2]), channels)
            for p in cut.passes
            if p.window is not None and p.window.mode != "global_sum"
        ]
        yield replace(draft, channel_words=channels, line_words=max(lines, default=1))


def engine_options(
    cut: Cut,
    base: Shape,
    choices: Choices,
    budget: Resources,
    faster: Callable[[Tiling], bool] = lambda _: True,
    scheduled: Callable[[Shape], Tiling | None] | None = None,
) -> EngineOptions:
    """The options of engines like ``base`` that fit ``budget`` alone; ``faster`` keeps a tiling of the passes.

    ``scheduled`` tiles the passes for a convolution unit, None where it cannot; as ``cut`` has them without it.
    """
    fixed = fixed_cost(base)
    room = budget - fixed
    windows = [replace(base, taps=t, filter_dsp_lanes=d) for t, d in _window_kinds(base, choices)]
    units = [UnitOption(s, _window_cycles(cut, s), window_cost(s)) for s in windows]
    banks = [UnitOption(s, (), banks_cost(s)) for s in _banks(cut, base, choices)]
    if budget.uram:
        ultra = (UnitOption(s, (), banks_cost(s)) for s in _banks(cut, replace(base, ultra_banks=True), choices))
        banks += [u for u in ultra if u.resources.uram]
    return EngineOptions(
        base,
        tuple(_convolutions(cut, base, choices, room, faster, scheduled or partial(tiled, cut))),
        tuple(_unbeaten([u for u in units if u.resources.fits(room)])),
        tuple(u for u in banks if u.resources.fits(room)),
        fixed,
    )


def _banks(cut: Cut, base: Shape, choices: Choices) -> list[Shape]:
    """``base`` with every pair of sizes of its banks."""
    sizes = _bank_sizes(cut, base, choices)
    return [replace(base, bank_words=n, small_words=m) for n in sizes for m in sizes if m <= n]


def _bank_sizes(cut: Cut, base: Shape, choices: Choices) -> list[int]:
    """Words of banks that are worth a choice: of those that take the same memories the largest."""
    if choices.bank_kib is not None:
        size = base.lanes * base.act_bits // 8
        return [max(1, (n << 10) // size) for n in sorted(choices.bank_kib)]
    words = {1, *(life.words for life in lifetimes(cut, base))}
    return sorted({bank_cost(base, n): n for n in sorted(words)}.values())


def _window_kinds(base: Shape, choices: Choices) -> list[tuple[int, int]]:
    taps = [t for t in choices.taps if t <= base.kernel**2] or [1]
    lanes = sorted({base.lanes * n // FILTER_STEPS for n in range(FILTER_STEPS + 1)})
    lanes = lanes if choices.luts_multiply else [base.lanes]
    return list(product(taps, lanes if base.filters else [0]))


def _window_cycles(cut: Cut, shape: Shape) -> tuple[int, ...]:
    drafts = (TiledPass(p, shape, 1, 1) for p in cut.passes)
    return tuple(s.word_cycles * s.words_out for s in drafts)


def _convolutions(
    cut: Cut,
    base: Shape,
    choices: Choices,
    room: Resources,
    faster: Callable[[Tiling], bool],
    scheduled: Callable[[Shape], Tiling | None],
) -> list[ConvolutionOption]:
    found: list[tuple[Fabric, Shape, Tiling, Resources]] = []
    for a, b in product(choices.in_blocks, choices.out_blocks):
        draft = replace(base, in_blocks=a, out_blocks=b)
        if not draft.legal() or draft.inputs * draft.outputs > MOST_PRODUCTS:
            continue
        draft = replace(draft, row_words=row_words(cut.passes, draft))
        tilings = [t for t in _tilings(draft, choices, scheduled) if faster(t)]
        memories = [
            (tiling, built, weights_cost(built))
            for tiling in tilings
            for built in storages(replace(draft, tile_depth=tiling.depth), room)
        ]
        for fabric in fabrics(draft, luts_multiply=choices.luts_multiply) if memories else ():
            for tiling, built, memory in memories:
                cost = fabric.resources + memory
                if cost.fits(room):
                    found.append((fabric, built, tiling, cost))
    kept = (found[i] for i in pareto([(*tiling.facts, *cost) for _, _, tiling, cost in found]))
    return [ConvolutionOption(fabric.of(built), tiling.cycles, cost, tiling) for fabric, built, tiling, cost in kept]


def storages(shape: Shape, room: Resources) -> list[Shape]:
    """``shape`` with its weights in block RAM, and in UltraRAM where there is any."""
    return [shape, replace(shape, ultra_weights=True)] if room.uram else [shape]


def _tilings(draft: Shape, choices: Choices, scheduled: Callable[[Shape], Tiling | None]) -> list[Tiling]:
    """The passes with every depth of the weight memory that changes something."""
    found: list[Tiling] = []
    for depth in sorted(choices.tile_depths):
        tiling = scheduled(replace(draft, tile_depth=depth))
        if tiling is not None and (not found or tiling.facts != found[-1].facts):
            found.append(tiling)
    return found


def tiled(cut: Cut, shape: Shape) -> Tiling | None:
    """The passes on a convolution unit; None where its memories do not hold one."""
    try:
        return Tiling(shape.tile_depth, tuple(schedule(p, shape, aligned=False) for p in cut.passes))
    except UserError:
        return None


def once(tile: Callable[[Shape], T]) -> Callable[[Shape], T]:
    """``tile``, once for engines that differ in the buffers of their ports alone."""
    known = cache(tile)
    return lambda shape: known(replace(shape, bursts_in_luts=False))


@dataclass(frozen=True)
class Fabric:
    """Products on DSP slices and in LUTs, and what the convolution unit takes with them without its weights."""

    products_per_dsp: int
    extra_outputs: int
    resources: Resources

    def of(self, shape: Shape) -> Shape:
        """``shape`` with these products."""
        return replace(shape, products_per_dsp=self.products_per_dsp, extra_outputs=self.extra_outputs)


def fabrics(draft: Shape, *, luts_multiply: bool) -> tuple[Fabric, ...]:
    """Products on DSP slices as they pack, some or all outputs in LUTs: those that are worth their cost."""
    return _fabrics(replace(draft, channel_words=0, line_words=0, tile_depth=0, bursts_in_luts=False), luts_multiply)


@lru_cache(1 << 14)
def _fabrics(draft: Shape, luts_multiply: bool) -> tuple[Fabric, ...]:
    """`fabrics` of engines that differ in what these do not see."""
    counts = [n for n in (1, *packing(draft.weight, draft.code)) if n <= draft.outputs]
    kinds = []
    for count in counts:
        least = draft.outputs % count
        step = count * ceil(draft.outputs / count / FABRIC_STEPS)
        extras = range(least, draft.outputs, step) if luts_multiply else [least] if not least else []
        kinds += [(count, extra) for extra in extras]
    if luts_multiply:
        kinds.append((0, 0))
    found = [
        Fabric(n, extra, products_cost(replace(draft, products_per_dsp=n, extra_outputs=extra))) for n, extra in kinds
    ]
    return tuple(found[i] for i in pareto([tuple(fabric.resources) for fabric in found]))


def _unbeaten(options: Sequence[UnitOption]) -> list[UnitOption]:
    return [options[i] for i in pareto([(*o.cycles, *o.resources) for o in options])]
