"""The specification: what every operation computes.

Arrays have a leading batch axis: (N, H, W, C). Integer operations take and return int64 and are exact; MODEL-level
operations work in float64.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import replace
from functools import singledispatch

import numpy as np
from numpy.typing import DTypeLike

from toolchain.ir import blocks
from toolchain.ir.blocks import Geometry, Source, Windows, exact_matmul, narrowest, one_thread, whole, windows
from toolchain.ir.graph import Graph
from toolchain.ir.limbs import mul_add_shift
from toolchain.ir.model_ops import Affine, Clamp, LeakyRelu, MultiThreshold, Quantize, RealAdd, RealConv, RealPool, Relu
from toolchain.ir.ops import (
    Add,
    ArgMax,
    Array,
    Concat,
    DepthToSpace,
    Depthwise,
    Fork,
    GlobalSum,
    GroupedMatVec,
    MatVec,
    MulShift,
    Node,
    Pool,
    Reshape,
    RowConv,
    Slice,
    Threshold,
    Upsample,
    WidthConvert,
    Window,
)
from toolchain.ir.types import Quantizer

ROWWISE = (
    MulShift,
    Threshold,
    Add,
    Depthwise,
    Pool,
    RowConv,
    Quantize,
    MultiThreshold,
    Affine,
    Relu,
    LeakyRelu,
    Clamp,
    RealAdd,
)
"""Operations whose output row depends on the same row of their inputs only."""

MOVES = (Reshape, Concat, Slice, Upsample, DepthToSpace, ArgMax, GlobalSum)
"""Integer operations that are as exact on narrow integers."""


def evaluate(
    graph: Graph,
    x: Array,
    *,
    taps: Collection[str] | None = None,
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Run ``graph`` on ``x`` (N, H, W, C) and return the output and the values named in ``taps`` by name.

    ``given`` overrides values: nodes read the given array instead of what their producer computed.
    Raises ValueError when ``x`` does not have the input's shape or, on integers, its range.
    """
    found = values(graph, x, {graph.output, *(taps or ())}, given)
    return {name: array.astype(np.int64) if array.dtype.kind == "i" else array for name, array in found}


def values(
    graph: Graph, x: Array, wanted: Collection[str], given: Mapping[str, Array] | None = None
) -> Iterator[tuple[str, Array]]:
    """The ``wanted`` values with their names, one after the other in the graph's order; see ``evaluate``.

    Integers come in a type that holds them. Only what the wanted values depend on is computed, windows are laid out in
    blocks, and every tensor is freed after its last use: a caller that keeps none of them needs ``frame_bytes`` a
    frame.
    """
    _check_input(graph, x)
    given = given or {}
    nodes = needed(graph, wanted, given)
    last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    live: dict[str, Source] = {graph.input.name: x}
    if graph.input.name in wanted:
        yield graph.input.name, x
    for i, node in enumerate(nodes):
        result = _compute(node, *(given[name] if name in given else live[name] for name in node.inputs))
        for name in node.inputs:
            if last_use[name] == i:
                live.pop(name, None)
        for value in node.outputs:
            if value.name in last_use and value.name not in given:
                live[value.name] = result
        for value in node.outputs:
            if value.name in wanted:
                yield value.name, whole(result)
        del result


def needed(graph: Graph, wanted: Collection[str], given: Container[str] = ()) -> list[Node]:
    """The nodes that the ``wanted`` values depend on when those in ``given`` are known, in the graph's order."""
    names, found = set(wanted), []
    for node in reversed(graph.nodes):
        if any(value.name in names for value in node.outputs):
            found.append(node)
            names.update(name for name in node.inputs if name not in given)
    return found[::-1]


