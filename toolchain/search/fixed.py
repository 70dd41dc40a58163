"""Cycles of networks on an engine that is there: the places of their maps are found, nothing else is left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from toolchain.engine.layers import Cut, Pass, signed_bits
from toolchain.engine.precision import parts_for
from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES, Places, schedule
from toolchain.engine.shape import Shape
from toolchain.errors import UserError

_EVERYWHERE = Places(True, True, True)


@dataclass(frozen=True)
class _Facts:
    """The numbers of a pass that its time follows from.

    Beats are those of maps in memory; its result takes ``words`` in a bank; ``weights`` are memory beats without those
    of the next pass, whose first tile comes in during ``last``.
    """

    units: int
    tiles: int
    last: int
    weights: int
    source: int
    residual: int
    result: int
    idle: int
    first_words: int
    words: int
    source_inside: bool
    result_inside: bool


_known: dict[tuple[Shape, int, tuple[object, ...]], _Facts | str] = {}
"""Facts by engine, parts and pass: networks of a space have most of their passes in common."""


@dataclass(frozen=True)
class FixedEngine:
    """An engine of ``shape`` whose memory moves ``rate`` bytes a cycle."""

    shape: Shape
    rate: float

    def cycles(self, cut: Cut) -> float:
        """Cycles a frame of ``cut``, as `cut_of` makes it, with its maps in the best places.

        Infinite where the engine does not run it.

        The places are found exactly, by dynamic programming over the passes: what is known behind a pass is which of
        the few maps that are still read lie in the large bank and in the small ones. Tiles follow the rules of the
        integer program.
        """
        facts = self.facts(cut)
        return inf if facts is None else self._best(cut.passes, facts)

    def refusal(self, cut: Cut) -> str:
        """Return why the engine does not run ``cut``; empty where its units do."""
        if cut.act_bits != self.shape.act_bits:
            return f"it stores codes of {self.shape.act_bits} bits"
        return next((f"{p.name}: {f}" for p in cut.passes if isinstance(f := self._facts(p), str)), "")

    def facts(self, cut: Cut) -> list[_Facts] | None:
        """Return the facts of every pass; None where the engine does not run one."""
        if cut.act_bits != self.shape.act_bits:
            return None
        found = []
        for p in cut.passes:
            each = self._facts(p)
            if isinstance(each, str):
                return None
            found.append(each)
        return found

    def _facts(self, p: Pass) -> _Facts | str:
        bits = _bits(p)
        parts = 1 if p.conv is None else parts_for(bits, self.shape.weight_bits)
        key = (self.shape, parts, _geometry(p))
        if key not in _known:
            _known[key] = self._made(p, parts)
        return _known[key]

    def _made(self, p: Pass, parts: int) -> _Facts | str:
        shape, window = self.shape, p.window
        if p.conv is not None:
            inputs = p.weights // len(p.conv.weight)
            if signed_bits([inputs * _most(p) * ((1 << shape.act_bits) - 1)]) > shape.sum_bits:
                return f"sums of more than {shape.sum_bits} bits"
            p = replace(p, conv=replace(p.conv, parts=parts))
        if window is not None and window.kernel > shape.kernel:
            return f"a window of {window.kernel}"
        if window is not None and window.weight is not None:
            filter_bits = signed_bits([int(window.weight.flat[0])])
            if not shape.filters or filter_bits > shape.filter_bits:
                return f"filters of {filter_bits} bits"
        if window is not None and window.mode == "global_sum":
            top = ((1 << shape.act_bits) - 1) * p.middle[0] * p.middle[1]
            if signed_bits([top]) > shape.window_sum_bits:
                return f"sums over maps of more than {shape.window_sum_bits} bits"
        try:
            s = schedule(p, shape, aligned=False)
        except UserError as error:
            return error.what
        cycles, beats = s.cycles(), s.beats(_EVERYWHERE)
        last = s.tile_cycles(s.tiles - 1, 0)
        return _Facts(
            units=max(n for name, n in cycles.items() if name != "convolve"),
            tiles=cycles["convolve"] - last,
            last=last,
            weights=beats["weights"],
            source=beats["source"],
            residual=beats["residual"],
            result=beats["result"],
            idle=PASS_CYCLES + s.preload + s.drain,
            first_words=s.weight_words(0),
            words=p.out[0] * p.out[1] * shape.words(p.out[2]),
            source_inside=s.tiles > 1 and not s.resident,
            result_inside=s.ragged,
        )

    def _best(self, passes: Sequence[Pass], facts: Sequence[_Facts]) -> float:
        """Return the fewest cycles over all places of the maps."""
        beat, wide = BEAT_BYTES / self.rate, self.shape.weight_beats
        last_use: dict[str, int] = {}
        for i, p in enumerate(passes):
            last_use[p.source] = i
            if p.merge is not None:
                last_use[p.merge.residual] = i
        begin = facts[0].first_words * wide * max(1.0, beat) + PASS_CYCLES
        states: dict[tuple[tuple[str, int], ...], float] = {(): begin}
        for i, (p, f) in enumerate(zip(passes, facts, strict=True)):
            following = facts[i + 1].first_words * wide if i + 1 < len(facts) else 0
            units, weights = max(f.units, f.tiles + max(f.last, following)), f.weights + following
            lives = last_use.get(p.result, -1) > i
            banks = [0] if not lives else [b for b in (0, 1, 2) if not b or f.words <= self.shape.bank_size(b - 1)]
            if f.result_inside:
                banks = [b for b in banks if b]
            states = self._step(states, i, p, f, (units, weights), banks, last_use, beat)
            if not states:
                return inf
        return min(states.values())

    def _step(
        self,
        states: dict[tuple[tuple[str, int], ...], float],
        i: int,
        p: Pass,
        f: _Facts,
        always: tuple[int, int],
        banks: Sequence[int],
        last_use: dict[str, int],
        beat: float,
    ) -> dict[tuple[tuple[str, int], ...], float]:
        """Return the states behind pass ``i``: inner maps that are still read, with their bank, 1 large and 2 small."""
        units, weights = always
        residual = p.merge.residual if p.merge is not None else None
        found: dict[tuple[tuple[str, int], ...], float] = {}
        for state, cost in states.items():
            inside = {name for name, _ in state}
            if f.source_inside and p.source not in inside:
                continue
            beats = weights + (0 if p.source in inside else f.source)
            beats += 0 if residual is None or residual in inside else f.residual
            large = sum(1 for _, bank in state if bank == 1)
            small = len(state) - large
            kept = tuple(each for each in state if last_use[each[0]] > i)
            for bank in banks:
                if (bank == 1 and large) or (bank == 2 and small == 2):
                    continue
                moved = (beats + (0 if bank else f.result)) * beat
                total = cost + max(units, moved) + f.idle
                after = (*kept, (p.result, bank)) if bank else kept
                if total < found.get(after, inf):
                    found[after] = total
        return found


def _most(p: Pass) -> int:
    return int(p.conv.weight.flat[0]) if p.conv is not None else 0


def _bits(p: Pass) -> int:
    return _most(p).bit_length() + 1


def _geometry(p: Pass) -> tuple[object, ...]:
    """Return the facts of ``p`` that its cycles depend on: passes with equal ones are timed once."""
    conv, window = p.conv, p.window
    return (
        p.shape, p.middle, p.out, p.raw, p.first is None, p.second is None, p.merge is None,
        None if conv is None else (conv.weight.shape, conv.stride, conv.pads, _most(p)),
        None if window is None else (window.mode, window.kernel, window.stride, window.pads,
                                     None if window.weight is None else int(window.weight.flat[0])),
    )  # fmt: skip
