"""Pooling and shape-changing nodes of an ONNX file."""

from __future__ import annotations

import math

import numpy as np

from toolchain.frontend.constants import asked_sizes
from toolchain.frontend.geometry import map_input, window_of
from toolchain.frontend.layout import (
    ACTIVE,
    ANY,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    HEADS,
    TURNED,
    Layout,
    Tensor,
    flattened,
)
from toolchain.frontend.moves import by_head, index_of, move, moved_shape
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Padded, Reader
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Quantize, RealPool, Relu

FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_pool(reader: Reader, node: OnnxNode) -> None:
    """Read a MaxPool or an AveragePool."""
    source, padded = map_input(reader, node)
    kernel = tuple(int(k) for k in node.attributes.get("kernel_shape", ()))
    if len(kernel) != len(source.layout.axes) - 2:
        raise reader.file.fault(node, f"kernel_shape {list(kernel)}", "give one number an axis of the map")
    kernel = kernel if len(kernel) == 2 else (1, *kernel)
    if len([name for name in node.outputs if name]) > 1:
        raise reader.file.fault(node, "the indices of MaxPool are used", "use its values only")
    window = window_of(reader, node, source, (kernel[0], kernel[1]), padded)
    average = node.op == "AveragePool"
    if padded is not None and not _neutral(reader, padded, average):
        raise reader.file.fault(
            node, f"a Pad with {padded.value:g} in front of it", "pad an average with zeros, a maximum in the pool"
        )
    own = window.pads != padded.pads if padded else any(window.pads)
    counted = not (average and own) or bool(node.attributes.get("count_include_pad", 0))
    if padded and not counted:
        raise reader.file.fault(
            node, "an average whose own pads do not count, those of a Pad in front do", "set count_include_pad=True"
        )
    _emit_pool(
        reader,
        node,
        source,
        "average" if average else "max",
        window.kernel,
        window.stride,
        window.pads,
        window.dilation,
        source.layout.axes,
        counted=counted,
    )


def _neutral(reader: Reader, padded: Padded, average: bool) -> bool:
    """Return whether the pads act as the pool's own: zeros in a mean, in a maximum a value no element is below."""
    if average:
        return padded.value == 0
    if padded.value <= -FLOAT32_MAX:
        return True
    made = next((n for n in reader.nodes if n.output.name == padded.source.value.name), None)
    positive = isinstance(made, Relu) or (
        isinstance(made, Quantize) and made.quantizer.low >= made.quantizer.zero_point
    )
    return positive and padded.value == 0


def read_pad(reader: Reader, node: OnnxNode) -> None:
    """Pad of a map with a constant, which the convolution or pool behind it takes over."""
    inner = reader.padded.get(node.input(0))
    source = inner.source if inner else reader.tensor(node, axes=(*CHANNELS_FIRST, *CHANNELS_LAST))
    axes = source.layout.axes
    if node.attributes.get("mode", b"constant") != b"constant":
        raise reader.file.fault(node, "a Pad that copies elements", "use mode='constant'")
    given = reader.constant(node, 1, "pads").ravel().tolist() if node.input(1) else node.attributes.get("pads", ())
    value = reader.number(node, 2, "value", infinite=True) if node.input(2) else node.attributes.get("value", 0.0)
    along = reader.constant(node, 3, "axes").ravel().tolist() if node.input(3) else range(len(axes))
    if len(given) != 2 * len(along) or any(not -len(axes) <= int(a) < len(axes) for a in along):
        raise reader.file.fault(node, f"{len(given)} pads for {len(along)} axes", "export the model again")
    names = [axes[int(a)] for a in along]
    pads = {name: (int(given[i]), int(given[i + len(names)])) for i, name in enumerate(names)}
    if (
        len(given) != 2 * len(names)
        or min(map(int, given), default=0) < 0
        or any(pads.get(a, (0, 0)) != (0, 0) for a in "NC")
    ):
        raise reader.file.fault(node, f"pads {list(given)}", "add elements around height and width only")
    if inner is None and not any(given):
        reader.alias(node, source)
        return
    if inner and inner.value != value:
        raise reader.file.fault(node, "two Pads of unlike values", "pad once")
    top, bottom = pads.get("H", (0, 0))
    left, right = pads.get("W", (0, 0))
    before = inner.pads if inner else (0, 0, 0, 0)
    total = (before[0] + top, before[1] + left, before[2] + bottom, before[3] + right)
    reader.padded[node.outputs[0]] = Padded(source, total, float(value))


