"""Counts that describe a network: parameters, multiply-accumulates, zero weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from toolchain.train.own.kinds import Weighted

Shape = tuple[int, ...]
"""(features,), (channels, length) or (channels, height, width) of a sample."""


def weighted_layers(model: nn.Module) -> list[Weighted]:
    """The convolutions and fully connected layers, quantized or not, in order."""
    return [layer for layer in model.modules() if isinstance(layer, Weighted)]


def named_weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """The same layers by their paths."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Weighted)}


def parameters(model: nn.Module) -> int:
    """Weights and biases of convolutions and fully connected layers."""
    return sum(p.numel() for layer in weighted_layers(model) for p in (layer.weight, layer.bias) if p is not None)


def macs(model: nn.Module, shape: Shape) -> int:
    """Multiply-accumulates for one sample of ``shape`` (C, ...)."""
    layers = named_weighted_layers(model)
    return sum(written * layers[name].weight.numel() for name, (_, written) in pixels(model, shape).items())


def pixels(model: nn.Module, shape: Shape) -> dict[str, tuple[int, int]]:
    """Values a channel that every convolution and fully connected layer reads and writes, for a sample of ``shape``.

    Those of all calls together. To a linear layer over the length of a signal the positions are channels.
    """
    layers = named_weighted_layers(model)
    found = dict.fromkeys(layers, (0, 0))

    def note(name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        axis = -1 if isinstance(layer, nn.Linear) else 1
        tensors = (*args, *kwargs.values())[0], output  # those of Brevitas have a shape, and no numel()
        read, written = (tensor.shape.numel() // tensor.shape[axis] for tensor in tensors)
        found[name] = found[name][0] + read, found[name][1] + written

    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(model.train, model.training)
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(note, name), with_kwargs=True))
        model.eval()(torch.zeros(1, *shape, device=next(model.parameters()).device))
    return found


def weight_sparsity(model: nn.Module) -> float:
    """The share of weights that are zero as the hardware sees them, after quantization."""
    zeros = total = 0
    with torch.no_grad():
        for layer in weighted_layers(model):
            quantized: Callable[[], Any] | None = getattr(layer, "quant_weight", None)
            weight = quantized().value if quantized else layer.weight
            zeros += int((weight == 0).sum())
            total += weight.numel()
    return zeros / total