def _compute(node: Node, *inputs: Source) -> Source:
    """What ``evaluate_node`` computes, in blocks where the operation allows it."""
    first = inputs[0]
    if isinstance(node, Window) and not isinstance(first, Windows):
        return Windows(node, first)
    if isinstance(node, Fork | WidthConvert):
        return first
    if isinstance(node, MatVec | GroupedMatVec):
        return blocks.matvec(node, first)
    if isinstance(node, Depthwise) and isinstance(first, Windows):
        return blocks.depthwise(node, first)
    if isinstance(node, Pool) and isinstance(first, Windows):
        return blocks.pool(node, first)
    if isinstance(node, ROWWISE):
        return _by_rows(node, *inputs)
    arrays = [whole(source) for source in inputs]
    if isinstance(node, RealConv | RealPool):
        return _by_windows(node, arrays[0])
    return evaluate_node(node, *(arrays if isinstance(node, MOVES) else map(_widened, arrays)))


def evaluate_alone(node: Node, *inputs: Array) -> Array:
    """The output of ``evaluate_node``, in a type that holds it: computed in blocks, on narrow integers."""
    return whole(_compute(node, *inputs))


def _by_rows(node: Node, *inputs: Source) -> Array:
    """``evaluate_node`` on a block of rows at a time."""
    count, rows, columns, depth = inputs[0].shape
    result: Array | None = None
    kinds = [_wide_type(source) for source in inputs]
    with one_thread():
        for block in blocks.blocks(count, rows, columns * depth * 8 * (1 + len(inputs))):
            found = evaluate_node(node, *(blocks.part(s, block, k) for s, k in zip(inputs, kinds, strict=True)))
            if result is None:
                kind = found.dtype if found.dtype.kind != "i" else narrowest(_bound(node, *inputs))
                result = np.empty((count, rows, *found.shape[2:]), dtype=kind)
            result[block] = found
    return np.empty((0, *node.output.shape)) if result is None else result


def _by_windows(node: RealConv | RealPool, x: Array) -> Array:
    """``evaluate_node`` on the padded rows of a block at a time."""
    inner = replace(node, pads=(0, 0, 0, 0))
    geometry = Geometry.of(node, x, -np.inf if isinstance(node, RealPool) and node.kind == "max" else 0.0)
    rows, columns = geometry.shape
    result = np.empty((len(x), rows, columns, node.output.shape[2]), dtype=np.float64)
    taps = geometry.kernel[0] * geometry.kernel[1]
    with one_thread():
        for block in blocks.blocks(len(x), rows, columns * (taps * x.shape[3] + result.shape[3]) * 8):
            result[block] = evaluate_node(inner, geometry.padded(x, block, np.float64))
    return result


def _bound(node: Node, *inputs: Source) -> int:
    """No result of ``node`` is larger in magnitude; that of int64 where nothing narrower is known."""
    if isinstance(node, MulShift):
        return max(abs(node.low), abs(node.high))
    if isinstance(node, Threshold):
        return int((np.abs(node.start) + np.abs(node.step) * node.thresholds.shape[1]).max())
    if isinstance(node, Add):
        return sum(int(np.abs(m).max()) * blocks.largest(s) for m, s in zip(node.multipliers, inputs, strict=True))
    if isinstance(node, RowConv):
        return blocks.largest(inputs[0]) * int(np.abs(node.weight).sum(axis=(1, 2)).max(initial=0))
    return int(np.iinfo(np.int64).max)


def _wide_type(source: Source) -> DTypeLike:
    """The type that ``evaluate_node`` works in."""
    dtype = source.x.dtype if isinstance(source, Windows) else source.dtype
    return np.int64 if dtype.kind == "i" else dtype


def _widened(x: Array) -> Array:
    return x.astype(np.int64, copy=False) if x.dtype.kind == "i" else x


def _check_input(graph: Graph, x: Array) -> None:
    if x.shape[1:] != graph.input.shape:
        raise ValueError(f"input has shape {x.shape[1:]}, the graph takes {graph.input.shape}")
    kind = graph.input.type
    integer = hasattr(kind, "bits")
    if integer and x.size and (x.min() < graph.input.qint.min or x.max() > graph.input.qint.max):
        raise ValueError(f"input holds {x.min()}..{x.max()}, the graph takes {kind}")


