"""Kernel positions that each filter keeps: the second stage of the channel selection's finer granularity.

A position (a, b) of the filter of output j is kept for all of its inputs or for none (the authors' "shape columns").
With the channels already chosen the quadratic program of the paper is a 0/1 knapsack.
"""

from __future__ import annotations

import torch
from torch import nn

from toolchain.errors import UserError
from toolchain.train.methods.weights import keep_masked
from toolchain.train.selection.positions import choose_positions
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
        name: (layer.weight.flatten(2).abs().sum(1) / layer.weight.norm().clamp_min(1e-30)).detach().cpu().numpy()
        for name, layer in named_weighted_layers(model).items()
        if isinstance(layer, nn.Conv2d) and layer.weight[0, 0].numel() > 1
    }
    layers = named_weighted_layers(model)
    inputs = {name: layers[name].weight.shape[1] for name in kernels}
    rest = parameters(model) - sum(values.size * inputs[name] for name, values in kernels.items())
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
        shaped = torch.from_numpy(mask).reshape(len(mask), 1, *weight.shape[2:])
        masks[name] = shaped.expand(weight.shape).clone().to(weight.device)
    return keep_masked(model, masks)
