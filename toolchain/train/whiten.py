"""A first convolution that begins as the directions in which patches of the images vary most.

Source: the whitening layer of K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (2024), here as the first
weights of a layer that is there anyway: nothing is added to the network, and it is trained on.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress

import torch
from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.train.statistics import weighted_layers


class _Reached(Exception):
    """The first layer is called."""


@torch.no_grad()
def first_layer(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """The convolution or fully connected layer of ``model`` that is called first, and what it reads of ``images``."""
    found: list[tuple[nn.Module, Tensor]] = []

    def stop(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((layer, inputs[0]))
        raise _Reached

    with suppress(_Reached), ExitStack() as hooks:
        for layer in weighted_layers(model):
            hooks.enter_context(layer.register_forward_pre_hook(stop))
        model(images)
    return found[0]


@torch.no_grad()
def whiten(layer: nn.Module, images: Tensor) -> None:
    """Set the weights of a convolution, in place, to whitened directions of its patches and their negatives, in turns.

    Directions are eigenvectors of the patches' covariance, the largest variance first, as long as the layer's own
    weights are on average; channels beyond twice the directions keep theirs.

    Args:
        layer: the network's first convolution, of one group.
        images: its input (N, C, H, W).

    Raises:
        UserError: the layer is no such convolution.
    """
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1:
        raise UserError("train.whiten needs a network that begins with a convolution", hint="leave it out")
    weight = layer.weight
    patches = nn.functional.unfold(images, layer.kernel_size).transpose(1, 2).flatten(0, 1).double()
    patches -= patches.mean(0)
    _, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    directions = directions.flip(1).T  # eigh's are ascending
    both = torch.stack([directions, -directions], 1).flatten(0, 1)[: len(weight)]
    length = weight.flatten(1).norm(dim=1).mean()
    weight[: len(both)] = (both * length).reshape(-1, *weight.shape[1:]).to(weight.dtype)
