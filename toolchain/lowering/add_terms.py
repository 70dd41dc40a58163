"""The quantized sum of two integers with unlike scales, exact over every pair of inputs."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np

from toolchain.ir.model_ops import Quantize
from toolchain.ir.ops import Add, Array, MulShift
from toolchain.lowering.requantize import MAX_SHIFT, code_of
from toolchain.lowering.scaled import Numbers, Scaled, Term
from toolchain.lowering.state import Lowering

MAX_PAIRS = 1 << 20
SMALL = 1 << 4
"""A scale ratio of integers below this is exact as it stands: no search is needed."""


def combine(node: Quantize, x: Scaled, step: Numbers, state: Lowering) -> Term | None:
    """Emit ``Add`` and ``MulShift`` for the quantizer ``node`` behind the two terms of ``x``.

    The sum is multipliers[0] * a + multipliers[1] * b, scales rounded to s fraction bits; s is the smallest for which
    one constant makes every pair of inputs give the definition's code. None when the exact ratio of the scales is
    small, when there is no such s, or when scales differ by channel or the pairs are too many to try.
    """
    a, b = x.terms
    quantizer = node.quantizer
    uniform = all(len(v) == 1 for v in (a.scale, b.scale, x.offset, step, x.floor, x.ceiling))
    if not uniform or x.bent or quantizer.bipolar or (a.high - a.low + 1) * (b.high - b.low + 1) > MAX_PAIRS:
        return None
    ratio = a.scale[0] / b.scale[0]
    if abs(ratio.numerator) < SMALL and ratio.denominator < SMALL:
        return None
    codes, low, high = _definition(node, x, step)
    found = _search((a.scale[0] / step[0], b.scale[0] / step[0]), (a, b), codes, low, high)
    if found is None:
        return None
    multipliers, constant, shift = found
    total = state.emit(Add, node, (a, b), node.output.shape, suffix="_sum", multipliers=multipliers)
    factors = {"mul": np.array([1], dtype=np.int64), "add": np.array([constant], dtype=np.int64)}
    return state.emit(MulShift, node, (total,), node.output.shape, shift=shift, low=low, high=high, **factors)


def _definition(node: Quantize, x: Scaled, step: Numbers) -> tuple[Array, int, int]:
    """The exact code of every pair (rows: first term, columns: second), and the lowest and highest code left."""
    quantizer, (a, b) = node.quantizer, x.terms
    slopes = [a.scale[0] / step[0], b.scale[0] / step[0]]
    offset = x.offset[0] / step[0] + quantizer.zero_point
    d = lcm(*(f.denominator for f in (*slopes, offset)))
    p, q, r = (int(f * d) for f in (*slopes, offset))

    def code(numerator: int, denominator: int) -> int:
        return code_of(numerator, denominator, quantizer.low, quantizer.high, quantizer.rounding)

    def limit(bound: Fraction | None, default: int) -> int:
        return default if bound is None else code(*(bound / step[0] + quantizer.zero_point).as_integer_ratio())

    low, high = limit(x.floor[0], quantizer.low), limit(x.ceiling[0], quantizer.high)
    table = [[code(p * i + q * j + r, d) for j in range(b.low, b.high + 1)] for i in range(a.low, a.high + 1)]
    return np.clip(np.array(table, dtype=np.int64), low, high), low, high


def _search(
    slopes: tuple[Fraction, Fraction], terms: tuple[Term, Term], codes: Array, low: int, high: int
) -> tuple[tuple[int, int], int, int] | None:
    """Multipliers, constant and the smallest shift that reproduce ``codes`` with round-half-even."""
    rows, columns = (np.arange(t.low, t.high + 1, dtype=np.int64) for t in terms)
    for shift in range(MAX_SHIFT + 1):
        n = [round(s * (1 << shift)) for s in slopes]
        reach = sum(abs(factor) * max(-t.low, t.high) for factor, t in zip(n, terms, strict=True))
        if reach + (max(-low, high) + 2 << shift) >= 1 << 62:
            return None
        total = n[0] * rows[:, None] + n[1] * columns
        half = (1 << shift) >> 1

        def reached(k: Array, half: int = half, shift: int = shift) -> Array:
            return (k << shift) - half + (k & 1 if shift else 0)

        least = np.where(codes > low, reached(codes) - total, -(1 << 62)).max()
        most = np.where(codes < high, reached(codes + 1) - 1 - total, 1 << 62).min()
        if least == -(1 << 62) and most == 1 << 62:  # one code everywhere
            return (n[0], n[1]), 0, shift
        if least <= most:
            constant = least if most == 1 << 62 else most if least == -(1 << 62) else (least + most) >> 1
            return (n[0], n[1]), int(constant), shift
    return None
