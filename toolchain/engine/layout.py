"""The layout of the pass table: what each unit is told of a pass, every number in as many bits as it needs.

A process gets a struct of its own by value: no two share a variable. Products of a pass's numbers stand in the table or
are counted up on the way: the engine neither multiplies nor divides by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from toolchain.engine.shape import BEAT_BITS, TABLE_BEATS, Shape
from toolchain.errors import FlowError, UserError
from toolchain.ir.types import Array, QInt

ADDRESS_BITS = 28
"""Bits of the address of a beat in memory: 4 GiB."""

COUNT_BITS = 28
"""Bits of a number of iterations: a second at 250 MHz."""

SIZE_BITS = 16
"""Bits of the rows or columns of a map."""

WORD_BITS = 12
"""Bits of the number of words of channels at a position."""

KERNEL_BITS = 8
"""Bits of the rows, columns, strides and dilations of a kernel."""


def _unsigned(**bits: int) -> dict[str, QInt]:
    return {name: QInt(n, False) for name, n in bits.items()}


def _signed(**bits: int) -> dict[str, QInt]:
    return {name: QInt(n, True) for name, n in bits.items()}


def _walk(count: int, at: int) -> dict[str, QInt]:
    """Words of a map tile by tile: of every position ``words``, then a ``jump`` to the next one."""
    return _unsigned(
        tiles=WORD_BITS, count=count, last_count=count, words=WORD_BITS, last_words=WORD_BITS, jump=WORD_BITS,
        last_jump=WORD_BITS, tile_step=at,
    )  # fmt: skip


@cache
def structs(shape: Shape) -> Mapping[str, Mapping[str, QInt]]:
    """The fields of every struct of the table, by the struct's name, with the types of their numbers."""
    address, count, size, words, kernel = ADDRESS_BITS, COUNT_BITS, SIZE_BITS, WORD_BITS, KERNEL_BITS
    code, packed = shape.act_bits, shape.packed.bit_length() - 1
    bank, row = shape.bank_words.bit_length(), shape.row_words.bit_length()
    fold = max(shape.tile_depth, shape.out_blocks).bit_length()
    constants = (shape.channel_words * max(shape.bent_beats, shape.kernel**2)).bit_length()
    taps, curve = (shape.kernel**2).bit_length(), shape.curve_beats.bit_length()
    tiles = _unsigned(tiles=words)
    next_weights = _unsigned(tile_beats=count, last_beats=count, next_beats=count)
    return {
        "Load": tiles | _unsigned(constants=address, weights=address, next_weights=address) | next_weights
        | _unsigned(first=constants, filters=constants, second=constants)
        | _unsigned(last_first=constants, last_filters=constants, last_second=constants)
        | (_unsigned(first_curve=curve, second_curve=curve) if shape.curves else {}),
        "Serve": _unsigned(residual=1) | _walk(bank, bank),
        "Source": _unsigned(in_memory=1, bank=2, address=address, turns=words, groups=count)
        | (_unsigned(span=count, columns=size, row_copies=kernel, column_copies=kernel) if shape.repeats else {}),
        "Convolve": tiles | next_weights
        | _unsigned(bypass=1, half=1, resident=1, groups=words, last_groups=words, words=words, last_words=words)
        | _unsigned(fold=fold, steps=fold, head=count)
        | _unsigned(row_step=count, first_row_step=count, last_row_step=count)
        | _unsigned(busy=count, first_busy=count, last_busy=count)
        | _unsigned(rows=size, columns=size, row_words=words, first_rows=size)
        | _unsigned(out_rows=size, out_columns=size, blocks=words, pad=code)
        | _unsigned(kernel_rows=kernel, kernel_columns=kernel, stride_rows=kernel, stride_columns=kernel)
        | _unsigned(dilation_rows=kernel, dilation_columns=kernel)
        | _signed(reach=size + 2, first_row=size + 1, first_column=size + 1, first_offset=row + 2)
        | _unsigned(buffer_words=row, first_row_at=row, output_row_step=row, kernel_row_step=row)
        | _unsigned(output_column_step=row, kernel_column_step=row),
        "Requantize": tiles | _unsigned(identity=1, raw=1, count=count, last_count=count)
        | _unsigned(words=words, last_words=words, lowest=code, highest=code)
        | (_unsigned(bent=1) if shape.bends else {}) | (_unsigned(curved=1) if shape.curves else {}),
        "Window": tiles | _unsigned(mode=3, count=count, last_count=count, words=words, last_words=words)
        | _unsigned(positions=count, taps=taps, steps=taps, rows=size, columns=size, width=size)
        | _signed(first_row=size + 1, first_column=size + 1, first_row_phase=kernel + 1)
        | _signed(first_column_phase=kernel + 1)
        | _unsigned(stride_rows=kernel, stride_columns=kernel, pad=code),
        "Residual": _unsigned(in_memory=1, bank=2, address=address) | _walk(count, address + packed)
        | (_unsigned(once=1) if shape.products else {}),
        "Merge": _unsigned(merges=1, count=count, lowest=code, highest=code)
        | _signed(main=shape.merge_bits, other=shape.merge_bits, add=shape.merge_add_bits)
        | (_unsigned(multiplies=1, own_zero=code, other_zero=code) if shape.products else {}),
        "Result": _unsigned(in_memory=1, bank=2, address=address) | _walk(count, address + packed),
    }  # fmt: skip


