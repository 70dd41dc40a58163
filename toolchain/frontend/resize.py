"""Resize and Upsample of an ONNX file, by nearest neighbours and linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np

from toolchain.frontend.layout import Layout, Tensor
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode, text_of
from toolchain.frontend.reader import Reader
from toolchain.frontend.rearrange import MAPS, cropped
from toolchain.ir.ops.maps import DepthToSpace, Upsample
from toolchain.ir.ops.model import RealConv
from toolchain.ir.ops.node import Node
from toolchain.ir.types import QInt, Shape, Value


def read_resize(reader: Reader, node: OnnxNode) -> None:
    """Resize or Upsample by whole factors whose pixels are copies of one each, or means of two along an axis."""
    source = reader.tensor(node, axes=MAPS)
    mode = text_of(node, "mode", "nearest")
    if mode in ("linear", "bilinear"):
        _read_linear(reader, node, source)
        return
    if mode != "nearest":
        raise reader.file.fault(node, f"mode '{mode}'", "resize with mode='nearest' or 'linear'")
    shape = reader.shape(source)
    sizes, scales = _resized(reader, node, shape)
    factors = _factors(reader, node, source, sizes)
    for axis, old, new, scale in zip(source.layout.axes, shape, sizes, scales, strict=True):
        demand_copies(reader.file, node, old, new, scale, axis)
    pair = (factors.get("H", 1), factors.get("W", 1))
    if pair == (1, 1):
        reader.alias(node, source)
        return
    height, width, channels = source.value.shape
    reader.emit(
        node,
        Layout(source.layout.axes, (height * pair[0], width * pair[1], channels), source.layout.order),
        lambda name, value: Upsample(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), factors=pair
        ),
    )


def _factors(reader: Reader, node: OnnxNode, source: Tensor, sizes: Sequence[int]) -> dict[str, int]:
    """Return the factor by which each axis grows."""
    shape = reader.shape(source)
    factors = {axis: new // old for axis, old, new in zip(source.layout.axes, shape, sizes, strict=True)}
    whole = all(old * factors[axis] == new for axis, old, new in zip(factors, shape, sizes, strict=True))
    if not whole or factors["N"] != 1 or factors["C"] != 1 or min(factors.values()) < 1:
        raise reader.file.fault(
            node, f"{shape} to {sizes}", "resize height and width to whole multiples, channels not at all"
        )
    return factors


def demand_copies(file: OnnxFile, node: OnnxNode, old: int, new: int, scale: Fraction, axis: str) -> None:
    """Demand of a nearest Resize of ``old`` to ``new`` positions of an axis that it copies each as often."""
    factor = new // old
    if _sources(file, node, old, new, scale) != [i // factor for i in range(new)]:
        raise file.fault(
            node,
            f"nearest pixels that are not {factor} copies of each along {axis}",
            "use coordinate_transformation_mode='half_pixel', or 'asymmetric' with nearest_mode='floor'",
        )


@dataclass(frozen=True)
class Line:
    """Linear interpolation along an axis whose first and last positions ``edges`` repeat.

    Each two neighbours make a block of outputs, each with its ``weights`` of both over ``whole``; the first output of
    all is the one ``start`` of its block.
    """

    weights: tuple[tuple[int, ...], ...]
    whole: int
    edges: tuple[int, int]
    start: int

    @staticmethod
    def of(factor: int, mode: str) -> Line:
        """Output y of a ``factor`` lies at (y + 1/2) / factor - 1/2, at y / factor where ``mode`` is asymmetric."""
        if factor == 1:
            return Line(((1,),), 1, (0, 0), 0)  # no neighbour
        if mode == "asymmetric":
            return Line(tuple((factor - r, r) for r in range(factor)), factor, (0, 1), 0)
        start, whole = (factor + 1) // 2, 2 * factor
        second = [2 * (r - start) + 1 + factor for r in range(factor)]
        return Line(tuple((whole - n, n) for n in second), whole, (1, 1), start)


LINEAR = {"asymmetric": "asymmetric", "half_pixel": "half_pixel", "pytorch_half_pixel": "half_pixel"}


def _read_linear(reader: Reader, node: OnnxNode, source: Tensor) -> None:
    """Linear Resize: edges repeated, a filter of two by two a channel that makes a block of outputs, laid out and cut.

    Every weight is a whole number over a common one, so the integers are exact.
    """
    shape = reader.shape(source)
    sizes, scales = _resized(reader, node, shape)
    factors = _factors(reader, node, source, sizes)
    if list(factors.values()) != scales:
        told = ", ".join(f"{float(scale):.6g}" for scale in scales)
        raise reader.file.fault(node, f"a linear Resize by {told}", "resize height and width by whole factors")
    default = "asymmetric" if _early(reader.file, node) else "half_pixel"
    where = text_of(node, "coordinate_transformation_mode", default)
    if where not in LINEAR or node.attributes.get("antialias", 0) or source.onnx_name in reader.integers:
        what = "codes, which it rounds" if source.onnx_name in reader.integers else f"coordinates '{where}'"
        raise reader.file.fault(
            node, f"a linear Resize of {what}", f"dequantize in front of it, and use one of {', '.join(LINEAR)}"
        )
    if where == "pytorch_half_pixel" and 1 in source.value.shape[:2]:
        where = "half_pixel"  # all outputs are the only input either way
    rows, columns = (Line.of(factors.get(axis, 1), LINEAR[where]) for axis in "HW")
    channels, remainders = source.value.shape[2], len(rows.weights) * len(columns.weights)
    if remainders == 1:
        reader.alias(node, source)
        return
    edges = (rows.edges[0], columns.edges[0], rows.edges[1], columns.edges[1])
    extended = _emitted(reader, node, Upsample, source.value, source.value.shape, factors=(1, 1), edges=edges)
    taps = len(rows.weights[0]), len(columns.weights[0])
    weights = np.einsum("iu,jv->ijuv", rows.weights, columns.weights).reshape(remainders, *taps, 1)
    height, width = extended.shape[0] - taps[0] + 1, extended.shape[1] - taps[1] + 1
    kind = QInt.holding(0, int(weights.max()))
    mixed = _emitted(
        reader,
        node,
        RealConv,
        extended,
        (height, width, channels * remainders),
        codes=np.ascontiguousarray(np.tile(weights, (channels, 1, 1, 1)).astype(np.int64)),
        scale=np.array([1 / (rows.whole * columns.whole)]),
        weight_type=QInt(kind.bits + 1, True),
        groups=channels,
    )
    block = len(rows.weights), len(columns.weights)
    size = (height * block[0], width * block[1], channels)
    wide = _emitted(reader, node, DepthToSpace, mixed, size, block=block, channels_first=True)
    layout = Layout(source.layout.axes, size, source.layout.order)
    height, width = (size * factor for size, factor in zip(source.value.shape, block, strict=False))
    tensor = Tensor(wide, layout, node.outputs[0])
    reader.alias(node, cropped(reader, node, tensor, (rows.start, columns.start), (height, width)))


def _emitted(reader: Reader, node: OnnxNode, op: type[Node], x: Value, shape: Shape, **facts: Any) -> Value:
    """An operation of ``node`` on ``x``; edges beyond the ``shape`` of an Upsample count."""
    edges = facts.get("edges", (0, 0, 0, 0))
    size = (shape[0] + edges[0] + edges[2], shape[1] + edges[1] + edges[3], shape[2])
    return reader.emit(
        node,
        Layout("NHWC", size),
        lambda name, value: op(name=name, inputs=(x.name,), outputs=(value,), origin=(node.own_name,), **facts),
        define=False,
    )


def _early(file: OnnxFile, node: OnnxNode) -> bool:
    """Return whether the node is of an opset below 11, in which coordinates were only scaled."""
    return node.op == "Upsample" or file.opset < 11


def _resized(reader: Reader, node: OnnxNode, shape: tuple[int, ...]) -> tuple[list[int], list[Fraction]]:
    return resized(reader.file, node, shape, lambda index, what: reader.constant(node, index, what).ravel().tolist())


def resized(
    file: OnnxFile, node: OnnxNode, shape: tuple[int, ...], read: Callable[[int, str], list[float]]
) -> tuple[list[int], list[Fraction]]:
    """The size and the scale of every axis: scales are an input or an attribute, or follow from an input of sizes.

    Args:
        file, node: the node and its file.
        shape: of the tensor.
        read: gives the constant that is an input, by its place and what it holds.
    """
    old = _early(file, node)

    def numbers(index: int, what: str) -> list[float]:
        return read(index, what) if node.input(index) else []

    scales = [float(s) for s in node.attributes.get("scales", ())] or numbers(1 if old else 2, "scales")
    sizes = [] if old else [int(n) for n in numbers(3, "sizes")]
    axes = [int(a) % len(shape) for a in node.attributes.get("axes", range(len(shape)))]
    given: Sequence[float] = scales or sizes
    policy = text_of(node, "keep_aspect_ratio_policy", "stretch")
    if len(given) != len(axes) or min(given) <= 0 or policy != "stretch":
        raise file.fault(node, f"{len(given)} scales for {len(axes)} axes", "give one scale an axis")
    new, factors = list(shape), [Fraction(1)] * len(shape)
    for axis, number in zip(axes, given, strict=True):
        factors[axis] = Fraction(number) if scales else Fraction(int(number), shape[axis])
        new[axis] = floor(factors[axis] * shape[axis])
    return new, factors


def _sources(file: OnnxFile, node: OnnxNode, old: int, new: int, scale: Fraction) -> list[int]:
    """The input pixel that each output pixel of an axis copies, by the formulas of ONNX, in exact arithmetic."""
    early = _early(file, node)
    where = text_of(node, "coordinate_transformation_mode", "asymmetric" if early else "half_pixel")
    rounding = text_of(node, "nearest_mode", "floor" if early else "round_prefer_floor")
    half = Fraction(1, 2)
    shift = (old - floor(scale * old) / scale) / 2 if where == "half_pixel_symmetric" else Fraction(0)
    transforms = {
        "half_pixel": lambda i: (i + half) / scale - half,
        "half_pixel_symmetric": lambda i: shift + (i + half) / scale - half,
        "pytorch_half_pixel": lambda i: (i + half) / scale - half if new > 1 else Fraction(0),
        "tf_half_pixel_for_nn": lambda i: (i + half) / scale,
        "align_corners": lambda i: Fraction(i * (old - 1), max(new - 1, 1)),
        "asymmetric": lambda i: i / scale,
    }
    rounds = {
        "round_prefer_floor": lambda v: ceil(v - half),
        "round_prefer_ceil": lambda v: floor(v + half),
        "floor": floor,
        "ceil": ceil,
    }
    if where not in transforms or rounding not in rounds:
        raise file.fault(
            node, f"coordinates '{where}' with nearest_mode '{rounding}'", f"use one of {', '.join(transforms)}"
        )
    return [min(max(rounds[rounding](transforms[where](i)), 0), old - 1) for i in range(new)]


def read_expand(reader: Reader, node: OnnxNode) -> None:
    """Expand of one position to a map, as of squeeze and excite; of what has the shape already."""
    source = reader.tensor(node)
    given = [int(size) for size in reader.constant(node, 1, "shape").ravel()]
    shape = reader.shape(source)
    wanted = tuple(max(pair) for pair in zip(shape, [1] * (len(shape) - len(given)) + given, strict=False))
    if wanted == shape:
        reader.alias(node, source)
        return
    sizes = dict(zip(source.layout.axes, wanted, strict=True))
    factors = (sizes.get("H", 1), sizes.get("W", 1))
    channels = source.value.shape[2]
    if len(given) > len(shape) or source.value.shape[:2] != (1, 1) or (sizes["N"], sizes["C"]) != (shape[0], channels):
        raise reader.file.fault(node, f"{shape} to {tuple(given)}", "expand one position to a map of as many channels")
    reader.emit(
        node,
        Layout(source.layout.axes, (*factors, channels), source.layout.order),
        lambda name, value: Upsample(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), factors=factors
        ),
    )
