"""A quantizer in scaled integers: the staircase from what it reads to its codes, and the real value of these."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from toolchain.ir.types import Quantizer
from toolchain.lowering.requantize import Requantizer, code_of
from toolchain.lowering.scaled import Numbers, Scaled, Term, fractions, zipped


def value_of(quantizer: Quantizer, codes: Term) -> Scaled:
    """Return what ``codes`` of ``quantizer`` stand for: (code - zero point) * unit."""
    unit = fractions(quantizer.unit)
    offset = tuple(-s * quantizer.zero_point for s in unit)
    return Scaled((replace(codes, scale=unit),), offset)


def make_requantizer(quantizer: Quantizer, scale: Numbers, x: Scaled) -> Requantizer:
    """Return the staircase from the integer q of ``x = scale * q + offset``, clamped, to the quantizer's code."""
    step = fractions(quantizer.scale)
    zero = Fraction(quantizer.zero_point)
    slope = zipped(lambda s, t: s / t, scale, step)
    offset = zipped(lambda o, t: o / t + zero, x.offset, step)
    floor = zipped(lambda f, t: None if f is None else f / t + zero, x.floor, step)
    ceiling = zipped(lambda c, t: None if c is None else c / t + zero, x.ceiling, step)
    bends: tuple[tuple[Fraction, Fraction], ...] = ()
    if x.bent:
        bends = zipped(lambda k, leak: (k, leak), zipped(lambda k, t: k / t + zero, x.knee, step), x.leak)
    size = max(len(slope), len(offset), len(floor), len(ceiling), len(bends))
    slope, offset = (v if len(v) == size else v * size for v in (slope, offset))
    bends = bends * size if len(bends) == 1 else bends
    floor, ceiling = (v if len(v) == size else v * size for v in (floor, ceiling))

    def code(limit: Fraction | None, default: int) -> int:
        if limit is None:
            return default
        if quantizer.bipolar:
            return 1 if limit >= 0 else -1
        return code_of(*limit.as_integer_ratio(), quantizer.low, quantizer.high, quantizer.rounding)

    floors = tuple(code(f, quantizer.low) for f in floor)
    ceilings = tuple(code(c, quantizer.high) for c in ceiling)
    low, high = (quantizer.low, quantizer.high) if quantizer.bipolar else (min(floors), max(ceilings))
    return Requantizer(slope, offset, low, high, quantizer.rounding, quantizer.bipolar, floors, ceilings, bends)
