"""Steps that give every requantizer a short factor.

A requantizer multiplies an integer sum by step_in * step_weight / step_out. Unless that is a short multiple of a power
of two, the integer factor that gives the rounded product for all sums has 25 to 30 bits; a DSP slice takes 18. Here the
steps of activations are 3 * 2**k, behind weights step_in * 2**k, since no float32 makes up for a mean's step; those of
weights make the factors multiples of one power of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from toolchain.train.own.kinds import KEEPING, MOVING, Weighted
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.graph import input_of
from toolchain.train.quantizers import LearnedStep
from toolchain.train.structure import weight_quantizer_of

_MANTISSA = 3  # 3 * 2**k: 255 of 3 / 128 are just below the 6 of a ReLU6
_LARGEST_CODE = 255

Steps = Mapping[fx.Node, float]
"""The steps of pixels and of the tensors that quantizers put out."""


def regular_steps(step: float, unit: float = _MANTISSA) -> tuple[float, float]:
    """The ``unit`` * 2**k below ``step``, which may clip much, and the one above, which is coarse."""
    exponent = math.floor(math.log2(step / unit))
    return math.ldexp(unit, exponent), math.ldexp(unit, exponent + 1)


def mean_step(step: float, step_in: float, positions: int) -> float:
    """A step next to ``step`` for means over ``positions`` codes of ``step_in``, whose factor is short.

    The factor is an odd number over a power of two that exceeds twice all sums, so that no sum lies on a tie.
    """
    exponent = (_LARGEST_CODE * positions).bit_length() + 1
    odd = 2 * math.floor(step_in / (positions * step) * 2**exponent / 2) + 1
    return step_in * 2**exponent / (positions * odd)


def quantized_layer(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose values the quantizer ``node`` reads, maybe reshaped."""
    source = input_of(node)
    while isinstance(layer_of(network, source), MOVING):
        source = input_of(source)
    return source


def codes_into(network: fx.GraphModule, node: fx.Node, steps: Steps) -> fx.Node:
    """The node of ``steps`` whose codes ``node`` reads, or one that puts out no codes."""
    source = input_of(node)
    while source not in steps and isinstance(layer_of(network, source), KEEPING):
        source = input_of(source)
    return source


def step_into(network: fx.GraphModule, node: fx.Node, steps: Steps) -> float | None:
    """The step of the codes that ``node`` reads."""
    return steps.get(codes_into(network, node, steps))


def shorten_factors(network: fx.GraphModule, steps: Steps, bits: int) -> None:
    """Move the steps of weights so that all factors are integers of at most ``bits`` bits over one power of two.

    Codes of weights stay. A layer without a quantizer behind it, which puts out sums, keeps its steps.
    """
    ratios: dict[fx.Node, float] = {}  # step_in / step_out
    for node in network.graph.nodes:
        step_in = step_into(network, node, steps) if isinstance(layer_of(network, node), Weighted) else None
        step_out = next((steps[user] for user in node.users if user in steps), None)
        if step_in is not None and step_out is not None:
            ratios[node] = step_in / step_out
    quantizers = {node: _weight_step(layer_of(network, node)) for node in ratios}
    largest = max((float(quantizers[n].step.max()) * ratio for n, ratio in ratios.items()), default=1.0)
    unit = 2.0 ** (math.frexp(largest)[1] - bits)
    with torch.no_grad():
        for node, ratio in ratios.items():
            step = quantizers[node].step.double()
            moved = torch.clamp(torch.round(step * ratio / unit), min=1) * unit / ratio
            _rescale(layer_of(network, node), (moved / step).float())
            quantizers[node].step.copy_(moved)


def _weight_step(layer: Any) -> LearnedStep:
    quantizer = weight_quantizer_of(layer)
    assert isinstance(quantizer, LearnedStep)
    return quantizer


def _rescale(layer: Any, by: Tensor) -> None:
    """Weights that keep their codes when steps change ``by``."""
    layer.weight.mul_(by.reshape(-1, *[1] * (layer.weight.dim() - 1)) if by.dim() else by)
