"""Maps that can stay on the chip between passes: how long they live, what they take, in which bank they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.engine.layers import Cut
from toolchain.engine.shape import Shape


@dataclass(frozen=True)
class Lifetime:
    """A map, the first and last pass that need it, and its words."""

    name: str
    first: int
    last: int
    words: int


def lifetimes(cut: Cut, shape: Shape) -> list[Lifetime]:
    """The maps that passes hand on; the network's input and answers, and joined maps, always lie in memory.

    So does a map that a pass reads twice: a bank on the chip has one reader.
    """
    made = {p.result: i for i, p in enumerate(cut.passes) if p.slot is None}
    outside = {p.source for p in cut.passes if p.outside} | {*cut.answers}
    outside |= {p.source for p in cut.passes if p.merge is not None and p.merge.residual == p.source}
    last: dict[str, int] = {}
    for i, p in enumerate(cut.passes):
        for name in (p.source, *([p.merge.residual] if p.merge is not None else [])):
            last[name] = i
    return [
        Lifetime(p.result, made[p.result], last[p.result], p.out[0] * p.out[1] * shape.words(p.out[2]))
        for p in cut.passes
        if p.result in last and p.slot is None and p.result not in outside
    ]


def color(inside: Mapping[Lifetime, bool]) -> dict[str, int]:
    """A bank for every map; the first, large one for those that are True."""
    banks: dict[str, int] = {}
    for life, large in sorted(inside.items(), key=lambda each: each[0].first):
        taken = {banks[o.name] for o in inside if o.name in banks and o.last >= life.first and o.first <= life.last}
        banks[life.name] = 0 if large else min({1, 2} - taken)
    return banks
