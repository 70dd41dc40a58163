"""Fixed exponents: a trained network whose shifts no longer depend on the data, as hardware has them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from toolchain.train.niti.layers import Linear
from toolchain.train.niti.network import Network
from toolchain.train.niti.numbers import Block, narrowed
from toolchain.train.niti.rounding import nearest

Shifts = dict[str, int]
"""The right shift behind each layer with weights."""


def freeze(network: Network, batches: Iterable[Block]) -> Shifts:
    """The largest shift that each layer takes on any of the ``batches``: nothing in them is clipped by the freezing."""
    shifts = {name: 0 for name, _ in network.weighted()}
    for batch in batches:
        network(batch)
        shifts = {name: max(shifts[name], layer.shift) for name, layer in network.weighted()}
    return shifts


def run_frozen(network: Network, shifts: Shifts, x: Tensor) -> Tensor:
    """Accumulators (N, classes) of the last layer for mantissas (N, H, W, C), int32.

    Every layer before it rounds to nearest, whatever the network was trained with: it is what a QONNX file can say. The
    last one is not shifted, since the largest of its sums is the answer.
    """
    last = network.weighted()[-1][0]
    for name, layer in network.named_layers():
        if not isinstance(layer, Linear):
            x = layer(Block(x, 0)).mantissa
        elif name == last:
            return layer.accumulate(x)
        else:
            x = narrowed(nearest(layer.accumulate(x), shifts[name]))
    raise AssertionError("a network ends with a layer that has weights")


def frozen_exponents(network: Network, shifts: Shifts, exponent: int) -> Shifts:
    """The exponent at the output of each layer with weights, for an input of ``exponent``."""
    exponents = {}
    for name, layer in network.weighted():
        exponent += layer.exponent + shifts[name]
        exponents[name] = exponent
    return exponents


def frozen_top1(network: Network, shifts: Shifts, batches: Iterable[tuple[Block, Tensor]]) -> float:
    """The share of right answers of the frozen network."""
    right = total = 0
    with torch.no_grad():
        for x, labels in batches:
            right += int((run_frozen(network, shifts, x.mantissa).argmax(1) == labels).sum())
            total += len(labels)
    return right / total
