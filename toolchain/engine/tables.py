"""The memory image of a network: pass table, weights, constants and the places of the maps, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np

from toolchain.engine.entries import Addresses, null_facts, pass_facts
from toolchain.engine.layers import Curve, Cut, Requant, half, parts_of, signed_bits
from toolchain.engine.layout import table_entry
from toolchain.engine.schedule import Placement, Places, TiledPass, schedule
from toolchain.engine.shape import BEAT_BITS, TABLE_BEATS, Shape
from toolchain.errors import UserError
from toolchain.ir.types import Array
from toolchain.units.fabric import tap_digits


@dataclass(frozen=True)
class Located:
    """A map in memory: its first beat, shape and words a position."""

    address: int
    shape: tuple[int, int, int]
    words: int


@dataclass(frozen=True)
class Program:
    """The pass table and memory image of an engine. ``memory`` is (beats, 2) of 64 bits, low half first, all maps zero.

    ``schedules`` is one a pass; the table has an entry more, the first one, which only loads weights.
    """

    shape: Shape
    cut: Cut
    schedules: tuple[TiledPass, ...]
    places: tuple[Places, ...]
    memory: Array
    maps: dict[str, Located]

    @property
    def passes(self) -> int:
        """Entries of the table."""
        return len(self.schedules) + 1

    def zero(self, name: str) -> int:
        """The stored code of 0 in the graph's input or the stored map ``name``."""
        return self.cut.forms[name].zero

    def following(self, index: int) -> int:
        """Weight words that pass ``index`` loads for its successor."""
        return self.schedules[index + 1].weight_words(0) if index + 1 < len(self.schedules) else 0


def schedules_of(cut: Cut, shape: Shape, placement: Placement) -> tuple[TiledPass, ...]:
    """A schedule a pass. Raises UserError, see ``schedule``."""
    return tuple(schedule(p, shape, aligned=placement.get(p.stored) is None) for p in cut.passes)


def program(cut: Cut, shape: Shape, placement: Placement) -> Program:
    """The memory image of ``cut`` on ``shape``.

    Raises:
        UserError: something does not fit the engine, see ``schedule``; or its number formats do not hold the network.
        ValueError: two maps of a pass share a bank, one does not fit, or an answer is in one.
    """
    _check_formats(cut, shape)
    found = schedules_of(cut, shape, placement)
    weights = [_weight_image(s) for s in found]
    constants = [_constant_image(s) for s in found]
    at = (len(found) + 1) * TABLE_BEATS
    weights_at, constants_at = [], []
    for w, c in zip(weights, constants, strict=True):
        weights_at.append(at)
        constants_at.append(at + len(w))
        at += len(w) + len(c)
    maps = {}
    for name, located in _maps(cut, found, placement):
        maps[name] = Located(at, *located)
        at += ceil(located[0][0] * located[0][1] * located[1] / shape.packed)
    _check_banks(found, placement, cut.answers)
    entries = [table_entry(null_facts(found[0].weight_words(0) * shape.weight_beats, weights_at[0]), shape, "weights")]
    starts = {name: located.address for name, located in maps.items()}
    tiles = 0
    for i, s in enumerate(found):
        own = weights_at[i] + s.weight_words(0) * shape.weight_beats
        following = found[i + 1].weight_words(0) if i + 1 < len(found) else 0
        after = weights_at[i + 1] if i + 1 < len(found) else 0
        facts = pass_facts(s, following, tiles, placement, Addresses(constants_at[i], own, after, starts))
        entries.append(table_entry(facts, shape, s.p.name))
        tiles += s.tiles
    memory = np.zeros((at, 2), dtype=np.uint64)
    memory[: len(entries) * TABLE_BEATS] = np.concatenate(entries)
    for start, image in zip((*weights_at, *constants_at), (*weights, *constants), strict=True):
        memory[start : start + len(image)] = image
    places = tuple(Places.of(p, placement) for p in cut.passes)
    return Program(shape, cut, found, places, memory, maps)


def _check_formats(cut: Cut, shape: Shape) -> None:
    """Raise UserError unless the numbers of ``cut`` fit the formats of ``shape``."""
    need = cut.formats
    short = [
        f"{what.replace('_', ' ')} {getattr(need, what)}, the engine has {getattr(shape, what)}"
        for what in (
            "act_bits",
            "weight_bits",
            "stored_bits",
            "filter_bits",
            "sum_bits",
            "window_sum_bits",
            "shift",
            "merge_shift",
            "merge_bits",
            "merge_add_bits",
            "kernel",
        )
        if getattr(need, what) > getattr(shape, what)
    ]
    kinds = ("filters", "pools", "repeats", "bends", "curves", "products")
    if shape.act_bits != need.act_bits or any(getattr(need, k) and not getattr(shape, k) for k in kinds):
        short.append("the engine was built for other layers")
    if short:
        raise UserError(f"the network does not fit the engine: {short[0]}", hint="build one for this network")


