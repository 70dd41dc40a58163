"""The metadata of an ONNX file: its input, its classes, and the data that it was trained on."""

from __future__ import annotations

import json
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.layout import Layout
from toolchain.frontend.onnx_file import OnnxFile
from toolchain.ir.encode import input_quantizer
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import noted_input, parse_input, quantizer_of
from toolchain.ir.types import Encoding, InputType, Standardization

INPUT, CLASSES, DATA, READING = "fpgaflow.input", "fpgaflow.classes", "fpgaflow.data", "fpgaflow.reading"
"""Names of the entries."""


def encoding_of(file: OnnxFile, layout: Layout, graph: Graph) -> Encoding | None:
    """Return the encoding of the input of ``graph`` by the file's metadata, or by the datatype noted beside the input.

    Raises:
        UserError: the metadata entry is malformed.
    """
    text = file.metadata.get(INPUT)
    if text is None:
        given = noted_input(file.datatypes.get(file.input, ""))
        return None if given is None else Encoding(given)
    try:
        found = _encoding(json.loads(text), graph)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, UserError):
        found = None
    if found is None or not fits(found, layout.shape[2]):
        raise UserError(
            f"the metadata entry {INPUT} is malformed: {text[:80]}",
            where=file.path.name,
            hint='write {"pixel": {"scale": ["1/255"], "offset": ["0"]}}, one entry or one a channel, '
            'or {"type": "int8:0.05"}, with {"standard": {"mean": [0.1], "deviation": [2.5]}} for numbers as measured',
        )
    return found


def _encoding(entry: Any, graph: Graph) -> Encoding | None:
    """Read the parsed ``entry``; None where nothing rounds the numbers that it standardizes."""
    given = parse_input(entry["type"]) if "type" in entry else None
    if "pixel" in entry:
        scale, offset = (tuple(Fraction(number) for number in entry["pixel"][key]) for key in ("scale", "offset"))
        pixel = InputType(0, 255, scale, offset)
        return Encoding(pixel) if given is None else Encoding(pixel, quantizer_of(given), outside=True)
    standard, own = None, input_quantizer(graph)
    if "standard" in entry:
        rows = (tuple(float(np.float32(number)) for number in entry["standard"][key]) for key in ("mean", "deviation"))
        standard = Standardization(*rows)
    if given is None and standard is not None and own is not None:
        given = InputType.codes_of(own)
    return None if given is None else Encoding(given, standard=standard, integers=standard is None)


def fits(found: Encoding, channels: int) -> bool:
    """Return whether everything that ``found`` has a channel has one entry or as many as there are ``channels``.

    Scales and deviations are above 0, and means and deviations are numbers.
    """
    given, standard = found.input, found.standard
    rows: list[tuple[Any, ...]] = [given.scale, given.offset]
    if standard is not None:
        rows += [standard.mean, standard.deviation]
        if not all(map(isfinite, standard.mean + standard.deviation)) or not min(standard.deviation, default=0.0) > 0:
            return False
    return all(len(row) in (1, channels) for row in rows) and min(given.scale) > 0


def classes_of(file: OnnxFile) -> tuple[str, ...]:
    """The names of the classes, in the order of the outputs; empty where the file names none.

    Raises:
        UserError: the metadata entry is malformed.
    """
    text = file.metadata.get(CLASSES)
    found = _json(text) if text is not None else []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise UserError(
            f"the metadata entry {CLASSES} is malformed: {str(text)[:80]}",
            where=file.path.name,
            hint='write a list of names that differ, e.g. ["cat", "dog"]',
        )
    return tuple(found)


def reading_of(file: OnnxFile) -> dict[str, Any]:
    """Return how the data set named by the file is read; empty where that is as usual or not said in a known way."""
    found = _json(file.metadata.get(READING, "{}"))
    return found if isinstance(found, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
