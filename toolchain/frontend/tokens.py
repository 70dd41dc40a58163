"""Products of two activations, by head, and constants with a number for every token and feature."""

from __future__ import annotations

import numpy as np

from toolchain.frontend.layout import HEADS, TURNED, Layout, Tensor
from toolchain.frontend.moves import index_of
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Moved, Reader
from toolchain.ir.ops.maps import DepthToSpace, Reshape
from toolchain.ir.ops.model import RealMatMul
from toolchain.ir.types import Array, Value


def read_head_products(reader: Reader, node: OnnxNode) -> None:
    """MatMul of (N, P, K) and (N, K, O), or of (N, heads, P, K) and (N, heads, K, O)."""
    a, b = (index_of(reader, node, i) for i in (0, 1))
    shapes = [(reader.batch, *x.index.shape) for x in (a, b)]
    left, right = (x.index if x.index.ndim == 3 else x.index[None] for x in (a, b))
    fits = (
        a.index.ndim == b.index.ndim in (2, 3) and left.shape[0] == right.shape[0] and left.shape[2] == right.shape[1]
    )
    if not fits or a.integers or b.integers or a.turned or b.turned:
        raise reader.file.fault(
            node, f"the product of {shapes[0]} and {shapes[1]}", "both need as many heads, and the terms of a sum"
        )
    heads, positions, _ = left.shape
    first = _matrix(reader, node, a, left.transpose(1, 0, 2))
    forms = {False: right.transpose(2, 0, 1), True: right.transpose(1, 0, 2)}
    tries = ((columns, turn) for turn in (False, True) for columns in forms)
    found = ((columns, _matrix(reader, node, b, forms[columns], turn=turn)) for columns, turn in tries)
    columns, second = next((pair for pair in found if pair[1] is not None), (False, None))
    if first is None or second is None:
        raise reader.file.fault(
            node,
            f"the product of {shapes[0]} and {shapes[1]}, whose elements are moved in front of it",
            "transpose tokens and features, or part the features in heads",
        )
    x, y, sums = first, second, right.shape[2]
    shape = (1, positions, heads * sums)
    reader.emit(
        node,
        Layout(HEADS, shape, heads=heads) if a.index.ndim == 3 else Layout("NWC", shape),
        lambda name, value: RealMatMul(
            name=name, inputs=(x.name, y.name), outputs=(value,), origin=(node.own_name,), heads=heads, columns=columns
        ),
    )


def _matrix(reader: Reader, node: OnnxNode, moved: Moved, index: Array, *, turn: bool = True) -> Value | None:
    """The value whose element [p, c] is that of the source at ``index`` (p, ...); None where there is none."""
    matrix, source = index.reshape(len(index), -1), moved.source
    (rows, columns), (height, width, channels) = matrix.shape, source.value.shape
    natural = np.arange(matrix.size)
    if (height * width, channels) == (rows, columns) and np.array_equal(matrix.ravel(), natural):
        return source.value
    turned = (channels, height * width) == (rows, columns) and np.array_equal(matrix.T.ravel(), natural)
    if turn and turned and source.layout.axes in TURNED and not source.layout.order:
        return reader.turned(node, source).value
    return None


def flat_beside(reader: Reader, node: OnnxNode, source: Tensor, constant: Array) -> tuple[Tensor, Array] | None:
    """``source`` as a vector and ``constant`` in its order, where that has a number for every position and channel."""
    layout, shape = source.layout, source.layout.onnx_shape(1)
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if layout.axes not in TURNED or constant.ndim > len(shape) or sizes != shape or min(sizes[1:]) == 1:
        return None
    return flat_signal(reader, node, source), layout.to_ir(constant.reshape(shape)).ravel()


def flat_signal(reader: Reader, node: OnnxNode, source: Tensor) -> Tensor:
    """``source`` as a vector in the order of its stream."""
    flat = Layout("NC", (1, 1, source.value.size))
    value = reader.emit(
        node,
        flat,
        lambda name, value: Reshape(name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,)),
        define=False,
    )
    return Tensor(value, flat, source.onnx_name)


def spread_again(reader: Reader, node: OnnxNode, layout: Layout) -> None:
    """The output of ``node``, a vector so far, as the signal of ``layout`` that it was."""
    flat = reader.tensors[node.outputs[0]].value
    block = (1, layout.shape[1])
    reader.emit(
        node,
        layout,
        lambda name, value: DepthToSpace(
            name=name, inputs=(flat.name,), outputs=(value,), origin=(node.own_name,), block=block, channels_first=False
        ),
    )
