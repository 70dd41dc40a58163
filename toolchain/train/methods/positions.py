"""Which positions of a kernel each filter keeps: the second stage of the channel selection's finer granularity.

A position (a, b) of the filter of output j is kept for all of its inputs or for none (the authors' "shape columns").
With the channels already chosen the quadratic program of the paper is a 0/1 knapsack.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulp
import torch
from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.train.methods.weights import keep_masked
from toolchain.train.statistics import named_weighted_layers, parameters
from toolchain.train.structure import Edit


def keep_positions(model: nn.Module, params: int, seconds: float) -> list[Edit]:
    """Zero the positions that matter least until ``params`` weights and biases are left, in place.

    Every filter keeps one position at least. A position's value is the sum of |weights| there over the Frobenius norm
    of its layer.

    Raises:
        UserError: one position a filter is more.
    """
    kernels = {
        name: layer.weight.detach().flatten(2).abs().sum(1) / layer.weight.detach().norm().clamp_min(1e-30)
        for name, layer in named_weighted_layers(model).items()
        if isinstance(layer, nn.Conv2d) and layer.weight[0, 0].numel() > 1
    }
    layers = named_weighted_layers(model)
    inputs = {name: layers[name].weight.shape[1] for name in kernels}
    rest = parameters(model) - sum(values.numel() * inputs[name] for name, values in kernels.items())
    needed = rest + sum(len(values) * inputs[name] for name, values in kernels.items())
    if needed > params:
        raise UserError(
            f"a budget of {params:,} params cannot be met: one position a filter of the chosen channels still takes "
            f"{needed:,}",
            hint="raise the budget or gamma",
        )
    kept = choose_positions(kernels, inputs, params - rest, seconds)
    masks = {}
    for name, mask in kept.items():
        weight = layers[name].weight
        masks[name] = mask.reshape(len(mask), 1, *weight.shape[2:]).expand(weight.shape).clone().to(weight.device)
    return keep_masked(model, masks)


def choose_positions(
    values: Mapping[str, Tensor], costs: Mapping[str, int], bound: int, seconds: float
) -> dict[str, Tensor]:
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
    found = {
        name: torch.tensor([[(x.varValue or 0.0) > 0.5 for x in row] for row in rows]) for name, rows in kept.items()
    }
    used = sum(int(mask.sum()) * costs[name] for name, mask in found.items())
    if used > bound or not all(bool(mask.any(1).all()) for mask in found.values()):
        return _by_ratio(values, costs, bound)
    return found


def _by_ratio(values: Mapping[str, Tensor], costs: Mapping[str, int], bound: int) -> dict[str, Tensor]:
    """The best position of every filter, then the largest values for their cost as long as they fit."""
    kept = {name: torch.zeros_like(rows, dtype=torch.bool) for name, rows in values.items()}
    for name, rows in values.items():
        kept[name][torch.arange(len(rows)), rows.argmax(1)] = True
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