LARGEST = frozenset({"GlobalMaxPool", "ReduceMax"})
"""Operations that take the largest of a map; those beside them take its mean."""


def read_global_pool(reader: Reader, node: OnnxNode) -> None:
    """GlobalAveragePool, GlobalMaxPool: a pool whose window is the map."""
    source = reader.map_tensor(node)
    size, kind = source.value.shape[:2], "max" if node.op in LARGEST else "average"
    _emit_pool(reader, node, source, kind, size, size, axes=source.layout.axes)


def read_reduction(reader: Reader, node: OnnxNode) -> None:
    """ReduceMean, ReduceMax over both spatial axes."""
    source = reader.tensor(node, axes=(*CHANNELS_FIRST, *CHANNELS_LAST))
    axes = node.attributes.get("axes")
    if axes is None and node.input(1):
        axes = reader.constant(node, 1, "axes").ravel().tolist()
    rank = len(source.layout.axes)
    kind, what = ("max", "the largest") if node.op in LARGEST else ("average", "a mean")
    names = sorted(source.layout.axes[int(a)] for a in axes or () if -rank <= int(a) < rank)
    if names == ["C"] and source.layout.axes in TURNED:
        source, names = reader.tensor(node, axes=(TURNED[source.layout.axes],)), ["W"]
    if names != sorted(set(source.layout.axes) - {"N", "C"}):
        raise reader.file.fault(node, f"{what} over the axes {list(axes or ())}", "take it over height and width")
    size = source.value.shape[:2]
    keep = bool(node.attributes.get("keepdims", 1))
    _emit_pool(reader, node, source, kind, size, size, axes=source.layout.axes if keep else "NC")


def _emit_pool(
    reader: Reader,
    node: OnnxNode,
    source: Tensor,
    kind: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    axes: str = "NCHW",
    *,
    counted: bool = True,
) -> None:
    (h, w, c), layout = source.value.shape, source.layout
    rows = (h + pads[0] + pads[2] - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (w + pads[1] + pads[3] - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    reader.emit(
        node,
        Layout(axes, (rows, columns, c), layout.order),
        lambda name, value: RealPool(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            kind=kind,
            kernel=kernel,
            stride=stride,
            pads=pads,
            dilation=dilation,
            counted=counted,
        ),
    )


def read_flatten(reader: Reader, node: OnnxNode) -> None:
    """Flatten to (N, features)."""
    old = _shape(reader, node)
    axis = int(node.attributes.get("axis", 1))
    if axis % len(old) != 1 or axis == len(old):
        raise reader.file.fault(node, f"axis={axis}", "flatten to (N, features) with axis=1")
    _view(reader, node, (reader.batch, math.prod(old[1:])))


def read_reshape(reader: Reader, node: OnnxNode) -> None:
    """Reshape of each frame by itself."""
    old = _shape(reader, node)
    target = [int(size) for size in reader.constant(node, 1, "shape").ravel()]
    if not node.attributes.get("allowzero", 0):
        target = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(target)]
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) == 1 and known > 0:
        target[target.index(-1)] = math.prod(old) // known
    _view(reader, node, tuple(target))


def read_squeeze(reader: Reader, node: OnnxNode) -> None:
    """Squeeze of axes of size 1."""
    old = _shape(reader, node)
    axes = _axes(reader, node)
    dropped = {a % len(old) for a in axes} if axes else {i for i, size in enumerate(old) if size == 1 and i > 0}
    if any(old[a] != 1 for a in dropped):
        raise reader.file.fault(node, f"axes {sorted(dropped)} of {old} are not 1", "export the model again")
    _view(reader, node, tuple(size for i, size in enumerate(old) if i not in dropped))


def read_unsqueeze(reader: Reader, node: OnnxNode) -> None:
    """Unsqueeze: axes of size 1."""
    shape = list(_shape(reader, node))
    axes = _axes(reader, node)
    rank = len(shape) + len(axes)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    _view(reader, node, tuple(shape))


