"""Input types as people write them, a datatype's name with a scale and a zero point, and as QONNX files note them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import inf

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.types import Encoding, InputType, QInt, Quantizer

MAX_INPUT_BITS = 24
"""Integers of more bits are no float32 numbers, which an ONNX network reads."""
MOST_TOLD = 16
"""Scales, one a channel, that a text tells one by one."""
GRAMMAR = "write TYPE, TYPE:SCALE or TYPE:SCALE:ZERO, e.g. int8:0.05, uint12:1/4096, int8:0.05:-3, fixed<16,6>, bipolar"


@dataclass(frozen=True)
class Datatype:
    """Numbers ``integer * step`` with integers of [low, high]; ``bipolar`` ones are -1 and +1 only."""

    low: int
    high: int
    step: Fraction = Fraction(1)
    bipolar: bool = False


_NAMED = {"BIPOLAR": Datatype(-1, 1, bipolar=True), "TERNARY": Datatype(-1, 1), "BINARY": Datatype(0, 1)}


def datatype(name: str) -> Datatype | None:
    """The numbers of the QONNX datatype ``name`` (INT8, UINT12, FIXED<16,6>, BIPOLAR, ...).

    None for floats and for scaled integers, whose scale the name does not tell.
    """
    if name in _NAMED:
        return _NAMED[name]
    found = re.fullmatch(r"(U?)INT([1-9][0-9]?)|FIXED<\s*([1-9][0-9]?)\s*,\s*(-?[0-9]{1,2})\s*>", name)
    if found is None:
        return None
    kind = QInt(int(found[2] or found[3]), not found[1])
    step = Fraction(2) ** (int(found[4]) - kind.bits) if found[4] else Fraction(1)
    return Datatype(kind.min, kind.max, step)


def noted_input(name: str) -> InputType | None:
    """The input type that the QONNX datatype ``name`` stands for; None where it stands for none of up to 24 bits."""
    found = datatype(name)
    if found is None or QInt.holding(found.low, found.high).bits > MAX_INPUT_BITS:
        return None
    return InputType(found.low, found.high, (found.step,), bipolar=found.bipolar)


def parse_scale(text: str) -> Fraction:
    """``"1/255"`` or ``"0.05"``: a scale that float32 can hold, in which networks compute.

    Raises:
        ValueError: it is no number, or none that can be.
    """
    if not all(0 < float(part) < inf for part in text.split("/")):  # fractions of 10**8 digits take minutes
        raise ValueError(text)
    scale, reach = Fraction(text), np.finfo(np.float32)
    if not Fraction(float(reach.tiny)) <= scale <= Fraction(float(reach.max)):
        raise ValueError(text)
    return scale


def parse_input(text: str) -> InputType:
    """``"int8:0.05:-3"`` as the type whose code -3 stands for 0 and whose codes are 0.05 apart; floats are rounded.

    Several scales between commas are those of the channels.

    Raises:
        UserError: no such type, a scale that is no positive number, a zero point that is no integer.
    """
    name, *rest = (part.strip() for part in text.split(":"))
    wrong = UserError(f"'{text}' is no input type", hint=GRAMMAR)
    found = datatype(name.upper())
    if found is None or len(rest) > 2:
        raise wrong
    given = noted_input(name.upper())
    if given is None:
        raise UserError(f"an input of type {name}", hint=f"float32 holds integers of at most {MAX_INPUT_BITS} bits")
    if rest and found.step != 1:
        raise UserError(
            f"'{text}': {name} has its own scale", hint=f"write {name} alone, or int{given.type.bits}:SCALE"
        )
    if len(rest) > 1 and found.bipolar:
        raise UserError(f"'{text}': a zero point of {name}", hint="-1 and +1 have none")
    try:
        scale = tuple(parse_scale(part.strip()) for part in rest[0].split(",")) if rest else given.scale
        zero = int(rest[1]) if len(rest) > 1 else 0
    except ValueError as error:
        raise wrong from error
    if abs(zero) >= 1 << MAX_INPUT_BITS:
        raise wrong
    return replace(given, scale=scale, offset=tuple(-zero * s for s in scale) if zero else given.offset, rounds=True)


def quantizer_of(given: InputType) -> Quantizer:
    """The quantizer that rounds real values to ``given``, whose codes are its integers.

    Raises:
        UserError: it takes an offset that is no zero point of all channels.
    """
    (zero, *more) = set(given.zeros)
    if more or zero.denominator > 1:
        raise UserError("an input type whose channels have zero points of their own")
    scale = tuple(float(np.float32(float(s))) for s in given.scale)
    return Quantizer(scale, int(zero), given.low, given.high, bipolar=given.bipolar)


def input_text(encoding: Encoding) -> str:
    """Describe the host's input and its conversion, in the words of ``parse_input`` as far as they reach."""
    quantizer, text = encoding.quantizer, _type_text(encoding.input)
    if not encoding.integers:
        codes = text if quantizer is None else _quantizer_text(quantizer)
        less = "" if encoding.standard is None else ", less their mean and over their deviation"
        return f"numbers{less}, rounded by the host to {codes}"
    if quantizer is None:
        return text
    if not encoding.outside:
        return f"{text}, quantized by the host"
    return f"{text}, rounded by the host to {_quantizer_text(quantizer)}"


def _quantizer_text(quantizer: Quantizer) -> str:
    scale = tuple(Fraction(f"{s:.7g}") for s in quantizer.unit)
    offset = tuple(-quantizer.zero_point * s for s in scale)
    return _type_text(InputType(quantizer.low, quantizer.high, scale, offset, bipolar=quantizer.bipolar))


def _type_text(given: InputType) -> str:
    name = {(-1, 1): "ternary", (0, 1): "binary"}.get((given.low, given.high), _integers(given.type))
    name = "bipolar" if given.bipolar else name
    text = f"{name}:{_numbers(given.scale)}" if given.scale != (Fraction(1),) else name
    if any(given.zeros):
        (zero, *more) = set(given.zeros)
        whole = not more and zero.denominator == 1
        text = f"{text}:{zero}" if whole else f"{text} + {_numbers(given.offset)}"
    return text


def _numbers(values: tuple[Fraction, ...]) -> str:
    """Return ``values``, one a channel, as text; runs of equal ones are counted where more than `MOST_TOLD`."""
    if len(values) <= MOST_TOLD:
        return ",".join(map(_number, values))
    return ",".join(f"{sum(1 for _ in same)} x {_number(value)}" for value, same in groupby(values))


def _number(value: Fraction) -> str:
    """A fraction of few digits as it is, another one to seven digits."""
    return str(value) if value.denominator <= 1 << 16 else f"{float(value):.7g}"


def _integers(kind: QInt) -> str:
    return f"{'' if kind.signed else 'u'}int{kind.bits}"
