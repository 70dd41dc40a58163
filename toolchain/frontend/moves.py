"""Reshapes and transposes of any rank, followed by where they take the elements of a map, until something reads them.

What is left then has a form or is refused: another order of the channels (a shuffle), positions made into channels
(a Focus, a map read as a sequence) or channels into positions (a pixel shuffle), other names of the axes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toolchain.frontend.layout import (
    ACTIVE,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    HEADS,
    MOVED,
    TURNED,
    Layout,
    Tensor,
    elements,
)
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxNode
from toolchain.frontend.reader import Moved, Padded, Reader
from toolchain.ir.ops.maps import DepthToSpace, Permute, Reshape, Slice, SpaceToDepth
from toolchain.ir.types import Array, Shape, Value

ORDERS = {2: ("NC",), 3: ("NCW", "NWC"), 4: ("NCHW", "NHWC")}
"""Names of the axes of a tensor, by its rank."""
MAP_OPS = frozenset({"AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
"""Operations that read maps and signals, in the order of axes that their domain has."""
_BETWEEN = frozenset({"Clip", "DequantizeLinear", "Identity", "QuantizeLinear", "Relu"})
"""Operations, beside quantizers, that may stand between a move and the operation that it is for."""


def index_of(reader: Reader, node: OnnxNode, index: int = 0) -> Moved:
    """Input ``index`` of ``node`` by where its elements lie."""
    name = node.input(index)
    if name in reader.moved:
        return reader.moved[name]
    source = reader.tensor(node, index, ACTIVE)
    return Moved(source, elements(source.layout))


def move(reader: Reader, node: OnnxNode, moved: Moved, whole: Array, output: int = 0) -> None:
    """An output of ``node`` are the elements ``whole`` of the source of ``moved``, until something reads it.

    ``whole`` has an axis for the batch: the first, unless that has other elements.
    """
    turned = len(whole) > 1
    reader.moved[node.outputs[output]] = Moved(moved.source, whole if turned else whole[0], moved.integers, turned)


def by_head(moved: Moved) -> bool:
    """Return whether these are tokens whose features are parted, as in heads, which products read as they are."""
    return moved.index.ndim == 3 and moved.source.layout.axes in (*TURNED, HEADS)


def moved_shape(reader: Reader, moved: Moved) -> tuple[int, ...]:
    """The ONNX shape of a moved tensor."""
    return tuple(moved.index.shape) if moved.turned else (reader.batch, *moved.index.shape)


def picked(reader: Reader, node: OnnxNode, moved: Moved, whole: Array) -> tuple[Moved, Array] | None:
    """A source of the elements ``whole`` of ``moved`` alone, and where they are in it.

    None unless they are all of some consecutive channels of its source.
    """
    source = moved.source
    height, width, channels = source.value.shape
    low, count = int((whole % channels).min()), len(np.unique(whole % channels))
    every = np.arange(height * width)[:, None] * channels + np.arange(low, low + count)
    if source.layout.order or source.layout.axes == HEADS or not np.array_equal(np.sort(whole, None), every.ravel()):
        return None
    layout = Layout(source.layout.axes, (height, width, count))
    value = reader.emit(
        node,
        layout,
        lambda name, value: Slice(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), start=low
        ),
        define=False,
    )
    part = Moved(Tensor(value, layout, source.onnx_name), moved.index, moved.integers)
    return part, whole // channels * count + whole % channels - low


def materialized(reader: Reader, node: OnnxNode, name: str, moved: Moved) -> Tensor | None:
    """The ``moved`` tensor ``name``, which ``node`` reads, as a value of the IR; None for a move without a form."""
    if moved.turned:
        return None
    for layout in _layouts(moved, _map_reader(reader, node)):
        index = layout.to_ir(moved.index[None])[0]
        found = _placed(reader, node, moved.source, layout, index)
        if found is not None:
            return Tensor(*found, name)
    return None


def moved_layout(moved: Moved) -> Layout:
    """Where the numbers of a moved tensor lie in the value of its source."""
    return Layout(MOVED, moved.source.value.shape, tuple(np.argsort(moved.index, axis=None).tolist()))


def padded_layout(padded: Padded) -> Layout:
    """Where the numbers inside the pads lie in the value of their source."""
    layout = padded.source.layout
    top, left, bottom, right = padded.pads
    sides = {"H": (top, bottom), "W": (left, right)}
    around = [sides.get(axis, (0, 0)) for axis in layout.axes[1:]]
    inner = layout.onnx_shape(1)[1:]
    sizes = [size + sum(pads) for size, pads in zip(inner, around, strict=True)]
    index = np.arange(np.prod(sizes)).reshape(sizes)
    index = index[tuple(slice(before, before + size) for size, (before, _) in zip(inner, around, strict=True))]
    return Layout(MOVED, layout.shape, tuple(layout.to_ir(index[None]).ravel().tolist()))


def moved_on(reader: Reader, node: OnnxNode) -> bool:
    """Return whether a Transpose alone reads what ``node`` makes, perhaps behind quantizers and others like them."""
    while node.op != "Transpose":
        readers = reader.consumers.get(node.outputs[0], [])
        if len(readers) != 1 or not (node.is_quant or node.op in _BETWEEN):
            return False
        (node,) = readers
    return True


def _map_reader(reader: Reader, node: OnnxNode) -> OnnxNode | None:
    """The operation on maps that ``node`` is, or that alone reads what it makes, perhaps behind others like it."""
    while node.op not in MAP_OPS:
        readers = reader.consumers.get(node.outputs[0], [])
        if len(readers) != 1 or not (node.is_quant or node.op in _BETWEEN):
            return None
        (node,) = readers
    return node


def _layouts(moved: Moved, maps: OnnxNode | None) -> Iterator[Layout]:
    """Yield the layouts that a moved tensor may have, the likeliest first.

    That is the one that the operation ``maps`` reads; without it heads for a signal, then the order of its source.
    """
    if by_head(moved) and maps is None:
        heads, width, channels = moved.index.shape
        yield Layout(HEADS, (1, width, heads * channels), heads=heads)
    last = moved.source.layout.axes in CHANNELS_LAST if maps is None else maps.domain == CHANNELS_LAST_DOMAIN
    names = ORDERS.get(moved.index.ndim + 1, ())
    for axes in sorted(names, key=lambda a: (a in CHANNELS_LAST) != last):
        sizes = dict(zip(axes[1:], moved.index.shape, strict=True))
        yield Layout(axes, (sizes.get("H", 1), sizes.get("W", 1), sizes["C"]))


def _placed(
    reader: Reader, node: OnnxNode, source: Tensor, layout: Layout, index: Array
) -> tuple[Value, Layout] | None:
    """The value that holds the elements ``index`` (H, W, C) of the stream of ``source``; None where no form does."""
    (height, width, channels), shape = layout.shape, source.value.shape
    order = index[0, 0]
    if layout.axes == HEADS:
        same = layout.shape == shape and np.array_equal(index.ravel(), np.arange(index.size))
        return (source.value, layout) if same else None
    if channels == shape[2] and np.array_equal(index, _whole(height * width, channels, index, order)):
        value = source.value
        if (height, width) != shape[:2]:
            value = _renamed(reader, node, source, layout.shape)
        return value, _ordered(layout, np.argsort(order))
    if channels > shape[2]:
        return _gathered(reader, node, source, layout, index)
    return _spread(reader, node, source, layout, index)


def _whole(positions: int, channels: int, index: Array, order: Array) -> Array:
    """Return the index of a move that takes the channels of every position in the one ``order``."""
    return (np.arange(positions)[:, None] * channels + order).reshape(index.shape)


def _ordered(layout: Layout, order: Array) -> Layout:
    """``layout`` of a value whose channel k is the tensor's channel ``order[k]``."""
    same = np.array_equal(order, np.arange(len(order)))
    return Layout(layout.axes, layout.shape, () if same else tuple(order.tolist()))