def _axes(reader: Reader, node: OnnxNode) -> list[int]:
    if node.input(1):
        return [int(a) for a in reader.constant(node, 1, "axes").ravel()]
    return [int(a) for a in node.attributes.get("axes", ())]


def _shape(reader: Reader, node: OnnxNode) -> tuple[int, ...]:
    """The ONNX shape of input 0, of whatever rank it is."""
    moved = reader.moved.get(node.input(0))
    return reader.shape(reader.tensor(node, axes=ACTIVE)) if moved is None else moved_shape(reader, moved)


def _view(reader: Reader, node: OnnxNode, shape: tuple[int, ...]) -> None:
    """The elements of input 0 in their ONNX order as ``shape``."""
    old = _shape(reader, node)
    moved = reader.moved.get(node.input(0))
    tokens = len(old) > 2 and len(shape) == 2 and (shape[1] == old[-1] or (moved is not None and by_head(moved)))
    if reader.file.shape[0] == old[0] == 1 and tokens and shape[0] != 1:
        reader.rows.add(node.outputs[0])
        shape = (1, *shape)
    turned = moved is not None and moved.turned
    if len(shape) < 2 or (shape[0] != reader.batch and not turned) or math.prod(shape) != math.prod(old):
        raise reader.file.fault(
            node,
            f"{old} to {shape} changes more than the shape of a frame",
            "reshape each frame by itself: the batch stays the first axis",
        )
    if node.input(0) in reader.moved or not _renamed(reader, node, reader.tensor(node, axes=ACTIVE), shape):
        moved = index_of(reader, node)
        move(reader, node, moved, moved.whole.reshape(shape if turned else (1, *shape[1:])))


def _renamed(reader: Reader, node: OnnxNode, source: Tensor, shape: tuple[int, ...]) -> bool:
    """Make ``shape`` of ``source`` where that flattens it or gives its axes other names; whether it does."""
    h, w, _ = source.value.shape
    if shape == reader.shape(source):
        reader.alias(node, source)
        return True
    if len(shape) == 2:
        layout = flattened(source.layout)
        if h * w == 1:
            reader.alias(node, source, layout)
            return True
        reader.emit(
            node,
            layout,
            lambda name, value: Reshape(
                name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,)
            ),
        )
        return True
    if source.layout.axes == HEADS:
        return False
    same_order = CHANNELS_LAST if source.layout.axes in CHANNELS_LAST else CHANNELS_FIRST
    for axes in (ANY if w == 1 else same_order) if h == 1 else ():
        layout = Layout(axes, source.layout.shape, source.layout.order)
        if shape == layout.onnx_shape(reader.batch):  # the axes of a single row or pixel only get other names
            reader.alias(node, source, layout)
            return True
    return False


def read_transpose(reader: Reader, node: OnnxNode) -> None:
    """Transpose of the axes of a frame; a channels-last stream is the same for NCHW and NHWC."""
    shape = _shape(reader, node)
    perm = [int(p) for p in node.attributes.get("perm", range(len(shape))[::-1])]
    if sorted(perm) != list(range(len(shape))) or (perm[0] != 0 and reader.file.shape[0] != 1):
        raise reader.file.fault(node, f"perm={perm} of a tensor {shape}", "the batch stays the first axis")
    if node.input(0) not in reader.moved:
        source = reader.tensor(node, axes=ACTIVE)
        old = source.layout.axes
        moved_axes = "".join(old[p] for p in perm)
        if (
            len(old) == 4
            and old != HEADS
            and moved_axes not in ANY
            and source.value.shape[:2] == (1, 1)
            and moved_axes[2] != "C"
        ):
            moved_axes = "NCHW" if moved_axes[1] == "C" else "NHWC"
        if moved_axes in ANY:
            reader.alias(node, source, Layout(moved_axes, source.layout.shape, source.layout.order))
            return
    moved = index_of(reader, node)
    move(reader, node, moved, moved.whole.transpose(perm))


def read_shape(reader: Reader, node: OnnxNode) -> None:
    """Shape of an activation: a constant, since every frame has the same."""
    reader.constants.set(node.outputs[0], asked_sizes(node, _shape(reader, node)))
