"""The execution of a pass on an engine of a given shape: its tiles, the cycles of each unit, the bytes it moves.

The C++ units count the same cycles and beats; a test compares them. What they are told stands in the pass table
(``entries``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd

from toolchain.engine.layers import Pass, Requant
from toolchain.engine.shape import BEAT_BITS, TABLE_BEATS, Shape
from toolchain.errors import UserError

BEAT_BYTES = BEAT_BITS // 8

PASS_CYCLES = 250
"""Start of a pass: its table entry, the first answer of the memory and the depth of the pipelines; assumption."""

UNITS = ("read_source", "convolve", "first", "window", "second", "read_residual", "merge", "write")
"""Units that count cycles, in the order of the C++ counters."""

PORTS = ("weights", "source", "residual", "result")
"""Memory traffic that is counted in beats, in the same order, after the units."""

LOADS = ("constants", "banks")
"""Cycles of what fills the units' tables of constants and of what reads the banks, after the ports."""


Placement = Mapping[str, int | None]
"""The bank of every map on the chip by name; maps in memory have none."""


@dataclass(frozen=True)
class Places:
    """Flags for the maps of a pass that lie in memory; the others are on the chip."""

    source: bool
    residual: bool
    result: bool

    @classmethod
    def of(cls, p: Pass, placement: Placement) -> Places:
        """Return the flags of ``p`` when maps lie as ``placement`` says."""
        residual = p.merge is not None and placement.get(p.merge.residual) is None
        return cls(placement.get(p.source) is None, residual, placement.get(p.stored) is None)


@dataclass(frozen=True)
class TileKind:
    """A tile of the convolution: cycles in front of its first output row, of a row, and of all with the last words."""

    head: int
    row: int
    busy: int


