"""Nodes of float ONNX files that move values: parts of the channels, shuffles of them, maps enlarged by copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import fx, nn

from toolchain.frontend.onnx_file import OnnxNode, text_of
from toolchain.frontend.resize import LINEAR, demand_copies, resized
from toolchain.train.own.kinds import ChannelSlice, LinearUpsample, PositionSlice
from toolchain.train.own.twins import reshaped
from toolchain.train.ptq.onnx_builder import Builder, Grouped


def split(build: Builder, node: OnnxNode) -> None:
    """Parts of the channels, or of the positions of a signal or a map."""
    _, x = build.value(node)
    sizes, count = build.integers(node, "split", 1), len(node.outputs)
    axis = int(node.attributes.get("axis", 0)) % x.dim()
    size = -(-x.shape[axis] // count)
    ends = np.cumsum(sizes or [size] * count).clip(max=x.shape[axis]).tolist()
    for output, start, stop in zip(node.outputs, [0, *ends], ends, strict=False):
        if output:
            _take(build, replace(node, outputs=(output,)), {axis: range(start, stop)})


def cut(build: Builder, node: OnnxNode) -> None:
    """A run of the channels, or positions of a signal or a map."""
    _, x = build.value(node)
    starts, stops = (build.integers(node, key, index) or [] for index, key in ((1, "starts"), (2, "ends")))
    axes = [axis % x.dim() for axis in build.integers(node, "axes", 3) or range(len(starts))]
    steps = build.integers(node, "steps", 4) or [1] * len(starts)
    kept = {
        axis: range(*slice(start, stop, step).indices(x.shape[axis]))
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=False)
    }
    _take(build, node, kept)


def gather(build: Builder, node: OnnxNode) -> None:
    """One position of a signal or a map along an axis, which vanishes, or several as of a Slice."""
    _, x = build.value(node)
    places, axis = build.constant(node, 1), int(node.attributes.get("axis", 0)) % x.dim()
    assert places is not None  # an input that every Gather has
    found = [int(place) % x.shape[axis] for place in places.flatten()]
    step = found[1] - found[0] if len(found) > 1 else 1
    kept = range(found[0], found[-1] + 1, step) if found and step > 0 else range(0)
    if places.dim() > 1 or [*kept] != found or (not places.dim() and axis < 2):
        what = f"it gathers the elements {places.tolist()} of axis {axis}"
        raise build.file.fault(node, what, "take channels that lie side by side, and positions in their order")
    sizes = [*x.shape[:axis], *[len(kept)] * places.dim(), *x.shape[axis + 1 :]]
    _take(build, node, {axis: kept}, sizes)


def _take(build: Builder, node: OnnxNode, kept: dict[int, range], sizes: list[int] | None = None) -> None:
    """The elements ``kept`` along some axes, all along the others; ``sizes`` is another shape of them."""
    _, x = build.value(node)
    _, channels, *places = found = [kept.get(axis, range(size)) for axis, size in enumerate(x.shape)]
    for axis, taken in enumerate(found):
        if taken.step < 1 or not taken or (axis < 2 and taken.step > 1) or (axis == 0 and taken != range(len(x))):
            what = f"it takes every {taken.step}. element from {taken.start} to {taken.stop} of axis {axis}"
            raise build.file.fault(node, what, "take channels that lie side by side, and positions in their order")
    layers: list[nn.Module] = []
    if channels != range(x.shape[1]):
        layers.append(ChannelSlice(channels.start, channels.stop))
    if places != [range(size) for size in x.shape[2:]]:
        layers.append(PositionSlice(*places))
    shape = tuple(len(taken) for taken in found)
    build.call(node, [*layers, *reshaped(shape, sizes or shape)])


def resize(build: Builder, node: OnnxNode) -> None:
    """Copies of every position of a signal or a map, or means of two between them, by whole factors."""
    _, x = build.value(node)
    mode = text_of(node, "mode", "nearest")
    where = text_of(node, "coordinate_transformation_mode", "half_pixel")
    means = mode in ("linear", "bilinear") and LINEAR.get(where) == "half_pixel" and build.file.opset > 10
    if (mode != "nearest" and not means) or node.attributes.get("antialias", 0) or x.dim() not in (3, 4):
        hint = "enlarge a map, mode='nearest', or 'linear' with half_pixel coordinates"
        raise build.file.fault(node, "it makes other values than a map has", hint)
    shape = tuple(x.shape)
    sizes, scales = resized(build.file, node, shape, lambda index, _: _numbers(build, node, index))
    sizes[0] = shape[0] if sizes[0] == build.file.shape[0] else sizes[0]  # written for the file's batch
    factors = [new // old for old, new in zip(shape, sizes, strict=True)]
    whole = [old * factor for old, factor in zip(shape, factors, strict=True)] == sizes
    if factors[:2] != [1, 1] or min(factors) < 1 or not whole:
        what = f"it makes {tuple(sizes[1:])} of {tuple(x.shape[1:])}"
        raise build.file.fault(node, what, "enlarge height and width by whole factors")
    for axis, name in zip(range(2, x.dim()), "HW"[4 - x.dim() :], strict=True):
        if not means:
            demand_copies(build.file, node, x.shape[axis], sizes[axis], scales[axis], name)
    by = tuple(factors[2:])
    layer = LinearUpsample(*by) if means else nn.Upsample(scale_factor=by)  # type: ignore[arg-type]
    build.call(node, [] if set(factors[2:]) == {1} else [layer])


def _numbers(build: Builder, node: OnnxNode, index: int) -> list[float]:
    found = build.constant(node, index)
    return [] if found is None else found.flatten().tolist()


def repeat(build: Builder, node: OnnxNode, parts: list[fx.Node]) -> bool:
    """Let a Concat of each position of a signal several times be copies of them, as of Keras' UpSampling1D.

    Return whether it is one.
    """
    layers = [build.layer(part) for part in parts]
    places = [layer.kept[0] for layer in layers if isinstance(layer, PositionSlice) and len(layer.kept) == 1]
    if len(places) != len(parts):
        return False
    sources = {part.args[0] for part in parts}
    source = next(((at, x) for at, x in build.values.values() if sources == {at}), None)
    if source is None:
        return False
    at, x = source
    factor = len(parts) // x.shape[2]
    if [range(*place.indices(x.shape[2])) for place in places] != [
        range(index, index + 1) for index in range(x.shape[2]) for _ in range(factor)
    ]:
        return False
    build.append(node, [nn.Upsample(scale_factor=float(factor))], at, x)
    return True


def depth_to_space(build: Builder, node: OnnxNode) -> None:
    """Blocks of positions from channels, which lie side by side (CRD) or apart (DCR)."""
    block = int(node.attributes["blocksize"])
    apart = text_of(node, "mode", "DCR") == "DCR" and block > 1
    build.call(node, [*([nn.ChannelShuffle(block**2)] if apart else []), nn.PixelShuffle(block)])


def space_to_depth(build: Builder, node: OnnxNode) -> None:
    """Channels from blocks of positions, those of a position side by side."""
    _, x = build.value(node)
    block = int(node.attributes["blocksize"])
    apart = x.shape[1] > 1 and block > 1
    build.call(node, [nn.PixelUnshuffle(block), *([nn.ChannelShuffle(x.shape[1])] if apart else [])])


def group(build: Builder, node: OnnxNode, shape: tuple[int, ...]) -> bool:
    """Let a Reshape to ``shape`` part the channels of what it reads into groups; return whether it does."""
    at, x = build.value(node)
    if x.dim() < 3 or len(shape) != x.dim() + 1 or (shape[0], *shape[3:]) != (x.shape[0], *x.shape[2:]):
        return False
    build.groups[node.outputs[0]] = Grouped(node, at, x, shape[1])
    return True


def regroup(build: Builder, node: OnnxNode) -> None:
    """Of groups of channels: a Transpose exchanges them and what is in them, a Reshape makes channels of them again."""
    found = build.groups[node.inputs[0]]
    shape = found.x.unflatten(1, (found.groups, -1)).shape
    perm = [0, 2, 1, *range(3, len(shape))]
    if node.op == "Transpose" and not found.turned and list(node.attributes.get("perm", ())) == perm:
        build.groups[node.outputs[0]] = replace(found, node=node, turned=True)
        return
    sizes = build.sizes(shape, build.integers(node, "shape", 1) or []) if node.op == "Reshape" else []
    after = [size if size > 0 else whole for size, whole in zip(sizes, found.x.shape, strict=False)]
    if len(sizes) != found.x.dim() or after != [*found.x.shape]:
        raise found.fault(build.file)
    build.append(node, [nn.ChannelShuffle(found.groups)] if found.turned else [], found.at, found.x)
