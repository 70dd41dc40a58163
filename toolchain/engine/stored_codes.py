"""Passes on stored codes: the graph's own codes, made unsigned, as memories and banks hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.engine.layers import Bend, Pass, Requant, Sliding
from toolchain.ir.types import Array, Value


@dataclass(frozen=True)
class Coder:
    """Turns a pass on the graph's own codes into one on stored codes of ``bits`` bits, all unsigned."""

    values: dict[str, Value]
    bits: int

    def zero(self, signed: bool) -> int:
        """The stored code of 0."""
        return 1 << (self.bits - 1) if signed else 0

    def zero_of(self, name: str) -> int:
        """The stored code of 0 in the value ``name``."""
        return self.zero(self.values[name].qint.signed)

    def coded(self, p: Pass) -> Pass:
        """``p`` on stored codes."""
        zero, conv, first, window, second, merge = self.zero_of(p.source), p.conv, p.first, p.window, p.second, p.merge
        if conv is not None:
            sums = conv.weight.reshape(len(conv.weight), -1).sum(axis=1)
            conv = replace(conv, pad_code=conv.pad_code + zero, correction=-zero * sums)
            if first is not None:
                first = self._moved(first, -zero * sums)
        elif first is not None:
            first = self._moved(first, np.full(p.shape[2], -zero))
        if first is not None:
            zero = self.zero(first.signed)
        if window is not None:
            window = replace(window, pad_code=window.pad_code + zero)
            if second is not None:
                second = self._moved(second, -zero * _tap_sums(window, p))
                zero = self.zero(second.signed)
        if merge is not None:
            result = self.zero_of(p.result)
            taken = merge.main * zero + merge.other * self.zero_of(merge.residual)
            add = merge.add - taken + (result << merge.shift)
            merge = replace(merge, add=add, low=merge.low + result, high=merge.high + result)
        return replace(p, conv=conv, first=first, window=window, second=second, merge=merge)

    def _moved(self, requant: Requant, correction: Array) -> Requant:
        """``requant`` of sums that lack ``correction``, giving stored codes."""
        zero = self.zero(requant.signed)
        below, raised = requant.below, zero << requant.shift
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
