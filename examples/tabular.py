"""A multilayer perceptron for tables: (N, features) to (N, classes)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


def build(shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (64, 32)) -> nn.Module:
    """A network of ``hidden`` layers for the features of ``shape``, (features,) or all but one of whose axes are 1."""
    features = math.prod(shape)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, outputs in enumerate(hidden, 1):
        layers[f"fc{index}"] = nn.Linear(features, outputs)
        layers[f"norm{index}"] = nn.BatchNorm1d(outputs)
        layers[f"act{index}"] = nn.LeakyReLU(0.125)
        features = outputs
    layers["fc"] = nn.Linear(features, classes)
    return nn.Sequential(layers)
