"""Well-formedness of a graph at each level. A violation is a bug of this program, hence AssertionError."""

from __future__ import annotations

import re
from enum import Enum
from functools import singledispatch

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.model_ops import MODEL_OPS
from toolchain.ir.ops import (
    HARDWARE_OPS,
    INTEGER_OPS,
    Add,
    ArgMax,
    Concat,
    DepthToSpace,
    Depthwise,
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
from toolchain.ir.ranges import Range, input_range, output_range
from toolchain.ir.types import QInt, Real, Value


class Level(Enum):
    """What a graph may hold: reals; integers; also the hardware's own operations; those with all parallelism set."""

    MODEL = "model"
    INTEGER = "integer"
    UNITS = "units"
    HARDWARE = "hardware"


_OPS = {Level.MODEL: MODEL_OPS, Level.INTEGER: INTEGER_OPS, Level.UNITS: HARDWARE_OPS, Level.HARDWARE: HARDWARE_OPS}
MOST = 1 << 62
"""Integers stay below it in magnitude: what is computed from two of them, a sum or a difference, fits 64 bits."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class IllFormed(AssertionError):
    """A graph breaks a rule of its level."""


def _require(condition: bool, where: str, rule: str) -> None:
    if not condition:
        raise IllFormed(f"{where}: {rule}")


def verify(graph: Graph, level: Level) -> Graph:
    """Return ``graph`` when it obeys every rule of ``level``; IllFormed names the node and the rule otherwise."""
    known: dict[str, Value] = {graph.input.name: graph.input}
    names: set[str] = set()
    ranges: dict[str, Range] = {}
    if level is not Level.MODEL:
        _require(isinstance(graph.input.type, QInt), graph.input.name, "the input is an integer")
        kind, codes = graph.input.qint, input_range(graph)
        _require(kind.min <= codes[0] and codes[1] <= kind.max, graph.input.name, f"{kind} holds every input code")
        ranges[graph.input.name] = codes
    for node in graph.nodes:
        _require(isinstance(node, _OPS[level]), node.name, f"{type(node).__name__} is no {level.value} operation")
        _require(IDENTIFIER.fullmatch(node.name) is not None, node.name, "name is a C identifier")
        _require(node.name not in names, node.name, "name is unique")
        names.add(node.name)
        for name in node.inputs:
            _require(name in known, node.name, f"reads '{name}', which no earlier node defines")
        for value in node.outputs:
            _require(IDENTIFIER.fullmatch(value.name) is not None, value.name, "name is a C identifier")
            _require(value.name not in known, value.name, "is defined once")
            _require(len(value.shape) == 3 and min(value.shape) > 0, value.name, "shape is (H, W, C), none empty")
            known[value.name] = value
        if level is not Level.MODEL:
            _verify_integer(node, [known[name] for name in node.inputs], ranges)
    _require(graph.output in known, graph.output, "output is defined")
    for value in known.values():
        _require(isinstance(value.type, Real) == (level is Level.MODEL), value.name, f"type {value.type} at {level}")
    if level is not Level.MODEL:
        _require(graph.encoding is not None, graph.name, "has an encoding")
    if level is Level.HARDWARE:
        _verify_hardware(graph, known)
    return graph


def _verify_integer(node: Node, inputs: list[Value], ranges: dict[str, Range]) -> None:
    check_shapes(node, *inputs)
    low, high = output_range(node, inputs[0].shape, *(ranges[v.name] for v in inputs))
    for value in node.outputs:
        ranges[value.name] = low, high
        kind = value.qint
        _require(kind.min <= low and high <= kind.max, node.name, f"output {kind} holds {low}..{high}")
        _require(max(-low, high) < MOST, node.name, "its integers fit 62 bits")


def _verify_hardware(graph: Graph, known: dict[str, Value]) -> None:
    producers = graph.producers()
    for name, readers in graph.consumers().items():
        _require(len(readers) == (name != graph.output), name, "every stream has one reader")
        _require((known[name].depth or 0) >= 2, name, "every stream has a depth of at least 2")
    for node in graph.nodes:
        lanes = node.parallelism
        _require(lanes is not None, node.name, "has its parallelism set")
        for name in node.inputs:
            producer = producers.get(name)
            if producer is not None and producer.parallelism is not None and lanes is not None:
                _require(
                    producer.parallelism.lanes_out == lanes.lanes_in,
                    node.name,
                    f"reads {lanes.lanes_in} lanes of '{name}', which has {producer.parallelism.lanes_out}",
                )


def _per_channel(array: np.ndarray, channels: int) -> bool:
    return len(array) in (1, channels)


@singledispatch
def check_shapes(node: Node, *inputs: Value) -> None:
    """The node's shapes and attributes fit each other; IllFormed otherwise."""
    for value in (*inputs[1:], *node.outputs):
        _require(value.shape == inputs[0].shape, node.name, "keeps the shape")


@check_shapes.register
def _(node: Window, x: Value) -> None:
    (h, w, c), (kh, kw) = x.shape, node.kernel
    top, left, bottom, right = node.pads
    tall, wide = (kh - 1) * node.dilation[0] + 1, (kw - 1) * node.dilation[1] + 1
    _require(max(top, bottom) < tall and max(left, right) < wide, node.name, "pads are smaller than the kernel")
    rows = (h + top + bottom - tall) // node.stride[0] + 1
    columns = (w + left + right - wide) // node.stride[1] + 1
    _require(node.output.shape == (rows, columns, kh * kw * c), node.name, "window shape")
    _require(x.qint.min <= node.pad_value <= x.qint.max, node.name, "the input type holds the pad value")


@check_shapes.register
def _(node: MatVec, x: Value) -> None:
    outputs, k = node.weight.shape
    _require(x.shape[2] == k, node.name, f"weight takes {k} inputs, the value has {x.shape[2]}")
    _require(node.output.shape == (*x.shape[:2], outputs), node.name, "output shape")
    _check_weight(node.name, node.weight, node.weight_type)


@check_shapes.register
def _(node: GroupedMatVec, x: Value) -> None:
    outputs, taps, channels = node.weight.shape
    _require(node.groups > 0 and outputs % node.groups == 0, node.name, "every group has as many outputs")
    k = taps * node.groups * channels
    _require(x.shape[2] == k, node.name, f"weight takes {k} inputs, the value has {x.shape[2]}")
    _require(node.output.shape == (*x.shape[:2], outputs), node.name, "output shape")
    _check_weight(node.name, node.weight, node.weight_type)


@check_shapes.register
def _(node: RowConv, x: Value) -> None:
    outputs, taps, k = node.weight.shape
    rows, columns, inputs = x.shape
    _require(node.pad in (0, (taps - 1) / 2), node.name, "the pad is 0 or half of taps - 1")
    _require(inputs == k, node.name, f"weight takes {k} inputs, the value has {inputs}")
    _require(node.output.shape == (rows, columns + 2 * node.pad - taps + 1, outputs), node.name, "output shape")
    _check_weight(node.name, node.weight, node.weight_type)


@check_shapes.register
def _(node: Depthwise, x: Value) -> None:
    taps, channels = node.weight.shape
    _require(x.shape[2] == taps * channels, node.name, "weight fits the window")
    _require(node.output.shape == (*x.shape[:2], channels), node.name, "output shape")
    _check_weight(node.name, node.weight, node.weight_type)


def _check_weight(name: str, weight: np.ndarray, kind: QInt) -> None:
    _require(weight.dtype == np.int64, name, "weights are int64")
    _require(kind.min <= weight.min() and weight.max() <= kind.max, name, f"weights fit {kind}")


@check_shapes.register
def _(node: Pool, x: Value) -> None:
    _require(node.kind in ("max", "sum"), node.name, "kind is max or sum")
    _require(x.shape[2] == node.taps * node.output.shape[2], node.name, "taps fit the window")
    _require(node.output.shape[:2] == x.shape[:2], node.name, "output shape")


@check_shapes.register
def _(node: GlobalSum, x: Value) -> None:
    _require(node.output.shape == (1, 1, x.shape[2]), node.name, "output shape")


@check_shapes.register
def _(node: Threshold, x: Value) -> None:
    channels = x.shape[2]
    _require(node.output.shape == x.shape, node.name, "keeps the shape")
    fits = all(_per_channel(a, channels) for a in (node.thresholds, node.start, node.step))
    _require(fits, node.name, "one entry or one a channel")
    _require(bool((np.diff(node.thresholds, axis=1) >= 0).all()), node.name, "thresholds ascend")


@check_shapes.register
def _(node: MulShift, x: Value) -> None:
    _require(node.output.shape == x.shape, node.name, "keeps the shape")
    numbers = (node.mul, node.add, node.base)
    _require(all(_per_channel(a, x.shape[2]) for a in numbers), node.name, "one entry or one a channel")
    _require(all(int(np.abs(a).max()) < MOST for a in numbers), node.name, "its numbers fit 62 bits")
    _require(not (node.base & 1).any(), node.name, "the base is even")
    _require(0 <= node.shift <= 62 and node.low <= node.high, node.name, "shift and limits are in order")
    _require(max(-node.low, node.high) + int(np.abs(node.base).max()) < MOST, node.name, "the limits fit 62 bits")


@check_shapes.register
def _(node: Add, a: Value, b: Value) -> None:
    _require(a.shape == b.shape == node.output.shape, node.name, "shapes are equal")
    _require(all(_per_channel(m, a.shape[2]) for m in node.multipliers), node.name, "one entry or one a channel")


@check_shapes.register
def _(node: ArgMax, x: Value) -> None:
    _require(x.shape[:2] == (1, 1) and node.output.shape == (1, 1, 1), node.name, "takes (1, 1, C)")


@check_shapes.register
def _(node: Reshape, x: Value) -> None:
    _require(node.output.shape == (1, 1, x.size), node.name, "flattens")


@check_shapes.register
def _(node: Concat, *inputs: Value) -> None:
    _require(tuple(x.shape[2] for x in inputs) == node.channels, node.name, f"channels are {node.channels}")
    _require(len({x.shape[:2] for x in inputs}) == 1, node.name, "maps are of one size")
    _require(node.output.shape == (*inputs[0].shape[:2], sum(node.channels)), node.name, "output shape")


@check_shapes.register
def _(node: Slice, x: Value) -> None:
    _require(node.output.shape[:2] == x.shape[:2], node.name, "output shape")
    _require(0 <= node.start <= x.shape[2] - node.output.shape[2], node.name, "the input has the channels")


@check_shapes.register
def _(node: Upsample, x: Value) -> None:
    height, width, channels = x.shape
    shape = (height * node.factors[0], width * node.factors[1], channels)
    _require(min(node.factors) >= 1 and node.output.shape == shape, node.name, "output shape")


@check_shapes.register
def _(node: DepthToSpace, x: Value) -> None:
    (height, width, channels), b = node.output.shape, node.block
    _require(x.shape == (height // b, width // b, channels * b * b), node.name, "output shape")
    _require(height % b == width % b == 0, node.name, "output shape")


@check_shapes.register
def _(node: WidthConvert, x: Value) -> None:
    _require(node.output.shape == x.shape, node.name, "keeps the shape")
