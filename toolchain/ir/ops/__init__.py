"""The operations of the dataflow IR, one file an operation or a family of them.

Values have shape (H, W, C). Operations on integers are also the hardware's units: one node is one unit.
"""

from __future__ import annotations

from toolchain.ir.ops import (
    add,
    argmax,
    maps,
    matmul,
    model,
    multiply,
    norm,
    pools,
    products,
    requantizers,
    softmax,
    window,
    wiring,
)
from toolchain.ir.ops.node import Node

INTEGER_OPS: tuple[type[Node], ...] = (
    window.Window,
    products.MatVec,
    products.GroupedMatVec,
    products.Depthwise,
    *pools.OPS,
    *requantizers.OPS,
    add.Add,
    multiply.Multiply,
    matmul.MatMul,
    norm.Norm,
    softmax.Softmax,
    argmax.ArgMax,
    *maps.OPS,
)
HARDWARE_OPS: tuple[type[Node], ...] = (*INTEGER_OPS, *wiring.OPS, products.RowConv)
MODEL_OPS: tuple[type[Node], ...] = (*model.OPS, argmax.ArgMax, *maps.OPS)
