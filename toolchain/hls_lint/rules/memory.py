"""Rules of arrays: loads and stores in one pipelined loop, and how arrays are split."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from toolchain.hls_lint.facts import Loop, Place
from toolchain.hls_lint.findings import Project, Rule
from toolchain.hls_lint.pragmas import Pragma
from toolchain.units.limits import MAX_UNROLL

Found = Iterator[tuple[str, str, str]]

FAR_APART = 8
"""Iterations that are more than the stages between a load and a store of one iteration: `far_apart` of types.hpp."""
RECURRENCE = 2
"""Iterations within which a memory is loaded, and stored what was computed from that."""


def carried(project: Project) -> dict[tuple[Loop, Place], tuple[str, int | None]]:
    """Memories that one pipelined loop loads and stores: the unit, and the iterations in between that are stated."""
    kinds: dict[tuple[Loop, Place], set[str]] = {}
    units: dict[tuple[Loop, Place], str] = {}
    for access in project.facts.accesses:
        loop = access.loop.pipeline if access.loop is not None else None
        if loop is not None and not project.facts.registers(access.place.array):
            key = loop, access.place.array
            kinds.setdefault(key, set()).add(access.kind)
            units[key] = access.unit
    both = [key for key, found in kinds.items() if found == {"load", "store"}]
    return {key: (units[key], _apart(project, *key)) for key in both}


def _apart(project: Project, loop: Loop, place: Place) -> int | None:
    """Least number of iterations that marks of both kinds state, None where one kind is missing."""
    found: dict[str, int | None] = {}
    for mark in project.facts.marks:
        if mark.loop is not None and mark.loop.pipeline is loop and mark.memory == place.last:
            known = [n for n in (found.get(mark.kind, mark.apart), mark.apart) if n is not None]
            found[mark.kind] = min(known) if known else None
    stated = [n for n in found.values() if n is not None]
    return min(stated) if len(stated) == 2 else None


def _distance(project: Project) -> Found:
    found = carried(project)
    for (loop, place), (unit, apart) in found.items():
        where = str(loop.where)
        store = project.facts.recurrences.get((loop, place))
        if apart is None:
            yield unit, where, f"'{place}' is loaded and stored, how far apart is not stated"
        elif store is not None and apart < RECURRENCE:
            yield unit, str(store), f"'{place}' is stored from its own word of the iteration before: II is 2"
    for loop in project.facts.loops:
        for pragma, memory in loop.dependences:
            yield from _dependence(loop, pragma, found.get((loop, memory.array)) if memory is not None else None)


def _dependence(loop: Loop, pragma: Pragma, found: tuple[str, int | None] | None) -> Found:
    """A pragma that denies a dependence, or says how far it reaches, is as true as what the simulation checks."""
    between = "inter" in {*pragma.flags, pragma.get("type")}
    least = pragma.number("distance", FAR_APART if between else 1)
    name = f"DEPENDENCE of '{pragma.get('variable')}'"
    if found is None:
        yield loop.unit, str(loop.where), f"{name}, which is not loaded and stored"
    elif found[1] is not None and found[1] < least:
        yield loop.unit, str(loop.where), f"{name} asks for {least} iterations, {found[1]} are stated"


def _inner(project: Project) -> Found:
    for place, array in project.facts.arrays.items():
        split = place in project.facts.split and project.facts.registers(place)
        if array.inner and split and place not in project.facts.packed:
            yield array.unit, str(array.where), f"'{place}' is split, the arrays in its elements are not"


def _parts(project: Project) -> Found:
    for place, dims in project.facts.split.items():
        array = project.facts.arrays.get(place)
        if array is None:
            continue
        parts = prod(size for d, size in enumerate(array.sizes, 1) if 0 in dims or d in dims)
        if parts > MAX_UNROLL:
            yield array.unit, str(array.where), f"'{place}' is split into {parts:,} parts"


RULES = (
    Rule(
        "distance",
        "A memory that one pipelined loop loads and stores says how far apart, and the simulation checks it.",
        _distance,
    ),
    Rule("inner-array", "An array that is split into registers holds no arrays that are not.", _inner),
    Rule("parts", "An array is split into 4,096 parts at most.", _parts),
)
