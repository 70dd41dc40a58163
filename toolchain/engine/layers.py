"""A pass of the engine: what its chain of units computes once, in unsigned codes.

Signed codes are stored with half their range added, so that every operand of a product is unsigned. The requantizers'
offsets take it back: exactly, since half a range is even and keeps the halves that round to even where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.ops import Array


@dataclass(frozen=True, eq=False)
class Requant:
    """code = clip(round_half_even((sum * mul + add) / 2**shift), low, high); ``mul`` and ``add`` are (C,).

    ``signed`` tells whether the graph's own codes can be negative.
    """

    mul: Array
    add: Array
    shift: int
    low: int
    high: int
    signed: bool


@dataclass(frozen=True, eq=False)
class Convolution:
    """``weight`` (N, k, k, C) over a map of codes; outside of it is ``pad_code``. ``pads``: top, left, bottom, right.

    ``correction`` (N,) takes the sums of stored codes to those of the graph's own; requantizers contain it.
    """

    weight: Array
    stride: int
    pads: tuple[int, int, int, int]
    pad_code: int
    correction: Array | None = None

    @property
    def kernel(self) -> int:
        """Rows and columns of the kernel."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class Sliding:
    """The window unit: ``mode`` is "filter" (``weight`` (k * k, C)), "largest", "sum_of" or "global_sum"."""

    mode: str
    kernel: int = 1
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_code: int = 0
    weight: Array | None = None


@dataclass(frozen=True)
class Merge:
    """code = clip(round_half_even((main * own + residual * other + add) / 2**shift), low, high)."""

    residual: str
    main: int
    other: int
    add: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Pass:
    """Source -> convolution -> ``first`` -> window -> ``second`` -> merge -> result; what is None is bypassed.

    ``raw``: the result is the convolution's sums themselves. ``shape`` is the source's as the engine sees it, ``middle``
    the convolution's result and ``out`` the pass's; all (H, W, C).
    """

    name: str
    source: str
    result: str
    shape: tuple[int, int, int]
    middle: tuple[int, int, int]
    out: tuple[int, int, int]
    conv: Convolution | None
    first: Requant | None
    window: Sliding | None
    second: Requant | None
    merge: Merge | None
    raw: bool = False

    @property
    def weights(self) -> int:
        """Weights of the convolution."""
        return 0 if self.conv is None else int(np.size(self.conv.weight))

    @property
    def macs(self) -> int:
        """Multiply-accumulates, without padding."""
        total = self.weights * self.middle[0] * self.middle[1]
        if self.window is not None and self.window.weight is not None:
            total += self.window.weight.size * self.out[0] * self.out[1]
        return total


@dataclass(frozen=True, eq=False)
class Cut:
    """A network as passes. ``folded``: the host lays the input's windows out, see ``cut``."""

    passes: tuple[Pass, ...]
    folded: bool
    act_bits: int

    @property
    def weight_bits(self) -> int:
        """Bits that hold every weight of the convolutions."""
        return max((_bits(p.conv.weight) for p in self.passes if p.conv is not None), default=1)

    @property
    def filter_bits(self) -> int:
        """Bits that hold every weight of the window unit."""
        found = [p.window.weight for p in self.passes if p.window is not None and p.window.weight is not None]
        return max(map(_bits, found), default=1)

    @property
    def requants(self) -> tuple[Requant, ...]:
        """Every requantizer."""
        return tuple(r for p in self.passes for r in (p.first, p.second) if r is not None)

    @property
    def mul_bits(self) -> int:
        """Bits that hold every factor of the requantizers."""
        return max((_bits(r.mul) for r in self.requants), default=2)

    @property
    def add_bits(self) -> int:
        """Bits that hold every offset of the requantizers."""
        return max((_bits(r.add) for r in self.requants), default=2)


def _bits(values: Array) -> int:
    """Bits of a signed number that holds all ``values``."""
    low, high = int(values.min()), int(values.max())
    return max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length()) + 1
