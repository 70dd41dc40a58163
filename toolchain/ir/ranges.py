"""Range of what each integer operation can produce, from its weights and the range of its input."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from toolchain.ir.evaluate import evaluate_node
from toolchain.ir.graph import Graph
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

Range = tuple[int, int]
Shape = tuple[int, int, int]


@singledispatch
def output_range(node: Node, shape: Shape, *inputs: Range) -> Range:
    """Smallest and largest value of ``node`` for inputs anywhere in ``inputs``, partial sums included.

    ``shape`` is the first input's.
    """
    raise TypeError(f"no range for {type(node).__name__}")


def line_range(node: MulShift, low: int, high: int) -> Range:
    """The least and the greatest numerator of ``node`` for inputs of [low, high], of any size."""
    ends = [mul * x + add for mul, add in node.lines for x in (low, high)]
    return min(ends), max(ends)


def input_range(graph: Graph) -> Range:
    """Smallest and largest code that the host can send: its encoding's, else those of the type."""
    kind, codes = graph.input.qint, graph.encoding
    return (kind.min, kind.max) if codes is None else (codes.low, codes.high)


def value_ranges(graph: Graph) -> dict[str, Range]:
    """What every value of an INTEGER or HARDWARE graph can hold, by name."""
    shapes = {name: value.shape for name, value in graph.values().items()}
    ranges = {graph.input.name: input_range(graph)}
    for node in graph.nodes:
        found = output_range(node, shapes[node.inputs[0]], *(ranges[name] for name in node.inputs))
        ranges |= dict.fromkeys((value.name for value in node.outputs), found)
    return ranges


def _bounds(values: Array) -> Range:
    return int(values.min()), int(values.max())


def dot_bounds(weight: Array, low: int, high: int) -> tuple[Array, Array]:
    """Least and largest dot product of each row of ``weight`` (N, K) with inputs of ``[low, high]``: two (N,) arrays.

    Partial sums in any order stay within these bounds extended to zero, since every term is bounded alone. Where int64
    might not hold them, the arrays are of Python's integers.
    """
    if float(np.abs(weight.astype(np.float64)).sum(axis=1).max(initial=0.0)) * max(-low, high, 1) >= 2.0**62:
        weight = weight.astype(object)
    positive = np.maximum(weight, 0).sum(axis=1)
    negative = np.minimum(weight, 0).sum(axis=1)
    return positive * low + negative * high, positive * high + negative * low


@output_range.register(MatVec)
@output_range.register(GroupedMatVec)
@output_range.register(Depthwise)
@output_range.register(RowConv)
def _(node: MatVec | GroupedMatVec | Depthwise | RowConv, shape: Shape, x: Range) -> Range:
    # The accumulator starts at zero and passes through partial sums: inputs are extended to zero.
    weight = node.weight.T if isinstance(node, Depthwise) else node.weight.reshape(len(node.weight), -1)
    low, high = dot_bounds(weight, min(x[0], 0), max(x[1], 0))
    return int(low.min()), int(high.max())


@output_range.register
def _(node: Window, shape: Shape, x: Range) -> Range:
    return (min(x[0], node.pad_value), max(x[1], node.pad_value)) if any(node.pads) else x


@output_range.register
def _(node: Pool, shape: Shape, x: Range) -> Range:
    if node.kind == "max":
        return x
    return min(x[0] * node.taps, 0), max(x[1] * node.taps, 0)


@output_range.register(Fork)
@output_range.register(WidthConvert)
@output_range.register(Reshape)
@output_range.register(Slice)
@output_range.register(Upsample)
@output_range.register(DepthToSpace)
def _(node: Node, shape: Shape, x: Range) -> Range:
    return x


@output_range.register
def _(node: Threshold, shape: Shape, x: Range) -> Range:
    last = node.start + node.step * node.thresholds.shape[1]
    return min(_bounds(node.start)[0], _bounds(last)[0]), max(_bounds(node.start)[1], _bounds(last)[1])


@output_range.register
def _(node: MulShift, shape: Shape, x: Range) -> Range:
    ends = np.array(x, dtype=np.int64).reshape(2, 1, 1, 1).repeat(len(node.lines), axis=3)
    return _bounds(evaluate_node(node, ends))


@output_range.register
def _(node: Add, shape: Shape, a: Range, b: Range) -> Range:
    factors = zip(*(m.tolist() for m in np.broadcast_arrays(*node.multipliers)), strict=True)
    ends = [[sorted((m * span[0], m * span[1])) for m, span in zip(pair, (a, b), strict=True)] for pair in factors]
    return min(first[0] + second[0] for first, second in ends), max(first[1] + second[1] for first, second in ends)


@output_range.register
def _(node: Concat, shape: Shape, *inputs: Range) -> Range:
    return min(low for low, _ in inputs), max(high for _, high in inputs)


@output_range.register
def _(node: GlobalSum, shape: Shape, x: Range) -> Range:
    positions = shape[0] * shape[1]
    return min(x[0] * positions, 0), max(x[1] * positions, 0)


@output_range.register
def _(node: ArgMax, shape: Shape, x: Range) -> Range:
    return 0, shape[2] - 1
