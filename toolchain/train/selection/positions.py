"""Kernel positions that each filter keeps: with the channels already chosen, a 0/1 knapsack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pulp
from numpy.typing import NDArray

Values = NDArray[np.floating]
Mask = NDArray[np.bool_]


def choose_positions(
    values: Mapping[str, Values], costs: Mapping[str, int], bound: int, seconds: float
) -> dict[str, Mask]:
    """The positions of largest total value within ``bound``, one a filter at least.

    Args:
        values: (filters, positions) of every layer, not negative.
        costs: of one position of a layer.
        bound: of the sum of the kept positions' costs; one position a filter is within it.
        seconds: for the solver; without a better answer the largest values for their cost are kept.

    Returns:
        a mask (filters, positions) of every layer.
    """
    model = pulp.LpProblem("positions", pulp.LpMaximize)
    kept = {
        name: [
            [pulp.LpVariable(f"q{at}_{j}_{p}", cat=pulp.LpBinary) for p in range(rows.shape[1])]
            for j in range(len(rows))
        ]
        for at, (name, rows) in enumerate(values.items())
    }
    flat = [
        (x, float(value), costs[name])
        for name, rows in kept.items()
        for row, row_values in zip(rows, values[name], strict=True)
        for x, value in zip(row, row_values, strict=True)
    ]
    model += pulp.lpSum(value * x for x, value, _ in flat)
    model += pulp.lpSum(cost * x for x, _, cost in flat) <= bound
    for rows in kept.values():
        for row in rows:
            model += pulp.lpSum(row) >= 1
    model.solve(pulp.getSolver("HiGHS", msg=False, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0))
    found = {name: np.array([[(x.varValue or 0.0) > 0.5 for x in row] for row in rows]) for name, rows in kept.items()}
    used = sum(int(mask.sum()) * costs[name] for name, mask in found.items())
    if used > bound or not all(mask.any(axis=1).all() for mask in found.values()):
        return _by_ratio(values, costs, bound)
    return found


def _by_ratio(values: Mapping[str, Values], costs: Mapping[str, int], bound: int) -> dict[str, Mask]:
    """The best position of every filter, then the largest values for their cost as long as they fit."""
    kept = {name: np.zeros(rows.shape, dtype=bool) for name, rows in values.items()}
    for name, rows in values.items():
        kept[name][np.arange(len(rows)), rows.argmax(1)] = True
    left = bound - sum(len(rows) * costs[name] for name, rows in values.items())
    order = sorted(
        (-float(value) / costs[name], name, j, p)
        for name, rows in values.items()
        for j, row in enumerate(rows)
        for p, value in enumerate(row)
    )
    for _, name, j, p in order:
        if not kept[name][j, p] and costs[name] <= left:
            kept[name][j, p] = True
            left -= costs[name]
    return kept
