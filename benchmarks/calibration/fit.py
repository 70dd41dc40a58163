"""Coefficients of the parts, fitted to published rows, and how well they predict projects they have not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.calibration.kinds import Description, describe
from benchmarks.calibration.rows import Row

PRIOR = 0.2  # pull of every coefficient towards one, relative to one row's weight; see docs/decisions/0004
_ROUNDS, _SMALL = 60, 0.02  # reweighting rounds; relative errors below this count alike

FEWEST = 7  # rows that a fit needs

Key = tuple[str, str, str]
Array = np.ndarray


@dataclass(frozen=True)
class Sample:
    """One distinct row with its parts."""

    row: Row
    description: Description
    group: str


@dataclass(frozen=True)
class Fit:
    """Coefficients of one family at one stage for one resource, its rows and their held-out predictions."""

    coefficients: Mapping[str, float]
    samples: Sequence[Sample]
    fitted: Array
    held_out: Array


def calibration(rows: Sequence[Row]) -> list[Sample]:
    """The distinct rows that may be fitted: parallelism known, weights not folded in as constants."""
    samples = []
    for row in rows:
        description = describe(row)
        if description is not None and row.text("par_known") == "1" and "constants" not in row.text("notes"):
            samples.append(Sample(row, description, group(row)))
    return samples


def group(row: Row) -> str:
    """Return the group that is left out together: a project, or a sweep or input width of the generated data sets."""
    if row.source == "FINN_MVU_asadalam":
        return f"{row.source}:{row.design}"
    if row.source.startswith("wa-hls4ml"):
        return f"{row.source}:{row.text('n_in')}"
    return row.source


def fit_all(rows: Sequence[Row]) -> dict[Key, Fit]:
    """One fit a family, stage and resource that ``rows`` hold."""
    chosen: dict[Key, list[Sample]] = defaultdict(list)
    for sample in calibration(rows):
        for resource in sample.description.fitted:
            if sample.row.used.get(resource, 0) > 0:
                chosen[sample.description.family, sample.description.stage, resource].append(sample)
    return {key: fit_one(samples, key[2]) for key, samples in sorted(chosen.items()) if len(samples) >= FEWEST}


def fit_one(samples: Sequence[Sample], resource: str) -> Fit:
    """Fit of all samples, and for every group the prediction of a fit without it."""
    names = list(samples[0].description.fitted[resource])
    features = np.array([[s.description.fitted[resource][n] for n in names] for s in samples], dtype=float)
    published = np.array([s.row.used[resource] for s in samples])
    weights = _weights(samples)
    groups = np.array(_groups(samples))
    held_out = np.zeros(len(samples))
    for name in sorted(set(groups)):
        out = groups == name
        held_out[out] = features[out] @ solve(features[~out], published[~out], weights[~out])
    solution = solve(features, published, weights)
    coefficients = {name: float(f"{value:.4g}") for name, value in zip(names, solution, strict=True)}
    return Fit(coefficients, samples, features @ solution, held_out)


def _groups(samples: Sequence[Sample]) -> list[str]:
    """Return the group that each sample is left out with; where one project is all there is, a layer shape."""
    if len({s.group for s in samples}) > 1:
        return [s.group for s in samples]
    return [s.row.text("shape") for s in samples]


def _weights(samples: Sequence[Sample]) -> Array:
    """Weights that let a project of n rows count as sqrt(n)."""
    sizes: dict[str, int] = defaultdict(int)
    for sample in samples:
        sizes[sample.row.source] += 1
    return np.array([sizes[s.row.source] ** -0.5 for s in samples])


def solve(features: Array, published: Array, weights: Array) -> Array:
    """Non-negative coefficients of least weighted sum of |log(predicted / published)|, pulled softly towards one.

    The logarithm treats half and double alike, and the absolute value keeps a few folded-away designs from ruling the
    rest. Solved by reweighted non-negative least squares on its linearization; without rows, all coefficients are one.
    """
    relative = features / published[:, None]
    pull = np.eye(features.shape[1]) * PRIOR**0.5
    solution = np.ones(features.shape[1])
    for _ in range(_ROUNDS):
        ratio = np.maximum(relative @ solution, 1e-6)
        error = np.log(ratio)
        root = np.sqrt(weights / np.maximum(np.abs(error), _SMALL))
        slope = relative / ratio[:, None]
        system = np.vstack([slope * root[:, None], pull])
        target = np.concatenate([(1 - error) * root, np.diag(pull)])
        solution = (solution + nnls(system, target)[0]) / 2
    return solution


def to_json(fits: Mapping[Key, Fit]) -> dict[str, Any]:
    """Coefficients with their rows, projects and held-out errors in percent."""
    return {"/".join(key): _entry(fit, key[2]) for key, fit in fits.items()}


def _entry(fit: Fit, resource: str) -> dict[str, Any]:
    error = fit.held_out / np.array([s.row.used[resource] for s in fit.samples]) - 1
    return {
        "parts": dict(fit.coefficients),
        "rows": len(fit.samples),
        "groups": len({s.group for s in fit.samples}),
        "projects": sorted({s.row.source for s in fit.samples}),
        "cv_mape": round(float(np.mean(np.abs(error)) * 100), 1),
        "cv_median_ape": round(float(np.median(np.abs(error)) * 100), 1),
        "cv_bias": round(float(np.mean(error) * 100), 1),
    }