MEMBERS = {
    "load": "Load", "serve_0": "Serve", "serve_1": "Serve", "serve_2": "Serve", "source": "Source",
    "convolve": "Convolve", "first": "Requantize", "window": "Window", "second": "Requantize",
    "residual": "Residual", "merge": "Merge", "result": "Result",
}  # fmt: skip
"""The members of an entry, one a process, and their structs."""


@dataclass(frozen=True)
class Place:
    """The place of a field in an entry: its beat and its lowest bit there. No field lies across two beats."""

    member: str
    name: str
    type: QInt
    beat: int
    low: int


@cache
def layout(shape: Shape) -> tuple[Place, ...]:
    """The fields of an entry, wide ones first: each in the first beat that has room."""
    fields = [(m, n, t) for m, struct in MEMBERS.items() for n, t in structs(shape)[struct].items()]
    used = [0] * TABLE_BEATS
    found = []
    for member, name, kind in sorted(fields, key=lambda field: -field[2].bits):
        beat = next((b for b in range(TABLE_BEATS) if used[b] + kind.bits <= BEAT_BITS), None)
        if beat is None:
            raise FlowError(f"an entry of the pass table takes more than {TABLE_BEATS} beats")
        found.append(Place(member, name, kind, beat, used[beat]))
        used[beat] += kind.bits
    return tuple(found)


Facts = Mapping[str, Mapping[str, int]]
"""The numbers of an entry by member and field; fields that are missing are zero."""


def table_entry(facts: Facts, shape: Shape, where: str) -> Array:
    """The entry (beats, 2) of a pass named ``where``.

    Raises:
        UserError: a number is too large for its field.
    """
    entry = [0] * TABLE_BEATS
    unknown = {(m, n) for m, fields in facts.items() for n in fields} - {(p.member, p.name) for p in layout(shape)}
    if unknown:
        raise ValueError(f"no fields {sorted(unknown)}")
    for place in layout(shape):
        value = facts.get(place.member, {}).get(place.name, 0)
        if not place.type.min <= value <= place.type.max:
            raise UserError(
                f"the engine cannot run it: {place.member}.{place.name} is {value}, "
                f"the pass table holds {place.type.bits} bits",
                where=where,
            )
        entry[place.beat] |= (value & ((1 << place.type.bits) - 1)) << place.low
    mask = (1 << 64) - 1
    return np.array([(beat & mask, beat >> 64) for beat in entry], dtype=np.uint64)
