"""Nodes of float ONNX files that move values: parts of the channels, shuffles of them, maps enlarged by copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from toolchain.frontend.onnx_file import OnnxNode, text_of
from toolchain.frontend.resize import demand_copies, resized
from toolchain.train.own.kinds import ChannelSlice
from toolchain.train.own.twins import hint_for
from toolchain.train.ptq.onnx_builder import Builder, Grouped


def split(build: Builder, node: OnnxNode) -> None:
    """Parts of the channels."""
    _, x = build.value(node)
    sizes, count = build.integers(node, "split", 1), len(node.outputs)
    _demand_channels(build, node, int(node.attributes.get("axis", 0)) % x.dim())
    size = -(-x.shape[1] // count)
    ends = np.cumsum(sizes or [size] * count).clip(max=x.shape[1]).tolist()
    for output, start, stop in zip(node.outputs, [0, *ends], ends, strict=False):
        if output:
            build.call(replace(node, outputs=(output,)), [ChannelSlice(start, stop)])


def cut(build: Builder, node: OnnxNode) -> None:
    """A run of the channels."""
    _, x = build.value(node)
    starts, stops = (build.integers(node, key, index) or [] for index, key in ((1, "starts"), (2, "ends")))
    axes = build.integers(node, "axes", 3) or range(len(starts))
    steps = build.integers(node, "steps", 4) or [1] * len(starts)
    kept = [slice(None)] * x.dim()
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=False):
        kept[axis] = slice(start, stop, step) if step > 0 else slice(0, 0)
    ranges = [range(*part.indices(size)) for part, size in zip(kept, x.shape, strict=True)]
    for axis, found in enumerate(ranges):
        if found != range(x.shape[axis]):
            _demand_channels(build, node, axis)
    channels = ranges[1]
    if channels.step != 1 or not channels:
        what = f"it takes {len(channels)} channels, each {channels.step} behind the other"
        raise build.file.fault(node, what, "take channels that lie side by side")
    build.call(node, [] if channels == range(x.shape[1]) else [ChannelSlice(channels.start, channels.stop)])


def _demand_channels(build: Builder, node: OnnxNode, axis: int) -> None:
    if axis != 1:
        raise build.file.fault(node, f"it parts axis {axis}", f"part the channels, axis 1; {hint_for(node.op)}")


def resize(build: Builder, node: OnnxNode) -> None:
    """Copies of every position of a map, by whole factors."""
    _, x = build.value(node)
    if text_of(node, "mode", "nearest") != "nearest" or x.dim() != 4:
        raise build.file.fault(node, "it makes other values than a map has", "enlarge a map, mode='nearest'")
    shape = (max(build.file.shape[0], 1), *x.shape[1:])
    sizes, scales = resized(build.file, node, shape, lambda index, _: _numbers(build, node, index))
    factors = [new // old for old, new in zip(shape, sizes, strict=True)]
    whole = [old * factor for old, factor in zip(shape, factors, strict=True)] == sizes
    if factors[:2] != [1, 1] or min(factors) < 1 or not whole:
        what = f"it makes {tuple(sizes[1:])} of {tuple(x.shape[1:])}"
        raise build.file.fault(node, what, "enlarge height and width by whole factors, mode='nearest'")
    for axis, name in ((2, "H"), (3, "W")):
        demand_copies(build.file, node, x.shape[axis], sizes[axis], scales[axis], name)
    layer = nn.Upsample(scale_factor=tuple(factors[2:]))  # type: ignore[arg-type]
    build.call(node, [] if set(factors[2:]) == {1} else [layer])


def _numbers(build: Builder, node: OnnxNode, index: int) -> list[float]:
    found = build.constant(node, index)
    return [] if found is None else found.flatten().tolist()


def depth_to_space(build: Builder, node: OnnxNode) -> None:
    """Blocks of positions from channels that lie side by side."""
    if text_of(node, "mode", "DCR") != "CRD":
        raise build.file.fault(node, "the channels of a block lie apart", "use mode='CRD', as torch.nn.PixelShuffle")
    build.call(node, [nn.PixelShuffle(int(node.attributes["blocksize"]))])


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
