"""The fewest cycles of every engine of some choices, one after the other: the oracle of the searches on small cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from toolchain.engine.candidates import Budget, Candidates
from toolchain.engine.layers import Cut
from toolchain.engine.maps import Lifetime
from toolchain.engine.options import Choices, base_shapes, engine_options
from toolchain.engine.shape import Shape


def brute_force(cut: Cut, budget: Budget, choices: Choices) -> float:
    """The fewest cycles of every engine and placement of ``choices``; infinite where none fits."""
    found = (
        Candidates(cut, engine_options(cut, base, choices, budget.resources), budget)
        for base in base_shapes(cut, choices)
    )
    return min(map(_fewest, found), default=float("inf"))


def _fewest(candidates: Candidates) -> float:
    lives, options = candidates.lives(), candidates.options
    placements = [{frozenset(placed) for placed in _placements(lives, b.shape)} for b in options.banks]
    known: dict[tuple[int, int, frozenset[str]], float] = {}  # fabrics change no cycles
    best = float("inf")
    banks = list(zip(options.banks, placements, strict=True))
    for c, w, (b, places) in product(options.convolutions, options.windows, banks):
        if not candidates.fits(c, w, b):
            continue
        for placed in places:
            key = (id(c.tiling), w.shape.taps, placed)
            if key not in known:
                cycles = candidates.cycles_of(c, w, placed)
                known[key] = float("inf") if cycles is None else cycles
            best = min(best, known[key])
    return best


def _placements(lives: Sequence[Lifetime], shape: Shape) -> Iterator[tuple[str, ...]]:
    """Yield the names of maps that banks can hold together, once for each way to put every map into a bank or none."""
    for banks in product((None, 0, 1, 2), repeat=len(lives)):
        placed = [(life, bank) for life, bank in zip(lives, banks, strict=True) if bank is not None]
        fits = all(life.words <= shape.bank_size(bank) for life, bank in placed)
        apart = all(
            a[1] != b[1] or a[0].last < b[0].first or b[0].last < a[0].first for a, b in combinations(placed, 2)
        )
        if fits and apart:
            yield tuple(life.name for life, _ in placed)
