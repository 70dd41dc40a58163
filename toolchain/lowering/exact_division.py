"""Floor division of many rationals at once, exact for integers of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.types import Array

INT64 = 1 << 62
"""Below this, sums and differences of two numbers stay inside int64."""
ERROR = 2.0**-50
"""Bound of the relative error of r * k + s in float64, against |r * k| + |s|, when r and s are rounded once.

Rounding r, the product, s and the sum each cost 2**-53; their compounded sum is below 2**-50 by a factor of two.
"""


def floor_divide(
    factor: Sequence[int], points: Array, constant: Sequence[int], divisor: Sequence[int]
) -> tuple[Array, Array]:
    """floor((factor[c] * points[c, t] + constant[c]) / divisor[c]), and whether the division leaves no rest.

    ``points`` is int64 (C, T), divisors are positive. Quotients beyond +-2**62 are cut there, and count as inexact.
    Rows that fit int64 use it; the others use float64 where it is certain of the floor, else Python's integers.
    """
    quotients = np.zeros(points.shape, dtype=np.int64)
    exact = np.zeros(points.shape, dtype=bool)
    if not points.size:
        return quotients, exact
    reach = np.abs(points).max(axis=1).tolist()
    rows = zip(factor, reach, constant, divisor, strict=True)
    small = np.array([abs(f) * max(r, 1) + abs(b) < INT64 and d < INT64 for f, r, b, d in rows])
    if small.any():
        f, b, d = (
            np.array([int(v) for v, keep in zip(numbers, small, strict=True) if keep], dtype=np.int64)[:, None]
            for numbers in (factor, constant, divisor)
        )
        quotients[small], rest = np.divmod(f * points[small] + b, d)
        exact[small] = rest == 0
    large = np.flatnonzero(~small)
    if len(large):
        guess, certain = _by_float(large, factor, points, constant, divisor)
        quotients[large] = guess
        for row, t in zip(*np.nonzero(~certain), strict=True):
            c = large[row]
            quotient, rest = divmod(factor[c] * int(points[c, t]) + constant[c], divisor[c])
            quotients[c, t] = min(max(quotient, -INT64), INT64)
            exact[c, t] = rest == 0 and abs(quotient) < INT64
    return quotients, exact


def _by_float(
    rows: Array, factor: Sequence[int], points: Array, constant: Sequence[int], divisor: Sequence[int]
) -> tuple[Array, Array]:
    """Floors of the given rows in float64, and where they are certain: further from an integer than the error."""
    ratio, shift = (
        np.array([_quotient(numbers[c], divisor[c]) for c in rows])[:, None] for numbers in (factor, constant)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        product = ratio * points[rows]
        value = product + shift
        error = (np.abs(product) + np.abs(shift)) * ERROR
        floor = np.floor(value)
        certain = (value - floor > error) & (floor + 1 - value > error)  # never where the error reaches 1, or at NaN
    return np.where(certain, floor, 0).astype(np.int64), certain


def _quotient(a: int, b: int) -> float:
    """``a / b``, correctly rounded; infinity where float64 ends, NaN where it loses precision."""
    try:
        value = a / b
    except OverflowError:
        return float("inf")
    return float("nan") if a and abs(value) < 2.0**-960 else value
