"""A factor and a constant fitted to pairs, each pair judged by the fit to the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

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
