"""Passes on stored codes: the graph's own codes, made unsigned, as memories and banks hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.engine.layers import Bend, Merge, Pass, Requant, Sliding, Stored
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

    ``forms``: how codes are stored in the graph's input, and in every map that was made so far.
    """

    forms: dict[str, Stored]

    def coded(self, p: Pass) -> Pass:
        """``p`` on stored codes."""
        form, conv, first, window, second, merge = self.forms[p.source], p.conv, p.first, p.window, p.second, p.merge
        if conv is not None:
            weight = form.sign * conv.weight
            correction = -form.zero * weight.reshape(len(weight), -1).sum(axis=1)
            conv = replace(conv, weight=weight, pad_code=form.of(conv.pad_code), correction=correction)
            if first is not None:
                first = _moved(first, correction)
        elif first is not None:
            first = _moved(_scaled(first, form.sign), np.full(p.shape[2], -form.zero))
        if first is not None:
            form = first.result_form
        if window is not None:
            pad_code = form.of(window.pad_code)
            if window.mode == "largest":
                pad_code = max(0, pad_code)  # what lies below all codes
            window = replace(window, pad_code=pad_code)
            if window.weight is not None:
                window = replace(window, weight=form.sign * window.weight)
            if second is not None:
                second = second if window.weight is not None else _scaled(second, form.sign)
                second = _moved(second, -form.zero * _tap_sums(window, p))
                form = second.result_form
        if merge is not None:
            merge = _merged(merge, form, self.forms[merge.residual])
            form = merge.form
        self.forms[p.result] = self.forms[p.stored] = Stored(0) if p.raw else form
        return replace(p, conv=conv, first=first, window=window, second=second, merge=merge)


def _scaled(requant: Requant, sign: int) -> Requant:
    """``requant`` of sums that have the other sign where ``sign`` is -1."""
    if sign == 1:
        return requant
    assert requant.below is None
    return replace(requant, mul=-requant.mul)


def _moved(requant: Requant, correction: Array) -> Requant:
    """``requant`` of sums that lack ``correction``, giving stored codes."""
    below, form = requant.below, requant.form
    raised = form.zero << requant.shift
    lines = ((form.sign * mul, form.sign * (add + mul * correction) + raised) for mul, add in requant.lines)
    (mul, add), *others = lines
    if below is not None:
        below = Bend(*others[0], below.knee - correction)
    low, high = _ends(form, requant.low, requant.high)
    curve = None if requant.curve is None else requant.curve.of_stored(form, high)
    return replace(requant, mul=mul, add=add, below=below, low=low, high=high, curve=curve)


def _merged(merge: Merge, own: Stored, residual: Stored) -> Merge:
    """``merge`` of the pass's codes in the form ``own`` and the residual's, giving stored codes."""
    main, other, form, add = merge.main * own.sign, merge.other * residual.sign, merge.form, merge.add
    if merge.zeros is None:
        add -= main * own.zero + other * residual.zero
    else:
        main *= residual.sign
        merge = replace(merge, zeros=(own.zero, residual.zero))
    add = form.sign * add + (form.zero << merge.shift)
    low, high = _ends(form, merge.low, merge.high)
    return replace(merge, main=form.sign * main, other=form.sign * other, add=add, low=low, high=high)


def _ends(form: Stored, low: int, high: int) -> tuple[int, int]:
    """The least and the largest stored code of the codes from ``low`` to ``high``."""
    least, most = sorted((form.of(low), form.of(high)))
    return least, most


def _tap_sums(window: Sliding, p: Pass) -> Array:
    """Return each channel's result, (C,), for a map of ones."""
    if window.weight is not None:
        return window.weight.sum(axis=0)
    taps = p.middle[0] * p.middle[1] if window.mode == "global_sum" else window.kernel**2
    return np.full(p.out[2], taps, dtype=np.int64)
