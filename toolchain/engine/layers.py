"""A pass of the engine: what its chain of units computes once, in unsigned codes.

Signed codes are stored with half their range added, so that every operand of a product is unsigned; codes with a zero
point of their own, with that, or negated. The requantizers' offsets take it back: exactly, since half a range is even
and keeps the halves that round to even where they are, and what rounds a half has no odd zero point (``requants.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from toolchain.engine.shape import Formats
from toolchain.ir.ops.products import dot_bounds
from toolchain.ir.types import Array
from toolchain.resources import DSP_NARROW

Codes = TypeVar("Codes", int, Array)


@dataclass(frozen=True)
class Stored:
    """How a code c is stored: as ``zero + sign * c``; ``sign`` is 1 or -1."""

    zero: int
    sign: int = 1

    def of(self, codes: Codes) -> Codes:
        """The stored form of ``codes``."""
        return self.zero + self.sign * codes

    def codes(self, stored: Array) -> Array:
        """The codes that are ``stored``."""
        return self.sign * (stored - self.zero)


@dataclass(frozen=True, eq=False)
class Bend:
    """The line of sums below ``knee``; all arrays are (C,)."""

    mul: Array
    add: Array
    knee: Array


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of one code, for all channels: ``codes[i]`` is that of ``least + i``; they are stored in ``form``.

    Of stored codes, ``least`` is 0 and ``codes`` are stored ones too.
    """

    codes: Array
    least: int
    form: Stored

    def of_stored(self, form: Stored, highest: int) -> Curve:
        """The same of codes in ``form``, whose largest is ``highest``."""
        codes = np.clip(form.codes(np.arange(highest + 1)) - self.least, 0, len(self.codes) - 1)
        return Curve(self.form.of(self.codes[codes]), 0, self.form)


@dataclass(frozen=True, eq=False)
class Requant:
    """code = clip(round_half_even((sum * mul + add) / 2**shift), low, high); ``mul`` and ``add`` are (C,).

    ``form``: how the codes are to be stored. ``below``: sums below a knee have another line. ``curve``: what leaves is
    this function of the codes.
    """

    mul: Array
    add: Array
    shift: int
    low: int
    high: int
    form: Stored
    below: Bend | None = None
    curve: Curve | None = None

    @property
    def result_form(self) -> Stored:
        """How the codes that leave are to be stored."""
        return self.form if self.curve is None else self.curve.form

    @property
    def lines(self) -> tuple[tuple[Array, Array], ...]:
        """Factors and offsets of every line."""
        own = (self.mul, self.add)
        return (own,) if self.below is None else (own, (self.below.mul, self.below.add))


