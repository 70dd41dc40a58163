"""The resources that a piece of hardware takes from the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from math import ceil


@dataclass(frozen=True, slots=True)
class Resources:
    """Counts of six-input LUTs, flip-flops, DSP48E2 slices, 18 kbit block RAMs and UltraRAMs, iterated so."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0

    def __iter__(self) -> Iterator[int]:
        return iter((self.lut, self.ff, self.dsp, self.bram18, self.uram))

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram18 + other.bram18,
            self.uram + other.uram,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(*(a - b for a, b in zip(self, other, strict=True)))

    def __mul__(self, count: int) -> Resources:
        return Resources(*(a * count for a in self))

    def fits(self, budget: Resources) -> bool:
        """Return whether no resource exceeds the budget."""
        return all(a <= b for a, b in zip(self, budget, strict=True))

    def at_least(self, floor: int) -> Resources:
        """Every count raised to ``floor`` where it is below."""
        return Resources(*(max(a, floor) for a in self))

    def share(self, budget: Resources) -> float:
        """Sum over the resources of used / budget; a resource without a budget counts by itself."""
        return sum(a / max(b, 1) for a, b in zip(self, budget, strict=True))

    def scarcest(self, budget: Resources) -> float:
        """The largest used / budget; a resource without a budget counts by itself."""
        return max(a / max(b, 1) for a, b in zip(self, budget, strict=True))

    def scaled(self, factor: float) -> Resources:
        """Return every count times ``factor``, rounded down as by ``whole``."""
        return Resources(*(whole(a * factor) for a in self))


def whole(count: float) -> int:
    """``count`` rounded down; a whole number that a product or quotient of floats misses by rounding is that number."""
    return int(count + 1e-6)


LUT_PER_BRAM18 = 163
"""LUTs that a block RAM is worth where the two are compared: a ZU3EG has 70,560 and 432 (AMD DS891)."""

DSP_WIDE, DSP_NARROW = 27, 18
"""Signed operands of a DSP48E2's multiplier (AMD UG579)."""


def multiplier_slices(a: int, b: int) -> int:
    """DSP slices of a product of signed numbers of ``a`` and ``b`` bits.

    Operands that do not fit are split: each part but the sign's has a bit less, for a magnitude.
    """
    narrow, wide = sorted((a, b))
    if narrow <= DSP_NARROW and wide <= DSP_WIDE:
        return 1
    return ceil(narrow / (DSP_NARROW - 1)) * ceil(wide / (DSP_WIDE - 1))


KINDS: tuple[str, ...] = tuple(field.name for field in fields(Resources))


def total(parts: Iterable[Resources]) -> Resources:
    """Sum of ``parts``; nothing when there are none."""
    lut = ff = dsp = bram18 = uram = 0  # a search adds millions: no object a part
    for part in parts:
        lut += part.lut
        ff += part.ff
        dsp += part.dsp
        bram18 += part.bram18
        uram += part.uram
    return Resources(lut, ff, dsp, bram18, uram)
