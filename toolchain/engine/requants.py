"""The engine's requantizers: a line a channel, or two, for those of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import gcd

import numpy as np

from toolchain.engine.layers import Bend, Merge, Requant, Stored
from toolchain.engine.limits import line_bits, refused
from toolchain.engine.lines import lines_of
from toolchain.engine.shape import LINE_BITS
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import QInt, Range, Value


def of_channels(node: MulShift | Threshold, channels: slice | None) -> MulShift | Threshold:
    """Return ``node`` for ``channels`` alone."""
    names = ("mul", "add", "base") if isinstance(node, MulShift) else ("thresholds", "start", "step")
    found = {name: v if len(v := getattr(node, name)) == 1 else v[channels] for name in names}
    return replace(node, **found)


def requant_of(node: MulShift | Threshold, value: Value, reach: Range, form: Stored, codes: Range) -> Requant:
    """Return ``node`` as the engine's requantizer of ``value``, whose numbers lie in ``reach``.

    It gives ``codes``, which are stored in ``form``.

    Raises:
        UserError: its thresholds lie on no two lines, or its products are too wide.
    """
    channels, (least, most) = value.shape[2:], codes
    if isinstance(node, MulShift):
        _check_lines(node, node.lines, value.qint)
        mul, add = (np.broadcast_to(np.array(v), channels) for v in zip(*node.lines, strict=True))
        # a clip beyond all codes never acts, and the pass table need not hold it
        return Requant(mul, add, node.shift, max(node.low, least), min(node.high, most), form)
    lines = lines_of(node, *reach)
    if lines is None:
        hint = "quantize in front of the function too, as 'fpgaflow quantize' does, or take ReLU"
        raise refused(node, "its thresholds lie on no two lines", hint)
    _check_lines(node, zip(lines.mul.flat, lines.add.flat, strict=True), value.qint)
    muls, adds = (np.broadcast_to(v, (2, *channels)) for v in (lines.mul, lines.add))
    below = None if lines.knee is None else Bend(muls[0], adds[0], np.broadcast_to(lines.knee, channels))
    return Requant(muls[1], adds[1], lines.shift, lines.low, lines.high, form, below)


def of_raised(requant: Requant, bits: int) -> Requant:
    """Return ``requant`` of sums that are 2**bits times as large."""
    below = requant.below and Bend(requant.below.mul, requant.below.add << bits, requant.below.knee << bits)
    return replace(requant, add=requant.add << bits, shift=requant.shift + bits, below=below)


def untied(node: Node, requant: Requant, reach: Range, other: Stored | None) -> Requant:
    """Return ``requant`` of sums in ``reach`` with a rounding that is right once an odd zero point is added.

    The engine rounds halves to even stored codes, which are odd ones of the graph then. Twice the factors leave a step
    between numerators, which takes the halves of a channel to the code that they belong to. Where they belong to codes
    above and below, the ``other`` form is taken, whose zero point is even; UserError where there is none.
    """
    if requant.form.zero % 2 == 0:
        return requant
    codes = requant.low, requant.high
    halves = [
        [_halves(m, a, requant.shift, codes, reach) for m, a in zip(mul.tolist(), add.tolist(), strict=True)]
        for mul, add in requant.lines
    ]
    if any(len(channel) > 1 for line in halves for channel in line):
        return replace(requant, form=_demanded(node, other))
    steps = [np.array([*map(_step, line)]) for line in halves]
    if not any(step.any() for step in steps):
        return requant
    (mul, add), *others = ((2 * mul, 2 * add + step) for (mul, add), step in zip(requant.lines, steps, strict=True))
    below = requant.below and Bend(*others[0], requant.below.knee)
    return replace(requant, mul=mul, add=add, shift=requant.shift + 1, below=below)


def untied_merge(node: Node, merge: Merge, own: Range, residual: Range, other: Stored | None) -> Merge:
    """Return ``merge`` of codes in ``own`` and ``residual`` as ``untied`` returns a requantizer."""
    if merge.form.zero % 2 == 0:
        return merge
    codes, others = (merge.low, merge.high), range(residual[0], residual[1] + 1)
    if merge.zeros is None:
        lines = [(merge.main, merge.other * x + merge.add) for x in others]
    else:
        lines = [(merge.main * x, merge.add) for x in others]
    halves = {bit for line in lines for bit in _halves(*line, merge.shift, codes, own)}
    if len(halves) > 1:
        return replace(merge, form=_demanded(node, other))
    if not halves:
        return merge
    add = 2 * merge.add + _step(halves)
    return replace(merge, main=2 * merge.main, other=2 * merge.other, add=add, shift=merge.shift + 1)


def _demanded(node: Node, form: Stored | None) -> Stored:
    if form is None:
        why = "it rounds halves to even codes, which are stored as odd ones: their zero point is odd"
        raise refused(node, why, "quantize symmetrically, or give it a scale of its own")
    return form


def _step(halves: set[int]) -> int:
    """Return what takes ``halves`` above odd codes up, or those above even codes down; 0 where there are none."""
    return sum(1 if odd else -1 for odd in halves)


def _halves(factor: int, offset: int, shift: int, codes: Range, reach: Range) -> set[int]:
    """Return the last bits of the codes n with (factor * x + offset) / 2**shift = n + 1/2 at an x in ``reach``.

    Both n and n + 1 are in ``codes``: elsewhere the clip decides.
    """
    unit, (low, high), (first, last) = 1 << shift, codes, reach
    if shift == 0:
        return set()
    period = 1
    if factor == 0:
        last = first
    else:
        ends = sorted(((code << shift) - offset) // factor for code in codes)
        first, last = max(first, ends[0]), min(last, ends[1] + 1)
        common, rest = gcd(factor, unit), unit // 2 - offset
        if rest % common:
            return set()
        period = unit // common
        first += (rest // common * pow(factor // common, -1, period) - first) % period
    numerators = (factor * x + offset for x in range(first, last + 1, period))
    return {n & 1 for v in numerators if v % unit == unit // 2 and low <= (n := v >> shift) < high}


def _check_lines(node: Node, lines: Iterable[tuple[int, int]], sums: QInt) -> None:
    bits = line_bits(lines, sums)
    if bits > LINE_BITS - 2:  # two bits for codes without signs
        raise refused(node, f"its products have {bits} bits, {LINE_BITS - 2} are added at once")