@singledispatch
def evaluate_node(node: Node, *inputs: Array) -> Array:
    """The output of one node for batched ``inputs``; all outputs of a Fork are equal."""
    raise TypeError(f"no evaluation for {type(node).__name__}")


@evaluate_node.register
def _(node: Window, x: Array) -> Array:
    view = windows(x, node.kernel, node.stride, node.pads, node.dilation, node.pad_value)
    return np.ascontiguousarray(view).reshape(*view.shape[:3], -1)


@evaluate_node.register
def _(node: MatVec, x: Array) -> Array:
    return exact_matmul(x, node.weight.T)


@evaluate_node.register
def _(node: GroupedMatVec, x: Array) -> Array:
    work = blocks.work_type(blocks.magnitude(x) * blocks.widest_filter(node))
    return blocks.multiplied(node, work)(x.astype(work)).astype(np.int64)


@evaluate_node.register
def _(node: RowConv, x: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (node.pad, node.pad), (0, 0)))
    columns = x.shape[2] + 2 * node.pad - node.taps + 1
    taps = [exact_matmul(padded[:, :, t : t + columns], node.weight[:, t].T) for t in range(node.taps)]
    return np.sum(taps, axis=0)


@evaluate_node.register
def _(node: Depthwise, x: Array) -> Array:
    taps, channels = node.weight.shape
    return np.einsum("nhwtc,tc->nhwc", x.reshape(*x.shape[:3], taps, channels), node.weight)


@evaluate_node.register
def _(node: Pool, x: Array) -> Array:
    view = x.reshape(*x.shape[:3], node.taps, -1)
    return view.max(axis=3) if node.kind == "max" else view.sum(axis=3)


@evaluate_node.register
def _(node: GlobalSum, x: Array) -> Array:
    return x.sum(axis=(1, 2), keepdims=True)


@evaluate_node.register
def _(node: Threshold, x: Array) -> Array:
    return node.start + node.step * reached(node.thresholds, x)


def reached(thresholds: Array, x: Array) -> Array:
    """How many of its channel's ascending ``thresholds`` (C or 1, T) each element of ``x`` (..., C) reaches."""
    if len(thresholds) == 1:
        return np.searchsorted(thresholds[0], x, side="right")
    count = np.empty(x.shape, dtype=np.int64)
    for c, row in enumerate(thresholds):
        count[..., c] = np.searchsorted(row, x[..., c], side="right")
    return count


def round_half_even_shift(v: Array, shift: int) -> Array:
    """``v / 2**shift`` rounded to the nearest integer, halves to even."""
    if shift == 0:
        return v
    rounded: Array = v >> shift
    rounded &= 1  # one more where the quotient is odd makes it even
    rounded += v
    rounded += (1 << (shift - 1)) - 1
    rounded >>= shift
    return rounded


@evaluate_node.register
def _(node: MulShift, x: Array) -> Array:
    reach = max(-int(x.min()), int(x.max())) if x.size else 0
    if reach * int(np.abs(node.mul).max()) + int(np.abs(node.add).max()) + (1 << node.shift) < 1 << 63:
        line = x * node.mul
        line += node.add
        y = round_half_even_shift(line, node.shift)
    else:
        y = mul_add_shift(x, node.mul, node.add, node.shift)
    if node.base.any():
        y = y + node.base
    return np.clip(y, node.low, node.high)


@evaluate_node.register
def _(node: Add, a: Array, b: Array) -> Array:
    first, second = node.multipliers
    return a * first + b * second


@evaluate_node.register
def _(node: ArgMax, x: Array) -> Array:
    index = x.shape[3] - 1 - x[..., ::-1].argmax(axis=3) if node.last else x.argmax(axis=3)
    return index[..., None].astype(np.int64)


