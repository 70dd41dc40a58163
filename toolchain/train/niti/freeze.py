"""Fixed exponents: a trained network whose shifts no longer depend on the data, as hardware has them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from toolchain.train.niti.layers import AvgPool, Layer, Linear, Residual
from toolchain.train.niti.network import Network
from toolchain.train.niti.numbers import Block, narrowed
from toolchain.train.niti.rounding import nearest

Shifts = dict[str, int]
"""The right shift behind each layer with weights, each mean and each sum of two blocks."""


def freeze(network: Network, batches: Iterable[Block]) -> Shifts:
    """The largest shift that each layer takes on any of the ``batches``: nothing in them is clipped by the freezing."""
    shifts = {name: 0 for name, _ in network.shifted()}
    for batch in batches:
        network(batch)
        shifts = {name: max(shifts[name], layer.shift) for name, layer in network.shifted()}
    return shifts


def run_frozen(network: Network, shifts: Shifts, x: Block) -> Block:
    """Accumulators (N, classes) of the last layer for a map (N, H, W, C), int32.

    Every layer before it rounds to nearest, whatever the network was trained with: it is what a QONNX file can say. The
    last one is not shifted, since the largest of its sums is the answer.
    """
    last = network.weighted()[-1][0]
    for name, layer in network.named_layers():
        if name == last:
            assert isinstance(layer, Linear)
            return layer.accumulate(x)
        x = _frozen(name, layer, shifts, x)
    raise AssertionError("a network ends with a layer that has weights")


def _frozen(name: str, layer: Layer, shifts: Shifts, x: Block) -> Block:
    """The output of a layer in front of the last."""
    match layer:
        case Linear() | AvgPool():
            return _shifted(layer.accumulate(x), shifts[name])
        case Residual():
            inner = layer.act1(_frozen(f"{name}.conv1", layer.conv1, shifts, x))
            sums, rest = layer.conv2.accumulate(inner), x
            ends = sums.exponent + shifts[f"{name}.conv2"], x.exponent
            if layer.shortcut is not None:
                rest = layer.shortcut.accumulate(x)
                ends = ends[0], rest.exponent + shifts[f"{name}.shortcut"]
            parts = [
                _shifted(Block(one.mantissa.to(torch.int32), one.exponent), max(ends) - one.exponent)
                for one in (sums, rest)
            ]
            total = parts[0].mantissa.to(torch.int32) + parts[1].mantissa
            out: Block = layer.act2(_shifted(Block(total, max(ends)), shifts[name]))
            return out
        case _:
            passed: Block = layer(x)
            return passed


def _shifted(sums: Block, shift: int) -> Block:
    """Sums as mantissas, rounded to nearest."""
    return Block(narrowed(nearest(sums.mantissa, shift)), sums.exponent + shift)


def frozen_exponents(network: Network, shifts: Shifts, exponent: int) -> Shifts:
    """The exponent at the output of each layer by name, for an input of ``exponent``.

    Of a block: ``NAME.conv1``, the operands of its sum as ``NAME.operand``, and the block itself.
    """
    exponents: Shifts = {}
    for name, layer in network.named_layers():
        match layer:
            case Linear():
                exponent += layer.exponent + shifts[name]
            case AvgPool():
                exponent += shifts[name] - layer.halvings
            case Residual():
                first = exponent + layer.conv1.exponent + shifts[f"{name}.conv1"]
                ends = [first + layer.conv2.exponent + shifts[f"{name}.conv2"], exponent]
                if layer.shortcut is not None:
                    ends[1] += layer.shortcut.exponent + shifts[f"{name}.shortcut"]
                exponents |= {f"{name}.conv1": first, f"{name}.operand": max(ends)}
                exponent = max(ends) + shifts[name]
        exponents[name] = exponent
    return exponents


def frozen_top1(network: Network, shifts: Shifts, batches: Iterable[tuple[Block, Tensor]]) -> float:
    """The share of right answers of the frozen network."""
    right = total = 0
    with torch.no_grad():
        for x, labels in batches:
            right += int((run_frozen(network, shifts, x).mantissa.argmax(1) == labels).sum())
            total += len(labels)
    return right / total
