"""The HLS project of an engine: static headers, its shape, and the top function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolchain.engine.cost import FIFO_WORDS, SHORT_FIFO_WORDS, in_uram, merge_on_dsp
from toolchain.engine.layout import MEMBERS, layout, structs
from toolchain.engine.shape import BANKS, TABLE_BEATS, Shape
from toolchain.hls_templates.render import headers, render
from toolchain.ir.types import QInt
from toolchain.units.fabric import (
    TapPacking,
    lane_bits,
    packing,
    product_range,
    product_type,
    word_type,
)

TOP = "engine_top"

_WORD, _CODES, _SUMS, _GROUP = "ap_uint<128>", "engine::Codes<S>", "engine::Sums<S>", "engine::Group<S>"
_STREAMS = (
    ("conv_weights", _WORD, FIFO_WORDS),
    ("first_constants", _WORD, FIFO_WORDS),
    ("filters", _WORD, FIFO_WORDS),
    ("second_constants", _WORD, FIFO_WORDS),
    *((f"source_{bank}", _GROUP, SHORT_FIFO_WORDS) for bank in range(BANKS)),
    *((f"other_{bank}", _CODES, SHORT_FIFO_WORDS) for bank in range(BANKS)),
    ("input", _GROUP, FIFO_WORDS),
    ("sums", _SUMS, 4),
    ("codes", _CODES, FIFO_WORDS),
    ("window_sums", "engine::WindowSums<S>", 4),
    ("window_codes", _CODES, FIFO_WORDS),
    ("other", _CODES, FIFO_WORDS),
    ("output", _CODES, FIFO_WORDS),
)
"""Name, type and depth of every stream; the ports' buffers hide the starts of bursts."""


@dataclass(frozen=True)
class _Stream:
    name: str
    type: str
    depth: int


@dataclass(frozen=True)
class _Part:
    """The dot products of some outputs, as ``chain.hpp`` or ``packing.hpp`` want them described."""

    name: str
    outputs: int
    depth: int
    products_per_dsp: int
    weight: QInt
    chain: TapPacking | None = None
    offsets: tuple[int, ...] = ()
    lane_bits: int = 0
    word: QInt | None = None
    wide: QInt | None = None


def generate(shape: Shape, memory_beats: int) -> dict[str, str]:
    """Files of the project by path; ``memory_beats``: the largest memory image a test bench gives it."""
    code, weight = shape.code, shape.weight
    top = {
        "top": TOP,
        "depth": memory_beats,
        "streams": [_Stream(*s) for s in _STREAMS],
        "members": MEMBERS,
        "shape": shape,
        "ultra": in_uram(shape),
    }
    variables: dict[str, Any] = {
        "shape": shape,
        "structs": structs(shape),
        "members": MEMBERS,
        "layout": layout(shape),
        "table_beats": TABLE_BEATS,
        "constants": _constants(shape),
        "parts": (_main(shape), _extra(shape)),
        "code": code,
        "sum": QInt(shape.sum_bits, True),
        "window_sum": QInt(shape.window_sum_bits, True),
        "filter": QInt(shape.filter_bits, True),
        "product": product_type(weight, code),
    }
    return {
        **headers("fpgaflow"),
        **headers("fpgaflow/engine"),
        "src/fields.hpp": render("engine_fields.hpp", variables),
        "src/shape.hpp": render("engine_shape.hpp", variables),
        "src/top.hpp": render("engine_top.hpp", top),
        "src/top.cpp": render("engine_top.cpp", top),
    }


def _constants(shape: Shape) -> dict[str, int]:
    names = (
        *(
            "lanes",
            "in_blocks",
            "out_blocks",
            "inputs",
            "outputs",
            "act_bits",
            "weight_bits",
            "stored_bits",
            "filter_bits",
            "sum_bits",
            "window_sum_bits",
            "merge_bits",
            "merge_add_bits",
            "mul_shift",
        ),
        *("mul_bits", "add_bits", "entry_bits", "main_outputs", "extra_outputs", "row_words", "tile_depth"),
        *("line_words", "channel_words", "bank_words", "small_words", "kernel", "taps", "shift", "merge_shift"),
        "filter_dsp_lanes",
    )
    found = {name: int(getattr(shape, name)) for name in names} | {"largest_code": shape.code.max}
    kinds = {name: int(getattr(shape, name)) for name in ("filters", "pools", "repeats", "bends", "curves", "products")}
    return found | kinds | {"merge_dsp": int(merge_on_dsp(shape))}


def _main(shape: Shape) -> _Part:
    code, weight, count, depth = shape.code, shape.weight, shape.products_per_dsp, 2 * shape.tile_depth
    stored = QInt(shape.stored_bits, True)
    if shape.chain is not None or count <= 1:
        return _Part("main", shape.main_outputs, depth, count, stored, shape.chain)
    offsets = packing(weight, code)[count]
    word = word_type((weight.min, weight.max), offsets)
    wide = word_type(product_range(weight, code), offsets)
    return _Part("main", shape.main_outputs, depth, count, stored, None, offsets, lane_bits(weight, code), word, wide)


def _extra(shape: Shape) -> _Part:
    """The outputs in LUTs; without any, an unused one that C++ needs a size for."""
    depth = 2 * shape.tile_depth if shape.extra_outputs else 1
    return _Part("extra", max(shape.extra_outputs, 1), depth, 0, shape.weight)
