"""Transposed convolutions whose windows do not overlap, written as a convolution and a shuffle of its channels."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import Any

import torch
from torch import nn

from toolchain.train.own.kinds import BlockShuffle


def write_out_transposed(model: nn.Module) -> None:
    """Put a 1x1 convolution and a shuffle in the place of each transposed convolution of stride = kernel, in place.

    Each of its outputs is read from one position alone, so that no weight is written twice. A bias becomes one for each
    place in a window.
    """
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for name, layer in list(parent._modules.items()):  # named_children leaves out the second name of a layer
            if layer is not None and _lie_side_by_side(layer):
                if layer not in made:
                    made[layer] = _written_out(layer)
                setattr(parent, name, made[layer])


def _lie_side_by_side(layer: nn.Module) -> bool:
    """Return whether ``layer`` is a transposed convolution whose windows lie side by side, with a plain weight.

    One of Brevitas, which is a subclass with a quantizer, is not.
    """
    if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) or "weight" not in layer._parameters:
        return False
    if type(layer).forward not in (nn.ConvTranspose1d.forward, nn.ConvTranspose2d.forward):
        return False
    apart = layer.kernel_size == layer.stride and {*layer.dilation} == {1}
    return apart and not any(layer.padding) and not any(layer.output_padding)


def _written_out(layer: Any) -> nn.Module:
    """A 1x1 convolution, which has the weights of all places of the window, and the shuffle that lays them out."""
    window, groups = tuple(layer.kernel_size), layer.groups
    kind: Any = nn.Conv1d if len(window) == 1 else nn.Conv2d
    conv = kind(layer.in_channels, layer.out_channels * prod(window), 1, groups=groups, bias=layer.bias is not None)
    with torch.no_grad():
        weight = layer.weight.unflatten(0, (groups, -1)).movedim(1, -1)
        conv.weight.copy_(weight.reshape(conv.weight.shape))
        if layer.bias is not None:
            conv.bias.copy_(layer.bias.repeat_interleave(prod(window)))
    for own, given in ((conv.weight, layer.weight), (conv.bias, layer.bias)):
        if own is not None:
            own.requires_grad_(given.requires_grad)
    square = len(window) == 2 and len({*window}) == 1
    shuffle = nn.PixelShuffle(window[0]) if square else BlockShuffle(*window)
    return nn.Sequential(OrderedDict(conv=conv, shuffle=shuffle)).train(layer.training)
