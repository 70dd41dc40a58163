"""The gradient of softmax cross entropy in integers.

With x the logits, 2**x' for x' = x * log2(e) stands in for exp(x), and only x' within 10 of the largest counts; where
the logits are smaller than 1 (exponent <= -7) exp(x) is 1 + x + x**2 / 2. This is the rule of the authors' code of
October 2020; a later version of it divides in floating point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.train.niti.numbers import Block, narrowed
from toolchain.train.niti.rounding import stochastic

LOG2_E = 47274  # log2(e) * 2**15
_POWERS = 10  # binary orders of magnitude below the largest probability that are kept
_SHARE_BITS, _ERROR_BITS = 11, 7
_SMALLEST, _LARGEST = -20, 40  # beyond these exponents all logits count as equal, or only the largest counts


def shares(logits: Block, labels: Tensor) -> Tensor:
    """2**11 * (softmax - one hot) in int64, (B, classes); each row sums to exactly 0."""
    v, exponent = logits.mantissa.long(), logits.exponent
    if exponent > -7:
        v = _down(v * LOG2_E, 15)
        v = v * (1 << min(exponent, _LARGEST)) if exponent >= 0 else _down(v, -exponent)
        weights = (1 << (v - v.amax(1, keepdim=True) + _POWERS).clamp(min=0)) - 1
    else:
        if exponent < _SMALLEST:
            v, exponent = _down(v, min(_SMALLEST - exponent, 62)), _SMALLEST
        weights = (1 << (1 - 2 * exponent)) + v * (1 << (1 - exponent)) + v * v
    share = (weights << _SHARE_BITS) // weights.sum(1, keepdim=True)  # nothing here is negative
    share[torch.arange(len(labels), device=labels.device), labels] -= share.sum(1)
    return share


def error(logits: Block, labels: Tensor, generator: torch.Generator) -> Tensor:
    """The error (B, classes) that goes backward: int8, about 2**7 * (softmax - one hot), rounded at random."""
    return narrowed(stochastic(shares(logits, labels), _SHARE_BITS - _ERROR_BITS, generator))


def _down(v: Tensor, shift: int) -> Tensor:
    """v / 2**shift towards zero."""
    return torch.where(v < 0, -(-v >> shift), v >> shift)
