"""A network of integer layers, made from the float network of the same run file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.config.run import NitiConfig, RunConfig
from toolchain.errors import UserError
from toolchain.train import blocks
from toolchain.train.models import build
from toolchain.train.niti.layers import (
    VARIANTS,
    AvgPool,
    Conv,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Variant,
)
from toolchain.train.niti.numbers import Block
from toolchain.train.niti.rounding import Rounding, nearest, pseudo_stochastic, stochastic
from toolchain.train.statistics import Shape


class Network(nn.Module):
    """The integer ``layers`` by name, one after the other, and what rounds gradients where that is at random."""

    def __init__(self, layers: OrderedDict[str, nn.Module], generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator
        self.layers = nn.Sequential(layers)
        self.weighted()[0][1].first = True

    def forward(self, x: Block) -> Block:
        """Logits (N, classes) of a map (N, H, W, C)."""
        for _, layer in self.named_layers():
            x = layer(x)
        return x

    def backward(self, error: Tensor) -> None:
        """Leave in every layer with weights the gradient for the error (N, classes) at the logits."""
        for _, layer in reversed(list(self.named_layers())):
            error = layer.backward(error)
            if isinstance(layer, Linear) and layer.first:
                return

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """The layers in order."""
        return self.layers.named_children()  # type: ignore[return-value]

    def weighted(self) -> list[tuple[str, Linear]]:
        """The layers with weights in order."""
        found: list[tuple[str, Linear]] = []
        for name, layer in self.named_layers():
            if isinstance(layer, Residual):
                found += [(f"{name}.{inner}", conv) for inner, conv in layer.weighted()]
            elif isinstance(layer, Linear):
                found.append((name, layer))
        return found

    def shifted(self) -> list[tuple[str, Linear | AvgPool | Residual]]:
        """Return the layers that shift in a forward pass: those with weights, mean pools, and sums by their blocks."""
        others = [(name, layer) for name, layer in self.named_layers() if isinstance(layer, AvgPool | Residual)]
        return [*self.weighted(), *others]


def build_integer(config: RunConfig, shape: Shape, classes: int) -> Network:
    """The network of a run file with random weights that follow from its seed.

    Raises:
        UserError: it holds a layer that integer-only training does not have.
    """
    generator = torch.Generator().manual_seed(config.train.seed)
    roundings: dict[str, Rounding] = {
        "pseudo-stochastic": pseudo_stochastic,
        "stochastic": partial(stochastic, generator=generator),
        "nearest": nearest,
    }
    variant = replace(VARIANTS[config.niti.variant], gradient=roundings[config.niti.gradient_rounding])
    made = partial(integer_layer, config.model.name, variant=variant, generator=generator, niti=config.niti)
    layers = OrderedDict[str, nn.Module]()
    for name, layer in float_twin(config, shape, classes).named_children():
        if not isinstance(layer, nn.Identity):  # the input of a float network
            layers[name] = made(name, layer)
    return Network(layers, generator)


def float_twin(config: RunConfig, shape: Shape, classes: int) -> nn.Module:
    """The float network with the same layers; its weights are not used."""
    return build(config.model_copy(update={"train": config.train.model_copy(update={"float": True})}), shape, classes)


def integer_layer(
    model: str, name: str, layer: nn.Module, *, variant: Variant, generator: torch.Generator, niti: NitiConfig
) -> Layer:
    """The integer layer of the float ``layer`` called ``name``.

    Raises:
        UserError: there is none.
    """

    def inner(part: str) -> Conv:
        conv = layer.get_submodule(part)
        made = integer_layer(model, f"{name}.{part}", conv, variant=variant, generator=generator, niti=niti)
        assert isinstance(made, Conv)
        return made

    extra: dict[str, Any] = {"fraction_bits": niti.fraction_bits, "bias": niti.bias}
    match layer:
        case nn.Conv2d(kernel_size=(int() as k, _), padding=(int() as pad, _), groups=1, bias=None) if pad < k:
            (stride, _), sizes = layer.stride, (layer.in_channels, layer.out_channels)
            return Conv(*sizes, k, pad, variant, generator, stride=stride, **extra)
        case blocks.Residual():
            short = None if isinstance(layer.shortcut, nn.Identity) else inner("shortcut.conv")
            return Residual(inner("conv1"), inner("conv2"), short, variant)
        case nn.AvgPool2d(kernel_size=(int() as rows, int() as columns)) if (rows * columns).bit_count() == 1:
            return AvgPool(rows * columns, variant)
        case nn.Linear(bias=None):
            return Linear(layer.in_features, layer.out_features, variant, generator, **extra)
        case nn.ReLU():
            return ReLU()
        case nn.MaxPool2d(kernel_size=2):
            return MaxPool()
        case nn.Flatten():
            return Flatten()
    raise UserError(
        f"integer-only training has no layer for '{name}' of model '{model}' ({type(layer).__name__})",
        hint="model.plain = true leaves out batch norms; a mean is over 2^k positions",
    )