@dataclass(frozen=True, eq=False)
class Convolution:
    """``weight`` (N, rows, columns, C) over a map of codes; outside of it is ``pad_code``.

    ``stride`` and ``dilation`` are of rows and columns, ``pads`` top, left, bottom, right.

    ``parts``: in how many parts an engine multiplies the weights, see ``parts_of``. ``correction`` (N,) takes the sums
    of stored codes to those of the graph's own; requantizers contain it.
    """

    weight: Array
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_code: int = 0
    dilation: tuple[int, int] = (1, 1)
    correction: Array | None = None
    parts: int = 1

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the kernel."""
        rows, columns = self.weight.shape[1:3]
        return int(rows), int(columns)

    @property
    def span(self) -> int:
        """Rows of the map from the first to the last one of the kernel."""
        return (self.kernel[0] - 1) * self.dilation[0] + 1


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
    """code = clip(round_half_even((main * own + residual * other + add) / 2**shift), low, high); ``form`` as above.

    ``zeros``: it is a product, main * (own - zeros[0]) * (residual - zeros[1]) + add is rounded instead. ``once``: the
    residual is a single position, which every position of the pass meets.
    """

    residual: str
    main: int
    other: int
    add: int
    shift: int
    low: int
    high: int
    form: Stored
    zeros: tuple[int, int] | None = None
    once: bool = False


@dataclass(frozen=True)
class Slot:
    """The place of a map in a joined one, ``name``: behind ``start`` of its ``channels``, whole beats both.

    ``own``: the channels of the pass's result that the part is; all where it is None.
    """

    name: str
    start: int
    channels: int
    own: slice | None = None


@dataclass(frozen=True, eq=False)
class Pass:
    """Source -> convolution -> ``first`` -> window -> ``second`` -> merge -> result; what is None is bypassed.

    ``raw``: the result is the convolution's sums themselves. ``shape`` is the source's as the engine sees it, every
    position read ``repeat`` times along both axes, ``middle`` the convolution's result and ``out`` the pass's; all
    (H, W, C). ``slot``: the result is a part of a joined map. ``spread`` (C,): places of a joined source's channels.
    ``kept``: the same of the result, where the pass works on every channel of such a source alone.
    """

    name: str
    source: str
    result: str
    shape: tuple[int, int, int]
    middle: tuple[int, int, int]
    out: tuple[int, int, int]
    conv: Convolution | None = None
    first: Requant | None = None
    window: Sliding | None = None
    second: Requant | None = None
    merge: Merge | None = None
    raw: bool = False
    repeat: tuple[int, int] = (1, 1)
    slot: Slot | None = None
    spread: Array | None = None
    kept: Array | None = None

    @property
    def stored(self) -> str:
        """The map that the result is, or is a part of."""
        return self.result if self.slot is None else self.slot.name

    @property
    def held(self) -> tuple[int, int, int]:
        """The source's shape as it lies in memory."""
        rows, columns, channels = self.shape
        return rows // self.repeat[0], columns // self.repeat[1], channels

    @property
    def outside(self) -> bool:
        """Whether the source must lie in memory: banks do not serve words of joined maps and repeated positions."""
        return self.repeat != (1, 1) or self.spread is not None

    @property
    def weights(self) -> int:
        """Weights of the convolution."""
        return 0 if self.conv is None else int(np.size(self.conv.weight))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the pass; those of channels that only fill lanes do not count."""
        total = self.weights * self.middle[0] * self.middle[1]
        if self.window is not None and self.window.weight is not None:
            channels = self.out[2] if self.kept is None else len(self.kept)
            total += len(self.window.weight) * channels * self.out[0] * self.out[1]
        return total


@dataclass(frozen=True, eq=False)
class Cut:
    """A network as passes. ``folded``: the host lays the input's windows out, see ``cut``.

    ``answers``: the results that the host reads, one an output of the network. ``forms``: how codes are stored in
    the graph's input and every stored map.
    ``weight_bits``: of an engine narrower than some weights, which then are multiplied in parts. ``within``: formats
    that an engine is to have at least, so that it runs other networks too; those of weights are the network's own.
    """

    passes: tuple[Pass, ...]
    folded: bool
    act_bits: int
    answers: tuple[str, ...] = ()
    forms: Mapping[str, Stored] = field(default_factory=dict)
    weight_bits: int | None = None
    within: Formats | None = None

    @property
    def read(self) -> tuple[Pass, ...]:
        """The passes that make the answers."""
        made = {p.result: p for p in self.passes}
        return tuple(made[name] for name in self.answers)

    @property
    def requants(self) -> tuple[Requant, ...]:
        """The requantizers of all passes."""
        return tuple(r for p in self.passes for r in (p.first, p.second) if r is not None)

    @property
    def merges(self) -> tuple[Merge, ...]:
        """The sums and products of branches of all passes."""
        return tuple(p.merge for p in self.passes if p.merge is not None)

    @cached_property
    def formats(self) -> Formats:
        """The narrowest number formats of an engine for this network, and ``within``."""
        own = self._own_formats()
        if self.within is None:
            return own
        pairs = ((f.name, max(getattr(own, f.name), getattr(self.within, f.name))) for f in fields(Formats))
        return replace(Formats(**dict(pairs)), weight_bits=own.weight_bits, stored_bits=own.stored_bits)

    def _own_formats(self) -> Formats:
        windows = [p.window for p in self.passes if p.window is not None]
        filters = [w.weight for w in windows if w.weight is not None]
        shift = max((r.shift for r in self.requants), default=0)
        merge_shift = max((m.shift for m in self.merges), default=0)
        offsets = [(m.add << (merge_shift - m.shift)) + half(merge_shift) for m in self.merges]
        factors = [f << (merge_shift - m.shift) for m in self.merges for f in (m.main, m.other)]
        lines = [(shift - r.shift, *line) for r in self.requants for line in r.lines]
        muls = [int(n) << raised for raised, mul, _ in lines for n in (mul.min(), mul.max())]
        adds = [(int(n) << raised) + half(shift) for raised, _, add in lines for n in (add.min(), add.max())]
        whole = [p.conv.weight for p in self.passes if p.conv is not None and p.conv.parts == 1]
        weights = [int(n) for w in whole for n in (w.min(), w.max())]
        if self.weight_bits is not None:
            weights.append((1 << (self.weight_bits - 1)) - 1)
        sums, mul_bits, mul_shift = signed_bits(self._convolution_ends()), signed_bits(muls), 0
        if mul_bits == DSP_NARROW + 1 and sums > DSP_NARROW and min(muls) >= 0:
            mul_bits, mul_shift = DSP_NARROW, DSP_NARROW - 1
        entry = mul_bits + signed_bits(adds)
        return Formats(
            act_bits=self.act_bits,
            weight_bits=signed_bits(weights),
            stored_bits=signed_bits([n - (n < 0) for n in weights]),
            filter_bits=signed_bits([int(n) for w in filters for n in (w.min(), w.max())]),
            sum_bits=sums,
            window_sum_bits=signed_bits(self._window_ends()),
            mul_bits=mul_bits,
            mul_shift=mul_shift,
            add_bits=signed_bits(adds),
            entry_bits=64 if entry <= 64 else 128,
            shift=shift,
            merge_bits=signed_bits(factors),
            merge_add_bits=signed_bits(offsets),
            merge_shift=merge_shift,
            kernel=max(2, *(w.kernel for w in windows)) if windows else 2,
            filters=bool(filters),
            pools=any(w.mode == "largest" for w in windows),
            repeats=any(p.repeat != (1, 1) for p in self.passes),
            bends=any(r.below is not None for r in self.requants),
            curves=any(r.curve is not None for r in self.requants),
            products=any(m.zeros is not None for m in self.merges),
        )

    def _convolution_ends(self) -> list[int]:
        """The least and largest sums of every convolution over all stored codes; it passes codes on where bypassed."""
        top = (1 << self.act_bits) - 1
        convs = [p.conv.weight for p in self.passes if p.conv is not None]
        return [0, top, *(n for w in convs for n in _dot_ends(w.reshape(len(w), -1), top))]

    def _window_ends(self) -> list[int]:
        """The same of the window unit."""
        top = (1 << self.act_bits) - 1
        ends = [0, top]
        for p in self.passes:
            if p.window is None:
                continue
            if p.window.weight is not None:
                ends += _dot_ends(p.window.weight.T, top)
            elif p.window.mode == "global_sum":
                ends.append(top * p.middle[0] * p.middle[1])
            elif p.window.mode == "sum_of":
                ends.append(top * p.window.kernel**2)
        return ends


def _dot_ends(weight: Array, top: int) -> list[int]:
    """The least and the largest dot product of a row with codes up to ``top``."""
    low, high = dot_bounds(weight, 0, top)
    return [int(low.min()), int(high.max())]


def most_of(parts: int, bits: int) -> int:
    """The largest weight that ``parts`` of ``bits`` bits hold, and the smallest negated."""
    base = 1 << (bits - 1)
    below = sum(base**i for i in range(parts - 1)) * (base // 2 - 1)
    return (base - 1) * base ** (parts - 1) + below


def parts_of(weight: Array, parts: int, bits: int) -> Array:
    """Weights (...) as (parts, ...) of ``bits`` bits, the highest first: each counts 2**(bits - 1) of the next.

    Lower parts have a bit less, so that no part is the least number of its bits.
    """
    found, base = [], 1 << (bits - 1)
    for _ in range(parts - 1):
        low = (weight + base // 2) % base - base // 2
        found.append(low)
        weight = (weight - low) // base
    return np.stack([weight, *reversed(found)])


def half(shift: int) -> int:
    """Return half of 2**shift, which requantizers' offsets include so that a right shift rounds halves up."""
    return 1 << (shift - 1) if shift else 0


def narrowed(cut: Cut, bits: int) -> Cut:
    """``cut`` for an engine that multiplies weights of ``bits`` bits: wider ones in as few parts as hold them."""
    passes = []
    for p in cut.passes:
        if p.conv is not None:
            widest = int(np.abs(p.conv.weight).max())
            fits = signed_bits([int(p.conv.weight.min()), int(p.conv.weight.max())]) <= bits
            parts = 1 if fits else next(n for n in range(2, 63) if most_of(n, bits) >= widest)
            p = replace(p, conv=replace(p.conv, parts=parts))
        passes.append(p)
    return replace(cut, passes=tuple(passes), weight_bits=bits)


def signed_bits(values: Sequence[int]) -> int:
    """Bits of a signed number that holds all ``values``; at least two."""
    low, high = min(values, default=0), max(values, default=0)
    return max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length(), 1) + 1
