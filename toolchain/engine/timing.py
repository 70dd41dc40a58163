"""The duration of a pass, and the unit that limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES, Places, TiledPass

MEMORY = "memory"
"""The limit of a pass whose bytes take longer than its units."""


@dataclass(frozen=True)
class Timing:
    """A pass: the ``busy`` cycles of its slowest unit or of the memory, and the ``idle`` ones before and behind."""

    name: str
    busy: float
    idle: int
    limited_by: str
    bytes: int
    macs: int

    @property
    def cycles(self) -> float:
        """Cycles of the pass in all."""
        return self.busy + self.idle


def pass_timing(tiled: TiledPass, places: Places, following: int, bytes_per_cycle: float) -> Timing:
    """The time of ``tiled``: its slowest unit or its memory traffic, the rest runs at the same time."""
    units = tiled.cycles(following)
    moved = sum(tiled.beats(places, following).values()) * BEAT_BYTES
    slowest = max(units, key=lambda name: units[name])
    waits = moved / bytes_per_cycle
    limit = MEMORY if waits > units[slowest] else slowest
    return Timing(tiled.p.name, max(waits, units[slowest]), idle_cycles(tiled), limit, moved, tiled.p.macs)


def idle_cycles(tiled: TiledPass) -> int:
    """Cycles of a pass in which its units do not all run: its start, its constants and its last rows."""
    return PASS_CYCLES + tiled.preload + tiled.drain


def timings(schedules: Sequence[TiledPass], places: Sequence[Places], bytes_per_cycle: float) -> list[Timing]:
    """Return the passes' timings, and in front of them that of loading the first weights at the memory's rate."""
    following = [*(s.weight_words(0) for s in schedules[1:]), 0]
    found = [pass_timing(s, p, n, bytes_per_cycle) for s, p, n in zip(schedules, places, following, strict=True)]
    words = schedules[0].weight_words(0) * schedules[0].shape.weight_beats
    moved = words * BEAT_BYTES
    first = Timing("first weights", max(words, moved / bytes_per_cycle), PASS_CYCLES, MEMORY, moved, 0)
    return [first, *found]