def _maps(
    cut: Cut, schedules: Sequence[TiledPass], placement: Placement
) -> list[tuple[str, tuple[tuple[int, int, int], int]]]:
    """Name, shape and words a position of every map in memory, the input first; sums take a word a digit."""
    first = schedules[0]
    found = [(cut.passes[0].source, (cut.passes[0].held, first.words_in))]
    for p, s in zip(cut.passes, schedules, strict=True):
        known = {name for name, _ in found}
        if p.merge is not None and p.merge.residual not in known and placement.get(p.merge.residual) is None:
            shape = (1, 1, p.out[2]) if p.merge.once else p.out
            found.append((p.merge.residual, (shape, s.words_out)))  # the pass that makes it is not in the program
        if p.slot is not None and p.stored not in known:
            found.append((p.stored, ((*p.out[:2], p.slot.channels), s.words_stored)))
        elif p.slot is None and placement.get(p.result) is None:
            found.append((p.result, (p.out, s.words_out * (s.shape.digits if p.raw else 1))))
    return found


def _check_banks(schedules: Sequence[TiledPass], placement: Placement, answers: Sequence[str]) -> None:
    """Raise ValueError where two maps of a pass share a bank, one does not fit, or the host cannot read one."""
    if any(placement.get(name) is not None for name in answers):
        raise ValueError("an answer lies in a bank")
    for s in schedules:
        names = {s.p.source, s.p.stored} | ({s.p.merge.residual} if s.p.merge is not None else set())
        banks = [bank for name in names if (bank := placement.get(name)) is not None]
        if len(set(banks)) < len(banks):
            raise ValueError(f"two maps of '{s.p.name}' share a bank")
        bank = placement.get(s.p.stored)
        if bank is not None and s.positions * s.words_out > s.shape.bank_size(bank):
            raise ValueError(f"the map '{s.p.result}' does not fit a bank")


def pack(codes: Array, bits: int) -> Array:
    """``codes`` (N, K), K * bits at most a beat, as N beats (N, 2): code k lies at bits [k * bits, (k + 1) * bits)."""
    count, k = codes.shape
    if k * bits > BEAT_BITS:
        raise ValueError(f"{k} codes of {bits} bits do not fit a beat")
    mask = np.uint64((1 << bits) - 1)
    values = codes.astype(np.int64).view(np.uint64) & mask
    beats = np.zeros((count, 2), dtype=np.uint64)
    for i in range(k):
        half, place = divmod(i * bits, 64)
        beats[:, half] |= values[:, i] << np.uint64(place)
        if place + bits > 64:
            beats[:, 1] |= values[:, i] >> np.uint64(64 - place)
    return beats


def unpack(beats: Array, bits: int, count: int) -> Array:
    """The unsigned codes (N, count) of ``beats`` (N, 2): the inverse of ``pack``."""
    mask = np.uint64((1 << bits) - 1)
    codes = np.empty((len(beats), count), dtype=np.int64)
    for i in range(count):
        half, place = divmod(i * bits, 64)
        value = beats[:, half] >> np.uint64(place)
        if place + bits > 64:
            value |= beats[:, 1] << np.uint64(64 - place)
        codes[:, i] = (value & mask).astype(np.int64)
    return codes


def _weight_image(s: TiledPass) -> Array:
    """The weight words of a pass, group by group; a word holds the weights (outputs, inputs) in this order.

    Weights of slices in chains are digits of the words that the slices multiply, see ``tap_digits``.
    """
    if s.p.conv is None:
        return np.zeros((0, 2), dtype=np.uint64)
    shape, taps, (n, *_, c) = s.shape, s.taps, s.p.conv.weight.shape
    channels, groups = s.blocks * shape.inputs, sum(s.groups_of(t) for t in range(s.tiles))
    parts = s.p.conv.parts
    weight = np.zeros((groups * shape.outputs, parts, taps, channels), dtype=np.int64)
    split = parts_of(s.p.conv.weight.reshape(n, taps, c), parts, shape.weight_bits)
    weight[:n, :, :, :c] = split.transpose(1, 0, 2, 3)
    rows = weight.reshape(groups, shape.outputs, -1)
    if shape.chain is not None:
        main = rows[:, : shape.main_outputs].reshape(groups, -1, shape.products_per_dsp, rows.shape[2])
        digits = tap_digits(main.transpose(0, 1, 3, 2)[..., ::-1])  # lowest first, as the outputs are
        rows[:, : shape.main_outputs] = digits.transpose(0, 1, 3, 2).reshape(groups, shape.main_outputs, -1)
    words = rows.reshape(groups, shape.outputs, s.fold, shape.inputs).transpose(0, 2, 1, 3)
    flat = words.reshape(groups * s.fold, shape.outputs * shape.inputs)
    a_beat = BEAT_BITS // shape.stored_bits
    padded = np.zeros((len(flat), shape.weight_beats * a_beat), dtype=np.int64)
    padded[:, : flat.shape[1]] = flat
    return pack(padded.reshape(-1, a_beat), shape.stored_bits)


