"""Functions of one number that a float ONNX file writes as several nodes, and the layers that they are.

A GELU below opset 20 is a quotient, an Erf, a sum and two products. Each node is followed as a function of the tensor
in front of all of them, known by its values on a grid, until something else reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.frontend.folding import run_node
from toolchain.frontend.input_order import ANY_ORDER
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.ir.types import Array
from toolchain.train.own.kinds import Abs
from toolchain.train.own.twins import clamped

_FAR, _NEAR = 1e4, 16.0
GRID = np.concatenate([[-_FAR], np.linspace(-_NEAR, _NEAR, 1025), [_FAR]]).astype(np.float32)
"""Where functions are compared; far outside two of a kind differ if anywhere."""
_FOLLOWED = """
Abs Add Clip Div Erf Exp Greater GreaterOrEqual Less LessOrEqual Log Max Min Mul Neg PRelu Pow Relu Sigmoid Softplus
Sub Tanh Where
"""
FOLLOWED = frozenset(_FOLLOWED.split())
"""Operations on each number of a tensor alone, where what they read beside it is one number."""
ALIKE = FOLLOWED | (ANY_ORDER - {"Concat", "Resize", "Slice", "Split", "Upsample"}) | {"Dropout", "Softmax", "Sum"}
"""Operations on single numbers: they work in any order of the axes."""
_CLOSE = 1e-5
_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, partial(nn.GELU, "tanh"), nn.Mish, nn.Hardswish,
    nn.Hardsigmoid, nn.ELU, nn.SELU, nn.Softplus, Abs,
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A function of the tensor ``source``, by its ``values`` on `GRID`; ``node`` is the last that it is written as."""

    node: OnnxNode
    source: str
    values: Array

    def layer(self, x: Tensor) -> nn.Module | None:
        """The layer that is the function, on a tensor like ``x``; None where there is none."""
        if self.values.dtype == bool or not np.isfinite(self.values).all():
            return None
        slope, offset = float(self.values[-2] - self.values[1]) / (2 * _NEAR), float(self.values[len(GRID) // 2])
        line = slope * GRID.astype(np.float64) + offset
        if np.allclose(self.values, line, rtol=_CLOSE, atol=_CLOSE * float(np.abs(self.values[1:-1]).max())):
            return scaled(x, torch.tensor(slope), torch.tensor(offset))
        low, high = float(self.values[0]), float(self.values[-1])
        low, high = -np.inf if low <= -_FAR else low, np.inf if high >= _FAR else high
        known: list[nn.Module] = [kind() for kind in _LAYERS]
        slope = -float(self.values[GRID == -1][0])
        known += [nn.LeakyReLU(slope)] if slope >= 0 else []
        known += [clamped(low, high)] if low < high else []
        return next((layer for layer in known if self._is(layer)), None)

    def _is(self, layer: nn.Module) -> bool:
        return bool(np.allclose(self.values, layer(torch.from_numpy(GRID)).numpy(), rtol=_CLOSE, atol=_CLOSE))


def follow(
    node: OnnxNode,
    opset: int,
    known: Mapping[str, Curve],
    numbers: Mapping[str, Array],
    views: Mapping[str, str],
    *,
    start: bool,
) -> Curve | None:
    """``node`` as a function of one tensor; None where it reads two, or where nothing is known that it continues.

    Args:
        node: any node.
        opset: of its file.
        known: the functions so far, by what they make.
        numbers: constants of one number.
        views: tensors with the numbers of others, by name.
        start: a function may begin with the node.
    """
    read = [name for name in node.inputs if name and name not in numbers]
    sources = {known[name].source if name in known else views.get(name, name) for name in read}
    if node.domain or node.op not in FOLLOWED or len(sources) != 1 or not (start or known.keys() & set(read)):
        return None
    values = {name: known[name].values if name in known else GRID for name in read}
    single = {name: numbers[name].reshape(()) for name in node.inputs if name in numbers}
    with np.errstate(all="ignore"):  # far outside, what is in between may overflow
        if node.op == "Softplus":  # whose reference overflows itself
            result = np.logaddexp(np.float32(0), values[node.inputs[0]])
        else:
            (result,) = run_node(node.proto, opset, {**values, **single})
    return Curve(node, sources.pop(), result if result.dtype == bool else np.asarray(result, dtype=np.float32))


def scaled(x: Tensor, scale: Tensor, offset: Tensor) -> nn.Module:
    """The batch norm that multiplies the channels of ``x`` and adds to them."""
    layer = (nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d)(x.shape[1], eps=0.0)
    layer.weight.copy_(scale)
    layer.bias.copy_(offset)
    return layer
