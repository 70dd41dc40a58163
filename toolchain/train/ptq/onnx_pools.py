"""Pools and reductions of float ONNX files, and what their windows share with those of convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from toolchain.frontend.onnx_file import OnnxNode, text_of
from toolchain.train.own.kinds import is_positive
from toolchain.train.own.twins import reshaped
from toolchain.train.ptq.curves import scaled
from toolchain.train.ptq.onnx_builder import Builder, Half


def pool(build: Builder, node: OnnxNode) -> None:
    """MaxPool, AveragePool."""
    _, x = build.value(node)
    kernel = tuple(int(value) for value in node.attributes["kernel_shape"])
    axes = len(kernel)
    if axes not in (1, 2):
        raise build.file.fault(node, f"a pool of {axes} axes", "pool signals or maps")
    stride, dilation = axes_of(node, "strides", axes), axes_of(node, "dilations", axes)
    before, after = pads_of(node, x, kernel, stride, dilation)
    ceil = bool(node.attributes.get("ceil_mode", 0))
    if node.op == "MaxPool":
        maximum: Any = nn.MaxPool1d if axes == 1 else nn.MaxPool2d
        plain = maximum(kernel, stride, before, dilation, ceil_mode=ceil)
        layers = [plain] if before == after else _unequal_maximum(build, node, plain, before, after)
        build.call(node, layers)
        return
    if set(dilation) != {1}:
        raise build.file.fault(node, f"an average with the dilations {[*dilation]}", "leave dilations out")
    average: Any = nn.AvgPool1d if axes == 1 else nn.AvgPool2d
    counted = bool(node.attributes.get("count_include_pad", 0))
    around: list[nn.Module] = []
    if before != after:
        if not counted:
            what = f"an average with the pads {[*before, *after]}, which do not count"
            raise build.file.fault(node, what, "pad all sides alike, or set count_include_pad=1")
        around, before = [zeros(list(zip(before, after, strict=True)))], (0,) * axes
    build.call(node, [*around, average(kernel, stride, before, ceil_mode=ceil, count_include_pad=counted)])


def _unequal_maximum(
    build: Builder, node: OnnxNode, plain: Any, before: tuple[int, ...], after: tuple[int, ...]
) -> list[nn.Module]:
    """The layers of a maximum whose pads ``before`` and ``after`` the map differ; ``plain`` has the former only.

    PyTorch pads both sides alike: where that, or a last window beyond the map, gives as many windows, they are the
    same. Else zeros are padded, which no number behind a ReLU is below.
    """
    at, x = build.value(node)
    spans = [(k - 1) * d + 1 for k, d in zip(plain.kernel_size, plain.dilation, strict=True)]
    known = zip(x.shape[2:], before, after, spans, plain.stride, strict=True)
    rooms = [(size + b + a - span, step) for size, b, a, span, step in known]
    sizes = [(-(-room // step) if plain.ceil_mode else room // step) + 1 for room, step in rooms]
    if all(2 * b <= span for b, span in zip(before, spans, strict=True)):
        for ceil in (False, True):
            plain.ceil_mode = ceil
            if [*plain(x).shape[2:]] == sizes:
                return [plain]
    if not is_positive(build.layer(at)):
        what = f"a maximum with the pads {[*before, *after]} over numbers that may be negative"
        raise build.file.fault(node, what, "pad all sides alike, or put it behind a ReLU")
    plain.padding, plain.ceil_mode = (0,) * len(before), bool(node.attributes.get("ceil_mode", 0))
    return [zeros(list(zip(before, after, strict=True))), plain]


def over_the_map(build: Builder, node: OnnxNode) -> None:
    """GlobalAveragePool, GlobalMaxPool, ReduceMean, ReduceMax, ReduceSum, also over one axis after the other.

    A sum is a mean times the positions.
    """
    row, half = build.rows.get(node.input(0)), build.halves.get(node.input(0))
    if half is not None and half.node.op != node.op:
        raise half.fault(build.file)
    at, x = (half.at, half.x) if half else build.value(node)
    rank = x.dim() + (row is not None)
    axes = list(half.axes) if half else list(range(rank))  # of the map, as they are left
    reduced, kept, positions = axes[2:], True, list(range(2, rank))
    if node.op.startswith("Reduce"):
        given = build.integers(node, "axes", 1) or range(len(axes))
        reduced = sorted(axes[axis % len(axes)] for axis in given)
        kept = bool(node.attributes.get("keepdims", 1))
    left = axes if kept else [axis for axis in axes if axis not in reduced]
    done = sorted({*reduced, *(half.reduced if half else ()), *([row] if row else ())})
    if x.dim() == 4 and len(done) == 1 and done[0] in positions:
        build.halves[node.outputs[0]] = Half(node, at, x, tuple(left), tuple(done))
        return
    if done != positions or x.dim() not in (3, 4):
        raise build.file.fault(node, f"it reduces the axes {reduced}", "reduce the whole map, and nothing else")
    kinds: dict[str, tuple[Any, Any]] = {
        "Mean": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
        "Max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    }
    kind = kinds["Max" if "Max" in node.op else "Mean"][x.dim() - 3]
    ones = (1,) * (x.dim() - 2)
    after = ones if row and kept else (1,) * (len(left) - 2)
    layers = [kind(1), *reshaped((*x.shape[:2], *ones), (*x.shape[:2], *after))]
    if node.op == "ReduceSum":
        count = torch.tensor(float(x.shape[2:].numel()))
        layers.append(scaled(torch.zeros(*x.shape[:2], *after), count, torch.zeros(())))
    build.append(node, layers, at, x)
    if row and kept:
        build.rows[node.outputs[0]] = row


def axes_of(node: OnnxNode, key: str, count: int) -> tuple[int, ...]:
    """An attribute with a number for each axis of a map, 1 where it is absent."""
    return tuple(int(value) for value in node.attributes.get(key, (1,) * count))


def pads_of(
    node: OnnxNode, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros in front of and behind each axis of the map."""
    mode = text_of(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        pads = [int(value) for value in node.attributes.get("pads", (0,) * 2 * len(kernel))]
        return (
            (tuple(pads[: len(kernel)]), tuple(pads[len(kernel) :])) if mode == "NOTSET" else ((0,) * len(kernel),) * 2
        )
    sizes = x.shape[2:]
    totals = [
        max(0, (-(-size // step) - 1) * step + (k - 1) * d + 1 - size)
        for size, k, step, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def zeros(sides: list[tuple[int, int]]) -> nn.Module:
    """Zeros in front of and behind each axis of a map or a signal."""
    last, height = sides[-1], sides[0] if len(sides) == 2 else (0, 0)
    return nn.ZeroPad2d((*last, *height))