@dataclass(frozen=True)
class TiledPass:
    """``p`` on ``shape``: ``tiles`` tiles of ``groups`` groups of outputs."""

    p: Pass
    shape: Shape
    groups: int
    tiles: int

    @cached_property
    def words_in(self) -> int:
        """Words of a position of the source."""
        return self.shape.words(self.p.shape[2])

    @cached_property
    def words_out(self) -> int:
        """Words of a position of the result."""
        return self.shape.words(self.p.out[2])

    @property
    def words_stored(self) -> int:
        """Words of a position of the map that the result is, or is a part of."""
        return self.words_out if self.p.slot is None else self.shape.words(self.p.slot.channels)

    @property
    def slot_beats(self) -> int:
        """Beats of a position in front of the result's."""
        return 0 if self.p.slot is None else self.shape.words(self.p.slot.start) // self.shape.packed

    @property
    def ragged(self) -> bool:
        """Whether tiles of the result fill no whole memory beats."""
        return self.tiles > 1 and self.tile_words % self.shape.packed > 0 and self.p.out[0] * self.p.out[1] > 1

    @cached_property
    def taps(self) -> int:
        """Taps of the convolution's kernel."""
        return self.p.conv.kernel[0] * self.p.conv.kernel[1] if self.p.conv is not None else 1

    @cached_property
    def span(self) -> int:
        """Rows of the source that the convolution's kernel reaches over."""
        return self.p.conv.span if self.p.conv is not None else 1

    @cached_property
    def stride(self) -> int:
        """Rows of the source from an output row of the convolution to the next one."""
        return self.p.conv.stride[0] if self.p.conv is not None else 1

    @cached_property
    def blocks(self) -> int:
        """Row-buffer words of a position."""
        return ceil(self.words_in / self.shape.in_blocks)

    @cached_property
    def fold(self) -> int:
        """Weight words of a group of outputs."""
        return self.taps * self.blocks * (self.p.conv.parts if self.p.conv is not None else 1)

    @cached_property
    def tile_words(self) -> int:
        """Words of channels of every tile but the last."""
        return min(self.groups * self.shape.out_blocks, self.words_out) if self.p.conv is not None else self.words_out

    def words_of(self, tile: int) -> int:
        """Words of channels of a tile."""
        return min(self.tile_words, self.words_out - tile * self.tile_words)

    def groups_of(self, tile: int) -> int:
        """Groups of outputs of a tile; none when the convolution is bypassed."""
        return 0 if self.p.conv is None else ceil(self.words_of(tile) / self.shape.out_blocks)

    def weight_words(self, tile: int) -> int:
        """Weight words of a tile."""
        return self.groups_of(tile) * self.fold

    @cached_property
    def least_slots(self) -> int:
        """Rows that the row buffer must hold: those of a window and those that come in meanwhile."""
        return self.span + self.stride

    @cached_property
    def slots(self) -> int:
        """Rows of the row buffer; all rows of the map where they fit."""
        row = self.p.shape[1] * self.blocks
        whole = max(self.least_slots, self.p.shape[0])
        return whole if whole * row <= self.shape.row_words else self.least_slots

    @cached_property
    def resident(self) -> bool:
        """Whether the buffer still holds all rows when later tiles read them."""
        return self.slots >= self.p.shape[0] and self.p.conv is not None

    @property
    def first_rows(self) -> int:
        """Rows that the first output row waits for."""
        top = self.p.conv.pads[0] if self.p.conv is not None else 0
        return min(self.p.shape[0], max(0, self.span - top))

    @cached_property
    def row_groups(self) -> int:
        """Beats of a row of the source."""
        return self.p.shape[1] * self.words_in // self.shape.packed

    @cached_property
    def source_groups(self) -> int:
        """Beats of the source, repeated ones as often as they are read."""
        return self.p.shape[0] * self.row_groups

    @property
    def reads(self) -> int:
        """The number of times that the source is read."""
        return 1 if self.resident else self.tiles

    @property
    def residual_words(self) -> int:
        """Words of the map that meets the pass's result; none without one."""
        merge = self.p.merge
        return 0 if merge is None else self.words_out * (1 if merge.once else self.positions)

    @property
    def turns(self) -> int:
        """Words of codes that a word of the result is sent in."""
        return self.shape.digits if self.p.raw else 1

    @cached_property
    def positions(self) -> int:
        """Positions of the result."""
        return self.p.out[0] * self.p.out[1]

    @property
    def middle_positions(self) -> int:
        """Positions in front of the window unit."""
        return self.p.middle[0] * self.p.middle[1]

    @cached_property
    def steps(self) -> int:
        """Cycles of a group of outputs: its products, or its words if they take longer to leave."""
        return max(self.fold, self.shape.out_blocks)

    @property
    def head_cycles(self) -> int:
        """Cycles in which the first rows come in."""
        return self.first_rows * self.row_groups

    def _tile_kind(self, groups: int, *, loads: bool) -> TileKind:
        if self.p.conv is None:
            return TileKind(0, 0, self.source_groups * self.shape.packed)
        row = self.p.middle[1] * groups * self.steps
        if not loads:
            return TileKind(0, row, self.p.middle[0] * row + self.shape.out_blocks)
        alone = self.p.shape[0] > self.p.shape[1] == 1  # what came in last is read first
        row = max(row, self.stride * self.row_groups + alone)
        return TileKind(self.head_cycles, row, self.head_cycles + self.p.middle[0] * row + self.shape.out_blocks)

    @cached_property
    def tile_kinds(self) -> tuple[TileKind, TileKind, TileKind]:
        """The first tile, those between and the last one: resident rows come in with the first."""
        first, last = self.groups_of(0), self.groups_of(self.tiles - 1)
        again = not self.resident
        return (
            self._tile_kind(first, loads=True),
            self._tile_kind(first, loads=again),
            self._tile_kind(last, loads=again),
        )

    def tile_cycles(self, tile: int, next_words: int) -> int:
        """Cycles of the convolution unit while ``next_words`` weight words of the next tile come in."""
        kind = self.tile_kinds[0 if tile == 0 else 2 if tile == self.tiles - 1 else 1]
        return max(kind.busy, next_words * self.shape.weight_beats)

    def next_words(self, tile: int, following: int) -> int:
        """Weight words that come in during ``tile``; ``following``: those of the next pass's first tile."""
        return self.weight_words(tile + 1) if tile + 1 < self.tiles else following

    def constant_beats(self, tile: int) -> tuple[int, int, int]:
        """Beats of the first requantizer's constants, the filters and the second requantizer's constants."""
        words, window = self.words_of(tile), self.p.window
        taps = window.kernel**2 if window is not None and window.mode == "filter" else 0
        return words * self._entry(self.p.first), words * taps, words * self._entry(self.p.second)

    def _entry(self, requant: Requant | None) -> int:
        """Beats of a requantizer's constants of a word of channels."""
        if requant is None:
            return 0
        return self.shape.entry_beats if requant.below is None else self.shape.bent_beats

    @property
    def curve_beats(self) -> dict[str, int]:
        """Beats of the tables of both requantizers, in front of all constants; none of one without a table."""
        requants = {"first": self.p.first, "second": self.p.second}
        return {name: self.shape.curve_beats for name, r in requants.items() if r is not None and r.curve is not None}

    @property
    def curve_cycles(self) -> int:
        """Cycles in which these tables come in."""
        return len(self.curve_beats) * self.shape.curve_words

    @property
    def tap_steps(self) -> int:
        """Cycles in which the window unit reduces a window."""
        return 1 if self.p.window is None else max(1, ceil(self.p.window.kernel**2 / self.shape.taps))

    @cached_property
    def _padded(self) -> int:
        """Positions that pass through the window unit."""
        (rows, columns, _), window = self.p.middle, self.p.window
        top, left, bottom, right = (0, 0, 0, 0) if window is None else window.pads
        return (rows + top + bottom) * (columns + left + right)

    @cached_property
    def word_cycles(self) -> int:
        """Cycles of the window unit for one of several words of channels of every position."""
        if self.p.window is None or self.p.window.mode == "global_sum":
            return self.middle_positions * self.turns
        return self._padded + self.positions * (self.tap_steps - 1)

    def window_cycles(self, words: int) -> int:
        """Cycles of the window unit for ``words`` words of channels of every position.

        What it stores for a word is loaded two cycles later at the earliest: a position of a single word waits one.
        """
        return self.word_cycles * words + (self._padded if words == 1 and self.p.window is not None else 0)

    @property
    def window_waits(self) -> int:
        """Cycles in which the window unit waits, see ``window_cycles``."""
        last = self.window_cycles(self.words_of(self.tiles - 1))
        return (self.tiles - 1) * self.window_cycles(self.tile_words) + last - self.word_cycles * self.words_out

    def cycles(self, following: int = 0) -> dict[str, int]:
        """Cycles of every unit of ``UNITS``; ``following``: weight words of the next pass's first tile."""
        words, turns = self.words_out, self.turns
        sent = self.positions * words
        convolve = sum(self.tile_cycles(t, self.next_words(t, following)) for t in range(self.tiles))
        return {
            "read_source": self.source_groups * self.reads,
            "convolve": convolve,
            "first": self.middle_positions * words * turns,
            "window": self.word_cycles * words + self.window_waits,
            "second": sent * turns,
            "read_residual": sent if self.p.merge is not None else 0,
            "merge": sent * turns,
            "write": sent * turns,
        }

    def loads(self, places: Places) -> dict[str, int]:
        """Cycles by ``LOADS``: the constants of all tiles in front of each, maps on the chip while the units run."""
        source = 0 if places.source else self.source_groups * self.reads
        residual = 0 if places.residual else self.residual_words
        return {
            "constants": self.curve_cycles + sum(sum(self.constant_beats(t)) for t in range(self.tiles)),
            "banks": source + residual,
        }

    def beats(self, places: Places, following: int = 0) -> dict[str, int]:
        """Memory beats of the pass by ``PORTS``, its table entry among the weights."""
        packed = self.shape.packed
        result = self.positions * self.words_out * self.turns
        constants = sum(self.curve_beats.values()) + sum(sum(self.constant_beats(t)) for t in range(self.tiles))
        weights = sum(self.next_words(t, following) for t in range(self.tiles)) * self.shape.weight_beats
        return {
            "weights": TABLE_BEATS + constants + weights,
            "source": self.source_groups * self.reads * places.source,
            "residual": self.residual_words // packed * places.residual,
            "result": ceil(result / packed) * places.result,
        }

    @cached_property
    def preload(self) -> int:
        """Cycles in which the convolution waits for constants.

        Of the first tile it waits for those that take longer than its first rows, of the others for all.
        """
        head = self.head_cycles if self.p.conv is not None else 0
        first, *rest = (sum(self.constant_beats(t)) for t in range(self.tiles))
        return max(0, self.curve_cycles + first - head) + sum(rest)

    @cached_property
    def drain(self) -> int:
        """Cycles of the window unit behind the convolution's last row, all channels together."""
        if self.p.window is None or self.p.conv is None or self.p.window.mode == "global_sum":
            return 0
        return self.word_cycles * self.words_out // (self.p.middle[0] + self.p.window.pads[0])


