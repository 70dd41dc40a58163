"""How far estimates are from counts, before and after a fit that has not seen the unit it is judged on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from statistics import fmean

import numpy as np

from benchmarks.recorder import Row

FACTORS = np.round(np.geomspace(0.3, 3.0, 93), 4)
CONSTANTS = np.arange(0, 201, 5)
"""Tried in turn: the error of logarithms has no closed solution. Neither leaves what a unit can have."""

LEAST = 4
"""Pairs under which there is nothing to fit."""


def corrected(estimates: Sequence[float], counts: Sequence[float]) -> list[float]:
    """Every estimate times a factor plus a constant, those of least absolute log error over the other pairs.

    With fewer than ``LEAST`` others an estimate stays as it is.
    """
    x, y = np.array(estimates, dtype=float), np.maximum(np.array(counts, dtype=float), 1)
    if len(x) <= LEAST:
        return [float(value) for value in x]
    grid = np.array(list(product(FACTORS, CONSTANTS)))
    errors = np.abs(np.log(np.maximum(grid[:, :1] * x + grid[:, 1:], 1) / y))
    best = [grid[np.argmin(errors.sum(axis=1) - errors[:, i])] for i in range(len(x))]
    return [float(factor * value + constant) for value, (factor, constant) in zip(x, best, strict=True)]


def summary(rows: Sequence[Row], column: str) -> list[Row]:
    """Errors of LUTs in percent by what ``column`` says, then of all ``rows``: of estimates and of fitted ones.

    A row may tell its own ``fitted`` LUTs; others are corrected.
    """
    by_kind: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row[column]].append(row)
    fitted = {kind: _fitted(found) for kind, found in by_kind.items()}
    table = [_errors(kind, by_kind[kind], fitted[kind]) for kind in sorted(by_kind)]
    every = [row for found in by_kind.values() for row in found]
    return [*table, _errors("all", every, [value for found in fitted.values() for value in found])]


def _fitted(rows: Sequence[Row]) -> list[float]:
    corrections = corrected(_column(rows, "estimated"), _column(rows, "counted"))
    return [float(row.get("fitted", value)) for row, value in zip(rows, corrections, strict=True)]


def _errors(kind: str, rows: Sequence[Row], fitted: Sequence[float]) -> Row:
    counts, estimates = _column(rows, "counted"), _column(rows, "estimated")
    found: Row = {"kind": kind, "n": len(rows)}
    for name, values in (("", estimates), ("fitted_", fitted)):
        found[f"{name}mape"] = 100 * fmean(abs(v / max(n, 1) - 1) for v, n in zip(values, counts, strict=True))
        found[f"{name}total"] = 100 * (sum(values) / max(sum(counts), 1) - 1)
    for resource in ("dsp", "bram18"):
        found[f"{resource}_exact"] = sum(row[f"estimated_{resource}"] == row[f"counted_{resource}"] for row in rows)
    return found


def _column(rows: Sequence[Row], what: str) -> list[int]:
    return [row[f"{what}_lut"] for row in rows]
