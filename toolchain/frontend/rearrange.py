"""Nodes of an ONNX file that move elements of maps: Concat, Gather, Split, Slice, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np

from toolchain.frontend.constant_tokens import with_constant_tokens
from toolchain.frontend.layout import CHANNELS_FIRST, CHANNELS_LAST, TURNED, Layout, Tensor, elements
from toolchain.frontend.moves import in_file_order, move, moved_shape, picked
from toolchain.frontend.onnx_file import OnnxNode, text_of
from toolchain.frontend.reader import Moved, Reader
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Reshape, Slice, SpaceToDepth
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Value

MAPS = (*CHANNELS_FIRST, *CHANNELS_LAST)
END = 1 << 62
"""Stands for the end of an axis, as 2**63 - 1 does in the files of PyTorch."""


def read_concat(reader: Reader, node: OnnxNode) -> None:
    """Concat of activations along the channels, of maps along rows or columns, or of tokens and constant ones."""
    if any(name in reader.constants for name in node.inputs):
        sources = with_constant_tokens(reader, node)
        if len(sources) == 1:
            reader.alias(node, sources[0])
            return
    else:
        sources = [reader.tensor(node, i) for i in range(len(node.inputs))]
    first = sources[0]
    rank, axis = len(first.layout.axes), int(node.attributes.get("axis", 1))
    if first.layout.axes in TURNED and all(s.layout.axes in TURNED for s in sources) and -rank <= axis < rank:
        wanted = first.layout.axes if axis % rank == first.layout.channel_axis else TURNED[first.layout.axes]
        if axis % rank:
            sources = [s if s.layout.axes == wanted else reader.turned(node, s) for s in sources]
        first = sources[0]
    if not -rank <= axis < rank or axis % rank == 0:
        raise reader.file.fault(
            node,
            f"{node.op} along axis {axis} of a tensor {reader.shape(first)} ({first.layout.axes})",
            "only channels, rows and columns can be joined",
        )
    if axis % rank != first.layout.channel_axis:
        _join_positions(reader, node, sources, first.layout.axes[axis % rank])
        return
    if any(s.layout.axes != first.layout.axes or s.value.shape[:2] != first.value.shape[:2] for s in sources):
        texts = ", ".join(f"{reader.shape(s)} ({s.layout.axes})" for s in sources)
        raise reader.file.fault(node, f"it joins {texts}", "give all the same map size and order of axes")
    if len(sources) == 1:
        reader.alias(node, first)
        return
    if _read_focus(reader, node, sources):
        return
    channels = tuple(s.value.shape[2] for s in sources)
    layout = Layout(first.layout.axes, (*first.value.shape[:2], sum(channels)), _joined_order(sources))
    reader.emit(
        node,
        layout,
        lambda name, value: Concat(
            name=name,
            inputs=tuple(s.value.name for s in sources),
            outputs=(value,),
            origin=(node.own_name,),
            channels=channels,
        ),
    )


def _join_positions(reader: Reader, node: OnnxNode, sources: Sequence[Tensor], axis: str) -> None:
    """Rows ("H") or columns ("W") of several maps one after the other.

    Those of one map, or of one row of it, become channels, which are joined and taken apart again.
    """
    tensors = [in_file_order(reader, node, source) for source in sources]
    first, own = tensors[0], "HWC".index(axis)
    kept = {(t.layout.axes, *t.value.shape[:own], *t.value.shape[own + 1 :]) for t in tensors}
    if len(kept) > 1 or any(t.layout.order for t in tensors):
        texts = ", ".join(f"{reader.shape(s)} ({s.layout.axes})" for s in sources)
        raise reader.file.fault(node, f"it joins {texts}", f"give all the same size but along {axis}")
    if len(tensors) == 1:
        reader.alias(node, first)
        return
    height, width, channels = first.value.shape
    sizes = [t.value.shape[own] for t in tensors]
    flat = [_row_as_channels(reader, node, tensor, whole=axis == "H") for tensor in tensors]
    parts = tuple(value.shape[2] for value in flat)
    joined = reader.emit(
        node,
        Layout("NHWC", (*flat[0].shape[:2], sum(parts))),
        lambda name, value: Concat(
            name=name,
            inputs=tuple(value.name for value in flat),
            outputs=(value,),
            origin=(node.own_name,),
            channels=parts,
        ),
        define=False,
    )
    shape = (sum(sizes), width, channels) if axis == "H" else (height, sum(sizes), channels)
    block = (shape[0] // joined.shape[0], shape[1])
    reader.emit(
        node,
        replace(first.layout, shape=shape),
        lambda name, value: DepthToSpace(
            name=name,
            inputs=(joined.name,),
            outputs=(value,),
            origin=(node.own_name,),
            block=block,
            channels_first=False,
        ),
    )


def _row_as_channels(reader: Reader, node: OnnxNode, source: Tensor, *, whole: bool) -> Value:
    """Make the positions of each row of ``source``, or of the ``whole`` map, channels of one position."""
    (height, width, channels), x = source.value.shape, (source.value.name,)
    if width == 1 and not whole:
        return source.value
    shape = (1, 1, source.value.size) if whole else (height, 1, width * channels)

    def make(name: str, value: Value) -> Node:
        if whole:
            return Reshape(name=name, inputs=x, outputs=(value,), origin=(node.own_name,))
        return SpaceToDepth(name=name, inputs=x, outputs=(value,), origin=(node.own_name,), block=(1, width))

    return reader.emit(node, Layout("NHWC", shape), make, define=False)


def _read_focus(reader: Reader, node: OnnxNode, sources: Sequence[Tensor]) -> bool:
    """Every n-th row and column from each of the first n on, joined: positions as channels. Whether it is that."""
    makers = {n.output.name: n for n in reader.nodes}
    crops = [makers.get(source.value.name) for source in sources]
    found = [crop for crop in crops if isinstance(crop, Crop)]
    (rows, columns), x = (found[0].steps, found[0].inputs) if found else ((1, 1), ())
    places = {crop.start: i for i, crop in enumerate(found) if (crop.steps, crop.inputs) == ((rows, columns), x)}
    whole = list(product(range(rows), range(columns)))
    if not len(found) == len(sources) == len(places) or sorted(places) != whole or rows * columns == 1:
        return False
    height, width, count = sources[0].value.shape
    whole_map = makers[x[0]].output.shape if x[0] in makers else reader.source.shape
    unlike = any(source.layout.order != sources[0].layout.order for source in sources)
    if unlike or (height, width) != (whole_map[0] // rows, whole_map[1] // columns):
        return False
    own = sources[0].layout.order or range(count)
    order = tuple(places[start] * count + channel for start in whole for channel in own)
    natural = order == tuple(range(len(order)))
    layout = Layout(sources[0].layout.axes, (height, width, count * len(whole)), () if natural else order)
    _emit_space_to_depth(reader, node, x[0], layout, (rows, columns))
    return True


def _emit_space_to_depth(reader: Reader, node: OnnxNode, source: str, layout: Layout, block: tuple[int, int]) -> None:
    reader.emit(
        node,
        layout,
        lambda name, value: SpaceToDepth(
            name=name, inputs=(source,), outputs=(value,), origin=(node.own_name,), block=block
        ),
    )


def read_space_to_depth(reader: Reader, node: OnnxNode) -> None:
    """Read a SpaceToDepth."""
    source = in_file_order(reader, node, reader.tensor(node, axes=("NCHW",)))
    (height, width, channels), block = source.value.shape, int(node.attributes.get("blocksize", 0))
    if block < 1 or height % block or width % block:
        raise reader.file.fault(
            node, f"a map of {height}x{width} in blocks of {block}x{block}", "give rows and columns for whole blocks"
        )
    if block == 1:
        reader.alias(node, source)
        return
    layout = Layout("NCHW", (height // block, width // block, channels * block**2))
    _emit_space_to_depth(reader, node, source.value.name, layout, (block, block))


def _joined_order(sources: Sequence[Tensor]) -> tuple[int, ...]:
    """Order of the channels of all ``sources``; empty where each has the file's."""
    if not any(s.layout.order for s in sources):
        return ()
    order: list[int] = []
    for source in sources:
        start, count = len(order), source.value.shape[2]
        order += [start + k for k in source.layout.order or range(count)]
    return tuple(order)


