"""The pass table: what every unit does in a pass, from its schedule and the places of its maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.engine.layers import Requant, half
from toolchain.engine.layout import Facts
from toolchain.engine.schedule import Placement, Places, TiledPass
from toolchain.engine.shape import MODES


@dataclass(frozen=True)
class Addresses:
    """First beats of what a pass reads and writes in memory; maps on the chip have none.

    ``weights`` are those of its second tile, ``next_weights`` those of the next pass's first one.
    """

    constants: int
    weights: int
    next_weights: int
    maps: Mapping[str, int]


def null_facts(first_beats: int, address: int) -> Facts:
    """A pass over nothing that loads the first weights: ``first_beats`` beats from ``address`` on."""
    one = {"tiles": 1}
    return {
        "load": one | {"next_beats": first_beats, "next_weights": address},
        "convolve": one | {"bypass": 1, "half": 1, "next_beats": first_beats},
    }


def pass_facts(s: TiledPass, following: int, first_tile: int, placement: Placement, at: Addresses) -> Facts:
    """The entry of a pass; ``following``: weight words of the next pass's first tile.

    Args:
        first_tile: tiles of all passes before, whose weights fill the halves of their memory in turn.
    """
    places = Places.of(s.p, placement)
    residual = s.p.merge.residual if s.p.merge is not None else None
    written = _walk(s, s.turns, s.words_stored)
    facts: dict[str, dict[str, int]] = {
        "load": _load(s, following, at),
        "source": _place(s.p.source, placement, at) | {"turns": s.reads, "groups": s.source_groups} | _repeat(s),
        "convolve": _convolve(s, following) | {"half": first_tile % 2},
        "first": _requantize(s, s.p.first, s.middle_positions * s.turns),
        "window": _window(s),
        "second": _requantize(s, s.p.second, s.positions * s.turns) | {"raw": 0},
        "merge": _merge(s),
        "result": _place(s.p.stored, placement, at, s.slot_beats) | written,
    }
    if not places.source:
        served = {
            "tiles": s.reads,
            "count": s.source_groups,
            "last_count": s.source_groups,
            "words": 1,
            "last_words": 1,
        }
        jump = s.shape.packed
        facts[f"serve_{placement[s.p.source]}"] = served | {"jump": jump, "last_jump": jump}
    if residual is not None:
        once = s.p.merge is not None and s.p.merge.once
        walk = _walk(s, 1, s.words_out)
        facts["residual"] = _place(residual, placement, at) | walk | ({"once": 1} if once else {})
        if not places.residual:
            served = _walk(s, 1, s.words_out, positions=1) if once else walk
            facts[f"serve_{placement[residual]}"] = served | {"residual": 1}
    return facts


def _place(name: str, placement: Placement, at: Addresses, beats: int = 0) -> dict[str, int]:
    """Return the fields that locate a map: its bank, or its address in memory plus ``beats``."""
    bank = placement.get(name)
    return {"in_memory": 1, "address": at.maps[name] + beats} if bank is None else {"bank": bank}


def _repeat(s: TiledPass) -> dict[str, int]:
    """Return the fields for reading the source's positions repeatedly; none where the engine cannot."""
    if not s.shape.repeats:
        return {}
    if s.p.repeat == (1, 1):
        return {"span": s.source_groups, "columns": 1, "row_copies": 1, "column_copies": 1}
    copies = dict(zip(("row_copies", "column_copies"), s.p.repeat, strict=True))
    return {"span": s.words_in // s.shape.packed, "columns": s.p.held[1], **copies}


def _walk(s: TiledPass, turns: int, stored: int, positions: int | None = None) -> dict[str, int]:
    """The words of the result tile by tile, ``turns`` words of codes each, in a map of ``stored`` words a position.

    ``positions``: of the map; those of the result where it is None.
    """
    words, last, out = s.tile_words * turns, s.words_of(s.tiles - 1) * turns, stored * turns
    positions = s.positions if positions is None else positions
    return {
        "tiles": s.tiles,
        "count": positions * words,
        "last_count": positions * last,
        "words": words,
        "last_words": last,
        "jump": out - words + 1,
        "last_jump": out - last + 1,
        "tile_step": words,
    }


def _next_weights(s: TiledPass, following: int) -> dict[str, int]:
    """Beats of weights that come in during a tile: those of the tile after it."""
    return {
        "tile_beats": s.weight_words(0) * s.shape.weight_beats,
        "last_beats": s.weight_words(s.tiles - 1) * s.shape.weight_beats,
        "next_beats": following * s.shape.weight_beats,
    }


def _load(s: TiledPass, following: int, at: Addresses) -> dict[str, int]:
    names = ("first", "filters", "second")
    last = zip((f"last_{name}" for name in names), s.constant_beats(s.tiles - 1), strict=True)
    return {
        "tiles": s.tiles,
        "constants": at.constants,
        "weights": at.weights,
        "next_weights": at.next_weights,
        **dict(zip(names, s.constant_beats(0), strict=True)),
        **dict(last),
        **{f"{name}_curve": beats for name, beats in s.curve_beats.items()},
        **_next_weights(s, following),
    }


def _convolve(s: TiledPass, following: int) -> dict[str, int]:
    facts = {"tiles": s.tiles, "bypass": int(s.p.conv is None), **_next_weights(s, following)}
    first, middle, last = s.tile_kinds
    facts |= {"first_busy": first.busy, "busy": middle.busy, "last_busy": last.busy}
    conv = s.p.conv
    if conv is None:
        return facts
    top, left, *_ = conv.pads
    row = s.p.shape[1] * s.blocks
    kernel, stride, dilation = conv.kernel, conv.stride, conv.dilation
    return facts | {
        "resident": int(s.resident),
        "groups": s.groups_of(0),
        "last_groups": s.groups_of(s.tiles - 1),
        "words": s.tile_words,
        "last_words": s.words_of(s.tiles - 1),
        "fold": s.fold,
        "steps": s.steps,
        "head": s.head_cycles,
        "first_row_step": first.row,
        "row_step": middle.row,
        "last_row_step": last.row,
        "rows": s.p.shape[0],
        "columns": s.p.shape[1],
        "row_words": s.words_in,
        "first_rows": s.first_rows,
        "reach": stride[0] - top + conv.span,
        "out_rows": s.p.middle[0],
        "out_columns": s.p.middle[1],
        "blocks": s.blocks,
        "pad": conv.pad_code,
        "kernel_rows": kernel[0],
        "kernel_columns": kernel[1],
        "stride_rows": stride[0],
        "stride_columns": stride[1],
        "dilation_rows": dilation[0],
        "dilation_columns": dilation[1],
        "first_row": -top,
        "first_column": -left,
        "first_offset": -left * s.blocks,
        "buffer_words": s.slots * row,
        "first_row_at": -top % s.slots * row,
        "output_row_step": stride[0] % s.slots * row,
        "kernel_row_step": dilation[0] % s.slots * row,
        "output_column_step": stride[1] * s.blocks,
        "kernel_column_step": (dilation[1] - 1) * s.blocks + 1,
    }


def _window(s: TiledPass) -> dict[str, int]:
    window, last = s.p.window, s.tiles - 1
    facts = {
        "tiles": s.tiles,
        "words": s.tile_words,
        "last_words": s.words_of(last),
        "count": s.window_cycles(s.tile_words),
        "last_count": s.window_cycles(s.words_of(last)),
    }
    if window is None:
        return facts
    top, left, _, right = window.pads
    return facts | {
        "mode": MODES.index(window.mode),
        "positions": s.middle_positions,
        "taps": window.kernel**2,
        "steps": s.tap_steps,
        "rows": s.p.middle[0],
        "columns": s.p.middle[1],
        "width": s.p.middle[1] + left + right,
        "first_row": -top,
        "first_column": -left,
        "first_row_phase": 1 - window.kernel,
        "first_column_phase": 1 - window.kernel,
        "stride_rows": window.stride,
        "stride_columns": window.stride,
        "pad": window.pad_code,
    }


def _requantize(s: TiledPass, requant: Requant | None, positions: int) -> dict[str, int]:
    last = s.words_of(s.tiles - 1)
    facts = {
        "tiles": s.tiles,
        "raw": int(s.p.raw),
        "count": positions * s.tile_words,
        "last_count": positions * last,
        "words": s.tile_words,
        "last_words": last,
    }
    if requant is None:
        return facts | {"identity": 1}
    bent = {"bent": 1} if requant.below is not None else {}
    curved = {"curved": 1} if requant.curve is not None else {}
    return facts | bent | curved | {"lowest": requant.low, "highest": requant.high}


def _merge(s: TiledPass) -> dict[str, int]:
    facts, merge = {"count": s.positions * s.words_out * s.turns}, s.p.merge
    if merge is None:
        return facts
    raised = s.shape.merge_shift - merge.shift
    if merge.zeros is not None:
        facts |= {"multiplies": 1, "own_zero": merge.zeros[0], "other_zero": merge.zeros[1]}
    return facts | {
        "merges": 1,
        "main": merge.main << raised,
        "other": merge.other << raised,
        "add": (merge.add << raised) + half(s.shape.merge_shift),
        "lowest": merge.low,
        "highest": merge.high,
    }