def _constant_image(s: TiledPass) -> Array:
    """Both requantizers' tables, then tile by tile the first one's entries, the filters and the second one's."""
    curves = (r.curve for r in (s.p.first, s.p.second) if r is not None and r.curve is not None)
    parts = [_table(curve, s.shape) for curve in curves]
    for tile in range(s.tiles):
        start = tile * s.tile_words * s.shape.lanes
        channels = slice(start, start + s.words_of(tile) * s.shape.lanes)
        if s.p.first is not None:
            parts.append(_entries(s.p.first, channels, s.shape))
        if s.p.window is not None and s.p.window.weight is not None:
            parts.append(_filters(s.p.window.weight, channels, s.shape))
        if s.p.second is not None:
            parts.append(_entries(s.p.second, channels, s.shape))
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.uint64)


def _table(curve: Curve, shape: Shape) -> Array:
    """Beats of a requantizer's table: a code for each stored code."""
    table = np.zeros(shape.curve_beats * BEAT_BITS // shape.act_bits, dtype=np.int64)
    table[: len(curve.codes)] = curve.codes
    return pack(table.reshape(shape.curve_beats, -1), shape.act_bits)


def _slice(values: Array, channels: slice) -> Array:
    """``values`` (..., C) of ``channels``, zero beyond the last one."""
    found = np.zeros((*values.shape[:-1], channels.stop - channels.start), dtype=np.int64)
    part = values[..., channels]
    found[..., : part.shape[-1]] = part
    return found


def _entries(requant: Requant, channels: slice, shape: Shape) -> Array:
    """Beats of (mul, add) pairs, ``mul`` lowest, raised to the engine's shift.

    Behind a word of channels with a second line come that line's pairs, and a word of its knees.

    Raises:
        UserError: a pair does not fit its entry.
    """
    own = _pairs(requant.mul, requant.add, requant.shift, channels, shape)
    below = requant.below
    if below is None:
        return own
    reach = 1 << max(shape.sum_bits, shape.window_sum_bits)  # beyond all sums
    knees = np.zeros((channels.stop - channels.start, 2), dtype=np.uint64)
    knees[:, 0] = _slice(np.clip(below.knee, -reach, reach - 1), channels).view(np.uint64)
    parts = (own, _pairs(below.mul, below.add, requant.shift, channels, shape), _entry_beats(knees, shape))
    words = [part.reshape(-1, shape.entry_beats, 2) for part in parts]
    return np.concatenate(words, axis=1).reshape(-1, 2)


def _pairs(mul: Array, add: Array, shift: int, channels: slice, shape: Shape) -> Array:
    raised = shape.shift - shift
    mul = (_slice(mul, channels) << raised) - ((1 << shape.mul_shift) if shape.mul_shift else 0)
    add = _slice((add << raised) + half(shape.shift), channels)
    for what, values, bits in (("factor", mul, shape.mul_bits), ("offset", add, shape.add_bits)):
        need = signed_bits([int(values.min()), int(values.max())])
        if need > bits:
            raise UserError(f"a requantizer's {what} takes {need} bits, the engine has {bits}")
    entry = np.zeros((len(mul), 2), dtype=np.uint64)
    entry[:, 0] = mul.view(np.uint64) & np.uint64((1 << shape.mul_bits) - 1)
    entry[:, 0] |= add.view(np.uint64) << np.uint64(shape.mul_bits)
    entry[:, 1] = (add >> (64 - shape.mul_bits)).view(np.uint64)
    return _entry_beats(entry, shape)


def _entry_beats(entries: Array, shape: Shape) -> Array:
    """Beats of ``entries`` (N, 2) of 64 bits, or of their low halves where those are all."""
    return entries if shape.entry_bits == BEAT_BITS else entries[:, 0].reshape(-1, 2)


def _filters(weight: Array, channels: slice, shape: Shape) -> Array:
    """A beat for each word of channels and tap, the taps as ``tap_order`` says."""
    padded = _slice(weight, channels)[tap_order(len(weight))]
    words = padded.reshape(len(weight), -1, shape.lanes).transpose(1, 0, 2)
    return pack(words.reshape(-1, shape.lanes), shape.filter_bits)


def tap_order(taps: int) -> list[int]:
    """The taps of a square kernel, row by row, in the order of the window unit: from the last one outwards.

    The taps of a small kernel are the first ones of every larger one, so that no tap's place depends on the kernel.
    """
    k = isqrt(taps)
    return sorted(range(taps), key=lambda tap: _from_the_end(k - 1 - tap // k, k - 1 - tap % k))


def _from_the_end(row: int, column: int) -> int:
    """The place in ``tap_order`` of the tap so many rows and columns before the last one: shell by shell."""
    shell = max(row, column)
    return shell * shell + (column if row == shell else shell + 1 + row)
