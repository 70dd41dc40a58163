"""Weights that norms make, put in the place of what they are made of."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from toolchain.train.own.kinds import Weighted


def fix_weights(model: nn.Module) -> None:
    """Put what a weight or spectral norm makes of a weight in its place: a network that is not trained keeps it."""
    for layer in model.modules():
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(layer, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(layer, hook.name)
        if isinstance(layer, Weighted) and parametrize.is_parametrized(layer, "weight"):
            _take_off(layer)


def _take_off(layer: Weighted) -> None:
    """Put plain parameters in the place of parametrized ones.

    `parametrize.remove_parametrizations` changes the layer's class, which a copy of a layer shares with it.
    """
    made = {name: getattr(layer, name).detach() for name in layer.parametrizations}  # type: ignore[union-attr]
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in made.items():
        setattr(layer, name, nn.Parameter(value))