@evaluate_node.register
def _(node: Reshape, x: Array) -> Array:
    return x.reshape(len(x), *node.output.shape)


@evaluate_node.register
def _(node: Concat, *inputs: Array) -> Array:
    return np.concatenate(inputs, axis=3)


@evaluate_node.register
def _(node: Slice, x: Array) -> Array:
    return x[..., node.start : node.start + node.output.shape[2]]


@evaluate_node.register
def _(node: Upsample, x: Array) -> Array:
    return x.repeat(node.factors[0], axis=1).repeat(node.factors[1], axis=2)


@evaluate_node.register
def _(node: DepthToSpace, x: Array) -> Array:
    batch, height, width, _ = x.shape
    b, channels = node.block, node.output.shape[2]
    if node.channels_first:
        parts = x.reshape(batch, height, width, channels, b, b).transpose(0, 1, 4, 2, 5, 3)
    else:
        parts = x.reshape(batch, height, width, b, b, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(parts).reshape(batch, height * b, width * b, channels)


@evaluate_node.register(Fork)
@evaluate_node.register(WidthConvert)
def _(node: Node, x: Array) -> Array:
    return x


def quantize(quantizer: Quantizer, x: Array) -> Array:
    """Codes (int64) of ``x`` (..., C) by the QONNX rule, in the float type of ``x``."""
    if quantizer.bipolar:
        return np.where(x >= 0, 1, -1).astype(np.int64)
    scale = np.asarray(quantizer.scale, dtype=x.dtype)
    position = x / scale
    if quantizer.grid > 1:
        position = np.rint(position * quantizer.grid) / quantizer.grid
    clamped = np.clip(position + x.dtype.type(quantizer.zero_point), quantizer.low, quantizer.high)
    return quantizer.rounding.floats(clamped).astype(np.int64)


@evaluate_node.register
def _(node: Quantize, x: Array) -> Array:
    quantizer = node.quantizer
    return (quantize(quantizer, x) - quantizer.zero_point) * np.asarray(quantizer.unit)


@evaluate_node.register
def _(node: MultiThreshold, x: Array) -> Array:
    return node.scale * reached(node.thresholds, x) + node.bias


@evaluate_node.register
def _(node: RealConv, x: Array) -> Array:
    kernel = (node.codes.shape[1], node.codes.shape[2])
    view = windows(x, kernel, node.stride, node.pads, node.dilation, 0.0)
    batch, height, width = view.shape[:3]
    weight = node.codes * node.scale.reshape(-1, 1, 1, 1)
    grouped = view.reshape(batch, height, width, -1, node.groups, x.shape[3] // node.groups)
    filters = weight.reshape(node.groups, len(weight) // node.groups, -1, weight.shape[3])
    out = np.einsum("nhwtgc,gotc->nhwgo", grouped, filters, optimize=True).reshape(batch, height, width, -1)
    return out if node.bias is None else out + node.bias


@evaluate_node.register
def _(node: Affine, x: Array) -> Array:
    return x * node.scale + node.shift


@evaluate_node.register
def _(node: Relu, x: Array) -> Array:
    return np.maximum(x, 0.0)


@evaluate_node.register
def _(node: LeakyRelu, x: Array) -> Array:
    return np.where(x >= 0, x, x * node.slope)


@evaluate_node.register
def _(node: Clamp, x: Array) -> Array:
    return np.clip(x, node.low, node.high)


@evaluate_node.register
def _(node: RealPool, x: Array) -> Array:
    fill = -np.inf if node.kind == "max" else 0.0
    view = windows(x, node.kernel, node.stride, node.pads, node.dilation, fill)
    return view.max(axis=(3, 4)) if node.kind == "max" else view.mean(axis=(3, 4))


@evaluate_node.register
def _(node: RealAdd, a: Array, b: Array) -> Array:
    return a + b