def read_split(reader: Reader, node: OnnxNode) -> None:
    """Split of channels, rows or columns; parts that nothing reads are left out."""
    source = reader.tensor(node)
    rank, axis = len(source.layout.axes), int(node.attributes.get("axis", 0))
    if not -rank <= axis < rank or axis % rank == 0:
        raise reader.file.fault(node, f"{node.op} along axis {axis} of {rank}", "split channels, rows or columns")
    axis %= rank
    sizes = _sizes(reader, node, reader.shape(source)[axis], source.layout.axes[axis])
    start = 0
    for i, (name, part) in enumerate(zip(node.outputs, sizes, strict=True)):
        if name and (reader.consumers.get(name) or name in reader.file.outputs):
            _pick(reader, node, source, {source.layout.axes[axis]: range(start, start + part)}, output=i)
        start += part


def _sizes(reader: Reader, node: OnnxNode, size: int, along: str) -> list[int]:
    """The sizes of the parts of a Split of ``size`` elements."""
    count = len(node.outputs)
    sizes = [int(n) for n in node.attributes.get("split", ())]
    if node.input(1):
        sizes = [int(n) for n in reader.constant(node, 1, "split").ravel()]
    if not sizes:
        part = ceil(size / count)
        sizes = [min(part, size - i * part) for i in range(count)]
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 1:
        name = {"C": "channels", "H": "rows", "W": "columns"}.get(along, "elements")
        raise reader.file.fault(node, f"{size} {name} in parts of {sizes}", f"give every part some {name}")
    return sizes


