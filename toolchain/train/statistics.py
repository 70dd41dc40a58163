"""Counts that describe a network: parameters, multiply-accumulates, zero weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Weighted = nn.Conv1d | nn.Conv2d | nn.Linear


def weighted_layers(model: nn.Module) -> list[Weighted]:
    """The convolutions and fully connected layers, quantized or not, in order."""
    return [layer for layer in model.modules() if isinstance(layer, Weighted)]


def named_weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """The same layers by their paths."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Weighted)}


def parameters(model: nn.Module) -> int:
    """Weights and biases of convolutions and fully connected layers."""
    return sum(p.numel() for layer in weighted_layers(model) for p in (layer.weight, layer.bias) if p is not None)


def macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates for one sample of ``shape`` (C, ...); the model is in eval mode."""
    total = 0

    def count(layer: Weighted, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in weighted_layers(model)]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return total


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
