"""Passes on stored codes: the graph's own codes, made unsigned, as memories and banks hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.engine.layers import Bend, Pass, Requant, Sliding
from toolchain.ir.types import Array, QInt, Range


def stored_zero(kind: QInt, reach: Range, bits: int) -> int | None:
    """Return the stored code of 0 for codes of ``kind`` within ``reach``; None where ``bits`` bits do not hold them.

    That is half of the range for signed codes, and for those with a zero point of their own (-100 to 155), which are a
    bit wider, what makes the least of them 0, or 1 where that is even: see ``untied``.
    """
    low, high = reach
    if kind.bits <= bits:
        return 1 << (bits - 1) if kind.signed else 0
    top = (1 << bits) - 1
    even = -low + (-low & 1)
    zero = even if high + even <= top else -low
    return zero if low + zero >= 0 and high + zero <= top else None


@dataclass(frozen=True)
class Coder:
    """Turns passes on the graph's own codes, in their order, into passes on stored codes, all unsigned.

    ``zeros``: the stored code of 0 in the graph's input, and in every map that was made so far.
    """

    zeros: dict[str, int]

    def coded(self, p: Pass) -> Pass:
        """``p`` on stored codes."""
        zero, conv, first, window, second, merge = self.zeros[p.source], p.conv, p.first, p.window, p.second, p.merge
        if conv is not None:
            sums = conv.weight.reshape(len(conv.weight), -1).sum(axis=1)
            conv = replace(conv, pad_code=conv.pad_code + zero, correction=-zero * sums)
            if first is not None:
                first = _moved(first, -zero * sums)
        elif first is not None:
            first = _moved(first, np.full(p.shape[2], -zero))
        if first is not None:
            zero = first.zero
        if window is not None:
            pad_code = window.pad_code + zero
            if window.mode == "largest":
                pad_code = max(0, pad_code)  # what lies below all codes
            window = replace(window, pad_code=pad_code)
            if second is not None:
                second = _moved(second, -zero * _tap_sums(window, p))
                zero = second.zero
        if merge is not None:
            taken = merge.main * zero + merge.other * self.zeros[merge.residual]
            zero = merge.zero
            add = merge.add - taken + (zero << merge.shift)
            merge = replace(merge, add=add, low=merge.low + zero, high=merge.high + zero)
        self.zeros[p.result] = self.zeros[p.stored] = 0 if p.raw else zero
        return replace(p, conv=conv, first=first, window=window, second=second, merge=merge)


def _moved(requant: Requant, correction: Array) -> Requant:
    """``requant`` of sums that lack ``correction``, giving stored codes."""
    below, zero = requant.below, requant.zero
    raised = zero << requant.shift
    add = requant.add + requant.mul * correction + raised
    if below is not None:
        offset = below.add + below.mul * correction + raised
        below = Bend(below.mul, offset, below.knee - correction)
    return replace(requant, add=add, below=below, low=requant.low + zero, high=requant.high + zero)


def _tap_sums(window: Sliding, p: Pass) -> Array:
    """Return each channel's result, (C,), for a map of ones."""
    if window.weight is not None:
        return window.weight.sum(axis=0)
    taps = p.middle[0] * p.middle[1] if window.mode == "global_sum" else window.kernel**2
    return np.full(p.out[2], taps, dtype=np.int64)