def read_pick(reader: Reader, node: OnnxNode) -> bool:
    """Split and Gather of a moved tensor without a form, as of queries, keys and values; return whether it is one.

    The parts are consecutive channels of what was moved.
    """
    moved = reader.moved[node.inputs[0]]
    shape = moved_shape(reader, moved)
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    if axis == 0 and not moved.turned:
        return False
    if node.op == "Split":
        ends = np.cumsum(_sizes(reader, node, shape[axis], ""))
        parts = [part for part in np.split(np.arange(shape[axis]), ends[:-1])]
    else:
        parts = [reader.constant(node, 1, "indices").astype(np.int64)]
    found = []
    for i, (name, part) in enumerate(zip(node.outputs, parts, strict=True)):
        if not name or not (reader.consumers.get(name) or name in reader.file.outputs):
            continue
        if part.ndim > 1 or not ((-shape[axis] <= part) & (part < shape[axis])).all():
            return False
        of_channels = picked(reader, node, moved, moved.whole.take(part, axis))
        if of_channels is None:
            return False
        found.append((i, *of_channels))
    for i, source, whole in found:
        move(reader, node, source, whole, i)
    return True


def read_slice(reader: Reader, node: OnnxNode) -> None:
    """Slice of consecutive channels, and of rows and columns, also of every second one or fewer."""
    source = reader.tensor(node)
    shape = reader.shape(source)
    starts, ends, axes, steps = (_slice_parameter(reader, node, i) for i in range(1, 5))
    axes = axes or list(range(len(starts)))
    steps = steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(not -len(shape) <= a < len(shape) for a in axes):
        raise reader.file.fault(node, f"starts {starts}, ends {ends}, axes {axes}", "export the model again")
    picked = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size, name = shape[axis], source.layout.axes[axis]
        first, last = (min(max(n + size if n < 0 else n, 0), size) for n in (start, end))
        if step == 1 and (first, last) == (0, size):
            continue
        if step < 1 or (step > 1 and name == "C") or name == "N" or first >= last:
            raise reader.file.fault(
                node,
                f"elements {start} to {end} by {step} along {name}",
                "take consecutive channels, and rows and columns in their order",
            )
        picked[name] = range(first, last, step)
    _pick(reader, node, source, picked)


def read_gather(reader: Reader, node: OnnxNode) -> None:
    """Gather of one element of an axis, which vanishes, or of several in their order."""
    source = reader.tensor(node)
    shape, indices = reader.shape(source), reader.constant(node, 1, "indices").astype(np.int64)
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    places = [int(i) % shape[axis] for i in indices.ravel() if -shape[axis] <= i < shape[axis]]
    step = places[1] - places[0] if len(places) > 1 else 1
    found = range(places[0], places[0] + step * len(places), step) if places and step > 0 else range(0)
    name = source.layout.axes[axis]
    apart = name == "C" and step > 1
    if axis == 0 or indices.ndim > 1 or list(found) != places or len(places) < indices.size or apart:
        raise reader.file.fault(
            node,
            f"the elements {indices.tolist()} along axis {axis} of a tensor {shape}",
            "take one, or several in their order: consecutive channels, equally distant rows or columns",
        )
    _pick(reader, node, source, {name: found})
    if not indices.ndim:
        kept = reader.tensors.pop(node.outputs[0])
        reader.moved[node.outputs[0]] = Moved(kept, elements(kept.layout).squeeze(axis - 1))