def row_words(passes: Sequence[Pass], shape: Shape) -> int:
    """Words of the smallest row buffer for ``passes``."""
    drafts = [TiledPass(p, shape, 1, 1) for p in passes if p.conv is not None]
    return max((d.least_slots * d.p.shape[1] * d.blocks for d in drafts), default=1)


def schedule(p: Pass, shape: Shape, *, aligned: bool) -> TiledPass:
    """``p`` in as few tiles as the memories of ``shape`` allow.

    Args:
        aligned: the result goes to memory, so that tiles must fill whole beats.

    Raises:
        UserError: a row, a weight tile or the channels do not fit; the pass and the bytes are named.
    """
    whole = TiledPass(p, shape, 1, 1)
    if p.conv is None:
        _check(p, shape, shape.words(p.out[2]), "channels", shape.channel_words)
        return whole
    least_rows = whole.least_slots * p.shape[1] * whole.blocks
    if least_rows > shape.row_words:
        need, have = (n * shape.inputs * shape.act_bits // 8 for n in (least_rows, shape.row_words))
        raise UserError(f"its rows take {need} bytes, the row buffer holds {have}", where=p.name)
    count, step = ceil(whole.words_out / shape.out_blocks), 1
    most = min(shape.tile_depth // whole.fold, max(shape.channel_words // shape.out_blocks, 1))
    if p.window is not None and p.window.mode != "global_sum":
        width = p.middle[1] + p.window.pads[1] + p.window.pads[3]
        most = min(most, shape.line_words // (width * shape.out_blocks))
    if aligned and p.out[0] * p.out[1] > 1:
        step = shape.packed // gcd(shape.packed, shape.out_blocks)
    groups = min(count, most // step * step) if most < count else count
    if groups < 1:
        least = min(step, count)
        if whole.fold * least <= shape.tile_depth:
            _check(p, shape, least * shape.out_blocks, "channels", shape.channel_words)
        word = shape.inputs * shape.outputs * shape.weight_bits
        need, have = (n * word // 8 for n in (whole.fold * least, shape.tile_depth))
        raise UserError(f"a weight tile takes {need} bytes, the weight memory holds {have}", where=p.name)
    return TiledPass(p, shape, groups, ceil(count / groups))


def _check(p: Pass, shape: Shape, need: int, what: str, have: int) -> None:
    if need > have:
        size = shape.lanes * shape.act_bits // 8
        raise UserError(f"its {what} take {need * size} bytes, the engine holds {have * size}", where=p.name)
    if p.window is not None and p.window.mode != "global_sum":
        width = p.middle[1] + p.window.pads[1] + p.window.pads[3]
        if width * need > shape.line_words:
            size = shape.lanes * shape.act_bits // 8
            raise UserError(
                f"a row takes {width * need * size} bytes, the line buffer holds {shape.line_words * size}",
                where=p.name,
            )