def _renamed(reader: Reader, node: OnnxNode, source: Tensor, shape: Shape) -> Value:
    return reader.emit(
        node,
        Layout("NHWC", shape),
        lambda name, value: Reshape(name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,)),
        define=False,
    )


def _block(large: Shape, small: Shape) -> tuple[int, int] | None:
    """Rows and columns of ``large`` that make a position of ``small``, whose channels are those of all of them."""
    rows, columns = large[0] // small[0], large[1] // small[1]
    fits = (small[0] * rows, small[1] * columns, large[2] * rows * columns) == (large[0], large[1], small[2])
    return (rows, columns) if fits else None


def _gathered(
    reader: Reader, node: OnnxNode, source: Tensor, layout: Layout, index: Array
) -> tuple[Value, Layout] | None:
    """Blocks of positions as channels in any order, or a flattened map."""
    block = _block(source.value.shape, layout.shape)
    if block is None:
        return None
    deep = SpaceToDepth(name="", inputs=(), outputs=(Value("", layout.shape, source.value.type),), block=block)
    natural = deep.evaluate(np.arange(source.value.size).reshape(1, *source.value.shape))[0]
    order = np.argsort(index[0, 0])[np.argsort(np.argsort(natural[0, 0]))]
    if not np.array_equal(index[..., order], natural):
        return None
    if layout.shape[:2] == (1, 1) and np.array_equal(natural.ravel(), np.arange(natural.size)):
        return _renamed(reader, node, source, layout.shape), _ordered(layout, order)
    value = reader.emit(
        node,
        layout,
        lambda name, value: SpaceToDepth(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), block=block
        ),
        define=False,
    )
    return value, _ordered(layout, order)


