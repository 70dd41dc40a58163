"""Facts for the generated host code: how numbers become codes of the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from toolchain.hls_templates.literals import array_text, declaration, float_literal
from toolchain.ir.encode import host_rule, pixel_codes
from toolchain.ir.graph import Graph
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array, Encoding
from toolchain.units.call import among, table_type

ROUNDING = {
    Rounding.ROUND: "RoundHalfEven",
    Rounding.FLOOR: "RoundDown",
    Rounding.CEIL: "RoundUp",
    Rounding.UP: "RoundFromZero",
    Rounding.DOWN: "RoundToZero",
    Rounding.HALF_UP: "RoundHalfFromZero",
    Rounding.HALF_DOWN: "RoundHalfToZero",
}
"""The class of ``host.hpp`` for each QONNX rounding mode."""


def host_facts(graph: Graph) -> Mapping[str, Any]:
    """Return the context of ``encode.hpp.j2`` for the input of ``graph``."""
    encoding = _encoding(graph)
    scale, zero = _numbers(encoding)
    rule, pixels = host_rule(encoding), pixel_codes(encoding) if _takes_pixels(encoding) else None
    height, width, channels = graph.given_shape
    return {
        "positions": height * width,
        "channels": channels,
        "padded": graph.input.shape[2],
        "given": encoding.input,
        "coded": encoding.coded,
        "unit": float_literal(float(encoding.input.scale[0])),
        "standard": None if encoding.standard is None else len(encoding.standard.mean),
        "classes": [_quoted(name) for name in graph.classes],
        "scale": scale,
        "zero": zero,
        "low": declaration(among(rule.low, rule.high), "low", "host"),
        "high": declaration(among(rule.high, rule.low), "high", "host"),
        "rounding": ROUNDING[rule.rounding],
        "bipolar": rule.bipolar,
        "signs_as_bits": encoding.signs_as_bits,
        "pixel_codes": pixels,
        "pixel_type": None if pixels is None else table_type(pixels),
    }


def host_files(graph: Graph) -> dict[str, str]:
    """The tables that ``encode.hpp`` includes, by path."""
    encoding = _encoding(graph)
    numbers: dict[str, Iterable[float]] = dict(zip(("scale", "zero"), _numbers(encoding), strict=True))
    if encoding.standard is not None:
        numbers |= {"mean": encoding.standard.mean, "deviation": encoding.standard.deviation}
    tables = {f"host/{name}.inc": "".join(f"{float_literal(float(v))},\n" for v in numbers[name]) for name in numbers}
    if _takes_pixels(encoding):
        table = pixel_codes(encoding)
        tables["host/pixel_codes.inc"] = array_text(table, table_type(table), "the code of a pixel")
    return tables


def _takes_pixels(encoding: Encoding) -> bool:
    """Return whether the host may be given unsigned bytes."""
    return encoding.input.is_pixel and encoding.integers


def _quoted(name: str) -> str:
    """A C string literal of ``name``: what is no plain letter, digit or mark is written as its UTF-8 bytes."""
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?%' else f"\\{b:03o}" for b in name.encode())
    return f'"{plain}"'


def _encoding(graph: Graph) -> Encoding:
    if graph.encoding is None:
        raise ValueError(f"graph '{graph.name}' has no encoding")
    return graph.encoding


def _numbers(encoding: Encoding) -> tuple[Array, Array]:
    """Scale and zero, one entry a channel each or one for all."""
    rule = host_rule(encoding)
    scale, zero = np.broadcast_arrays(rule.scale, rule.zero)
    return scale, zero