def _slice_parameter(reader: Reader, node: OnnxNode, index: int) -> list[int]:
    """Starts, ends, axes or steps: an input, before opset 10 an attribute; empty when absent."""
    name = ("starts", "ends", "axes", "steps")[index - 1]
    if node.input(index):
        return [max(min(int(n), END), -END) for n in reader.constant(node, index, name).ravel()]
    return [max(min(int(n), END), -END) for n in node.attributes.get(name, ())]


def _pick(reader: Reader, node: OnnxNode, source: Tensor, picked: Mapping[str, range], output: int = 0) -> None:
    """The elements ``picked`` of ``source`` along the axes named, all along others, as an output of ``node``."""
    height, width, channels = source.value.shape
    if "C" in picked and len(picked["C"]) < channels:
        source = in_file_order(reader, node, source)
        if source.layout.order:
            raise reader.file.fault(node, "channels of a flattened map", "pick the channels before the flatten")
        layout = Layout(source.layout.axes, (height, width, len(picked["C"])))
        value = reader.emit(
            node,
            layout,
            lambda name, value: Slice(
                name=name,
                inputs=(source.value.name,),
                outputs=(value,),
                origin=(node.own_name,),
                start=picked["C"].start,
            ),
            output,
        )
        source = Tensor(value, layout, node.outputs[output])
    rows, columns = (picked.get(axis, range(size)) for axis, size in (("H", height), ("W", width)))
    reader.alias(node, _cropped(reader, node, source, (rows, columns)), output=output)


def _cropped(reader: Reader, node: OnnxNode, source: Tensor, kept: tuple[range, range]) -> Tensor:
    """The rows and columns ``kept`` of ``source``; those of a crop are taken from what it is one of."""
    if all(len(places) == size for places, size in zip(kept, source.value.shape, strict=False)):
        return source
    value = source.value
    before = next((n for n in reader.nodes if n.output.name == value.name), None)
    if isinstance(before, Crop):
        value = replace(value, name=before.inputs[0])
        kept = tuple(  # type: ignore[assignment]  # two of them
            range(first + places.start * step, first + places[-1] * step + 1, places.step * step)
            for first, step, places in zip(before.start, before.steps, kept, strict=True)
        )
    rows, columns = kept
    layout = replace(source.layout, shape=(len(rows), len(columns), value.shape[2]))
    steps = tuple(places.step if len(places) > 1 else 1 for places in kept)
    out = reader.emit(
        node,
        layout,
        lambda name, out: Crop(
            name=name,
            inputs=(value.name,),
            outputs=(out,),
            origin=(node.own_name,),
            start=(rows.start, columns.start),
            steps=(steps[0], steps[1]),
        ),
        define=False,
    )
    return Tensor(out, layout, source.onnx_name)


def cropped(reader: Reader, node: OnnxNode, source: Tensor, start: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """``size`` rows and columns of ``source`` from ``start`` on."""
    return _cropped(reader, node, source, (range(start[0], start[0] + size[0]), range(start[1], start[1] + size[1])))


def read_depth_to_space(reader: Reader, node: OnnxNode) -> None:
    """DepthToSpace in either order of the channels."""
    source = in_file_order(reader, node, reader.tensor(node, axes=("NCHW",)))
    block, mode = int(node.attributes.get("blocksize", 0)), text_of(node, "mode", "DCR")
    height, width, channels = source.value.shape
    if block < 1 or channels % (block * block) or mode not in ("DCR", "CRD"):
        raise reader.file.fault(
            node, f"{channels} channels in blocks of {block}x{block}, mode {mode}", "give channels for whole blocks"
        )
    if block == 1:
        reader.alias(node, source)
        return
    reader.emit(
        node,
        Layout("NCHW", (height * block, width * block, channels // block**2)),
        lambda name, value: DepthToSpace(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            block=(block, block),
            channels_first=mode == "CRD",
        ),
    )