def _spread(
    reader: Reader, node: OnnxNode, source: Tensor, layout: Layout, index: Array
) -> tuple[Value, Layout] | None:
    """Channels as blocks of positions; channels in another order than ONNX's modes have them are put into theirs."""
    block = _block(layout.shape, source.value.shape)
    if block is None:
        return None
    first = index[: block[0], : block[1]]  # (rows, columns, channels) of the first position
    if first.max() >= source.value.shape[2]:
        return None
    crd = np.array_equal(first.transpose(2, 0, 1).ravel(), np.arange(first.size))
    wide = DepthToSpace(name="", inputs=(), outputs=(Value("", layout.shape, source.value.type),),
                        block=block, channels_first=crd)  # fmt: skip
    order = np.arange(first.size) if crd else first.ravel()
    stream = np.arange(source.value.size).reshape(1, *source.value.shape)[..., order]
    if not np.array_equal(wide.evaluate(stream)[0], index):
        return None
    value = permuted(reader, node, source.value, order)
    value = reader.emit(
        node,
        layout,
        lambda name, out: DepthToSpace(
            name=name, inputs=(value.name,), outputs=(out,), origin=(node.own_name,), block=block, channels_first=crd
        ),
        define=False,
    )
    return value, layout


def permuted(reader: Reader, node: OnnxNode, value: Value, order: Array) -> Value:
    """``value`` with its channels in ``order``; itself where they are."""
    if np.array_equal(order, np.arange(len(order))):
        return value
    return reader.emit(
        node,
        Layout("NHWC", value.shape),
        lambda name, out: Permute(
            name=name, inputs=(value.name,), outputs=(out,), origin=(node.own_name,), order=tuple(order.tolist())
        ),
        define=False,
    )


def in_file_order(reader: Reader, node: OnnxNode, tensor: Tensor) -> Tensor:
    """``tensor``, which ``node`` reads, with the channels of a map in the order of the file."""
    layout = tensor.layout
    if not layout.order or layout.axes not in (*CHANNELS_FIRST, *CHANNELS_LAST):
        return tensor
    key = tensor.value.name, layout.order
    if key not in reader.ordered:
        reader.ordered[key] = permuted(reader, node, tensor.value, np.argsort(layout.order))
    return Tensor(reader.ordered[key], Layout(layout.axes, layout.shape), tensor.onnx_name)
