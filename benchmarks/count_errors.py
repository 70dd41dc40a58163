"""Errors of estimates against counts, before and after a fit that has not seen the unit it is judged on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean

import numpy as np

from benchmarks.calibration.fit import solve
from benchmarks.recorder import Row

CONSTANT = 50.0
"""The scale of the constant's column, the size of small units' LUTs: its coefficient is pulled to one like others."""

LEAST = 3
"""Shapes under which there is nothing to fit."""


def held_out(features: np.ndarray, counts: np.ndarray, groups: Sequence[Hashable]) -> list[float]:
    """Predictions of every group's rows by a fit to the rows of all others."""
    found = np.zeros(len(counts))
    for group in dict.fromkeys(groups):
        out = np.array([other == group for other in groups])
        found[out] = features[out] @ solve(features[~out], counts[~out], np.ones(int((~out).sum())))
    return [float(value) for value in found]


def corrected(rows: Sequence[Row]) -> list[float]:
    """LUTs by a constant and the estimates of LUTs and flip-flops, fitted to the rows of other shapes.

    A shape is what a row tells of it and its estimates: rows of networks tell nothing else. With at most ``LEAST``
    shapes an estimate stays as it is.
    """
    estimates = [tuple(row[f"estimated_{name}"] for name in ("lut", "ff", "dsp", "bram18")) for row in rows]
    shapes = [(row.get("shape"), estimate) for row, estimate in zip(rows, estimates, strict=True)]
    if len(set(shapes)) <= LEAST:
        return [float(luts) for luts, *_ in estimates]
    features = np.array([(CONSTANT, luts, ffs) for luts, ffs, *_ in estimates], dtype=float)
    return held_out(features, np.array([max(row["counted_lut"], 1) for row in rows], dtype=float), shapes)


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
    return [float(row.get("fitted", value)) for row, value in zip(rows, corrected(rows), strict=True)]


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
