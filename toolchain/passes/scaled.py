"""Real tensors as integers: what lowering knows of each MODEL-level value.

A real value is ``sum_i scale_i[c] * q_i + offset[c]`` of integer values q_i, clamped to [floor[c], ceiling[c]].
BatchNorm, biases and constants only change the numbers; a ReLU sets the floor. Everything is a Fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

from toolchain.ir.types import Value

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
Numbers = tuple[Fraction, ...]
Limits = tuple[Fraction | None, ...]


@dataclass(frozen=True)
class Term:
    """``scale * value``: one scale, or one a channel; ``low`` and ``high`` bound the integer."""

    value: Value
    scale: Numbers
    low: int
    high: int


@dataclass(frozen=True)
class Scaled:
    """The sum of ``terms`` plus ``offset``, clamped; all tuples have one entry or one a channel."""

    terms: tuple[Term, ...]
    offset: Numbers
    floor: Limits = (None,)
    ceiling: Limits = (None,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.terms[0].value.shape


def zipped(function: Callable[[T, U], V], a: Sequence[T], b: Sequence[U]) -> tuple[V, ...]:
    """``function`` over two sequences, a sequence of one entry standing for all channels."""
    size = max(len(a), len(b))
    long_a = a if len(a) == size else [a[0]] * size
    long_b = b if len(b) == size else [b[0]] * size
    return tuple(function(x, y) for x, y in zip(long_a, long_b, strict=True))


def fractions(values: Iterable[float]) -> Numbers:
    """The exact values of floats."""
    return tuple(Fraction(float(v)) for v in values)


def affine(x: Scaled, scale: Numbers, shift: Numbers) -> Scaled:
    """x * scale + shift; a negative scale swaps floor and ceiling."""

    def bound(limits: Limits) -> Limits:
        scaled = zipped(lambda v, s: None if v is None else v * s, limits, scale)
        return zipped(lambda v, s: None if v is None else v + s, scaled, shift)

    terms = tuple(replace(t, scale=zipped(lambda a, b: a * b, t.scale, scale)) for t in x.terms)
    floor, ceiling = bound(x.floor), bound(x.ceiling)
    if any(s < 0 for s in scale):
        sides = zipped(lambda f, c: (f, c), floor, ceiling)
        sides = zipped(lambda pair, s: pair[::-1] if s < 0 else pair, sides, scale)
        floor, ceiling = tuple(f for f, _ in sides), tuple(c for _, c in sides)
    offset = zipped(lambda o, s: o * s, x.offset, scale)
    return Scaled(terms, zipped(lambda a, b: a + b, offset, shift), floor, ceiling)


def relu(x: Scaled) -> Scaled:
    """max(x, 0)."""
    zero = Fraction(0)
    floor = tuple(zero if f is None else max(f, zero) for f in x.floor)
    return settle(replace(x, floor=floor, ceiling=tuple(c if c is None else max(c, zero) for c in x.ceiling)))


def settle(x: Scaled) -> Scaled:
    """Drop a floor or ceiling that no input can reach."""
    low, high = x.offset, x.offset
    for term in x.terms:
        low = zipped(lambda o, s, t=term: o + min(s * t.low, s * t.high), low, term.scale)  # type: ignore[misc]
        high = zipped(lambda o, s, t=term: o + max(s * t.low, s * t.high), high, term.scale)  # type: ignore[misc]
    floor = zipped(lambda f, v: None if f is None or f <= v else f, x.floor, low)
    ceiling = zipped(lambda c, v: None if c is None or c >= v else c, x.ceiling, high)
    return replace(x, floor=shrink(floor), ceiling=shrink(ceiling))


def shrink(values: tuple[T, ...]) -> tuple[T, ...]:
    """One entry where all channels agree."""
    return values[:1] if len(set(values)) == 1 else values
