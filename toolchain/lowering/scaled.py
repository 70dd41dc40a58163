"""Real tensors as integers: what lowering knows of each MODEL-level value.

A real value is ``sum_i scale_i[c] * q_i + offset[c]`` of integer values q_i, bent at a knee and clamped to
[floor[c], ceiling[c]]. BatchNorm, biases and constants only change the numbers; a ReLU sets the floor, a leaky one the
bend. Everything is a Fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

from toolchain.ir.channels import shrink
from toolchain.ir.ops.maps import DepthToSpace
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
    """The sum of ``terms`` plus ``offset``, bent, then clamped; all tuples have one entry or one a channel.

    The bend leaves a sum v from the ``knee`` upwards and makes it knee + leak * (v - knee) below; a leak of 1 is none.
    ``view`` is a DepthToSpace that is still to come: everything else is told of the channels in front of it.
    """

    terms: tuple[Term, ...]
    offset: Numbers
    floor: Limits = (None,)
    ceiling: Limits = (None,)
    knee: Numbers = (Fraction(0),)
    leak: Numbers = (Fraction(1),)
    view: DepthToSpace | None = None

    @property
    def bent(self) -> bool:
        """Whether any channel has a bend."""
        return any(leak != 1 for leak in self.leak)

    @property
    def plain(self) -> bool:
        """Whether this is a sum, neither bent nor clamped."""
        return not self.bent and all(v is None for v in (*self.floor, *self.ceiling))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the terms."""
        return self.terms[0].value.shape

    def seen(self, numbers: tuple[T, ...]) -> tuple[T, ...]:
        """``numbers``, one a channel behind the view, as one a channel of the terms."""
        if self.view is None or len(numbers) <= 1:
            return numbers
        return tuple(numbers[self.view.spread(k)] for k in range(self.shape[2]))


class Lane:
    """One channel of a value of one term: exactly ``clamp(bend(slope * q + offset))`` of the integer q."""

    def __init__(self, x: Scaled, channel: int) -> None:
        def entry(values: tuple[T, ...]) -> T:
            return values[channel] if len(values) > 1 else values[0]

        self.slope, self.offset = entry(x.terms[0].scale), entry(x.offset)
        self.floor, self.ceiling = entry(x.floor), entry(x.ceiling)
        self.knee, self.leak = entry(x.knee), entry(x.leak)

    def real(self, q: int) -> Fraction:
        """Return the real value of the integer ``q``."""
        value = self.slope * q + self.offset
        if value < self.knee:
            value = self.knee + self.leak * (value - self.knee)
        value = value if self.floor is None else max(value, self.floor)
        return value if self.ceiling is None else min(value, self.ceiling)


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
    """x * scale + shift; a negative scale swaps floor and ceiling, and which side of the knee is bent."""

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
    moved = Scaled(terms, zipped(lambda a, b: a + b, offset, shift), floor, ceiling, view=x.view)
    if not x.bent:
        return moved
    knee = zipped(lambda k, b: k + b, zipped(lambda k, s: k * s, x.knee, scale), shift)
    moved = replace(moved, knee=knee, leak=x.leak)
    return _swapped(moved, tuple(s < 0 for s in scale)) if any(s < 0 for s in scale) else moved


def _swapped(x: Scaled, where: tuple[bool, ...]) -> Scaled:
    """``x`` bent above the knee in the channels ``where``, written as bent below it.

    The sum is stretched by the leak around the knee, so that the part above is straight; below, 1 / leak undoes it.
    """
    stretch = zipped(lambda k, swap: k if swap else Fraction(1), x.leak, where)
    rest = zipped(lambda knee, s: knee - knee * s, x.knee, stretch)
    terms = tuple(replace(t, scale=zipped(lambda a, b: a * b, t.scale, stretch)) for t in x.terms)
    offset = zipped(lambda a, b: a + b, zipped(lambda o, s: o * s, x.offset, stretch), rest)
    leak = zipped(lambda k, swap: 1 / k if swap else k, x.leak, where)
    return replace(x, terms=terms, offset=offset, leak=leak)


def clamp(x: Scaled, low: Fraction | None, high: Fraction | None) -> Scaled:
    """min(max(x, low), high)."""

    def inside(v: Fraction) -> Fraction:
        v = v if low is None else max(v, low)
        return v if high is None else min(v, high)

    floor = tuple(low if f is None else inside(f) for f in x.floor)
    ceiling = tuple(high if c is None else inside(c) for c in x.ceiling)
    return settle(replace(x, floor=floor, ceiling=ceiling))


def leaky(x: Scaled, slope: Numbers) -> Scaled | None:
    """x where x >= 0, else x * slope, for slopes >= 0; None where ``x`` is already bent."""
    x = settle(x)
    if x.bent:
        return None

    def bend(limits: Limits) -> Limits:
        return zipped(lambda v, s: v if v is None or v >= 0 else v * s, limits, slope)

    zero = Fraction(0)
    floor = zipped(lambda f, s: zero if s == 0 and f is None else f, bend(x.floor), slope)
    leak = tuple(s or Fraction(1) for s in slope)  # a slope of 0 is a floor, not a bend
    return settle(replace(x, floor=floor, ceiling=bend(x.ceiling), knee=(zero,), leak=leak))


def settle(x: Scaled) -> Scaled:
    """Drop a bend, a floor or a ceiling that no input can reach."""
    low, high = x.offset, x.offset
    for term in x.terms:
        low = zipped(lambda o, s, t=term: o + min(s * t.low, s * t.high), low, term.scale)  # type: ignore[misc]
        high = zipped(lambda o, s, t=term: o + max(s * t.low, s * t.high), high, term.scale)  # type: ignore[misc]
    leak = x.leak
    if x.bent:
        reached = zipped(lambda v, k: v < k, low, x.knee)
        leak = zipped(lambda s, r: s if r else Fraction(1), x.leak, reached)
        bends = zipped(lambda k, s: (k, s), x.knee, leak)
        low, high = (
            zipped(lambda v, b: v if v >= b[0] else b[0] + b[1] * (v - b[0]), ends, bends) for ends in (low, high)
        )
    floor = zipped(lambda f, v: None if f is None or f <= v else f, x.floor, low)
    ceiling = zipped(lambda c, v: None if c is None or c >= v else c, x.ceiling, high)
    return replace(x, floor=shrink(floor), ceiling=shrink(ceiling), leak=shrink(leak))
