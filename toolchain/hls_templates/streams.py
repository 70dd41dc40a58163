"""The streams of a HARDWARE graph: width, depth, storage, and the order of a value's channels on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.errors import FlowError, UserError
from toolchain.hls_templates.names import identifiers
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Array, Parallelism, QInt, Value
from toolchain.units.fabric import use_lutram
from toolchain.units.limits import MAX_STREAM_BITS

SRL_DEPTH = 32
"""A FIFO of at most this depth is built from shift-register LUTs."""


@dataclass(frozen=True)
class Stream:
    """One hardware stream; ``index`` numbers them, ``values`` are the IR values it carries (a Reshape renames)."""

    name: str
    index: int
    values: tuple[str, ...]
    type: QInt
    lanes: int
    depth: int
    size: int

    @property
    def bits(self) -> int:
        """Width of a word."""
        return self.lanes * self.type.bits

    @property
    def storage(self) -> str:
        """What the FIFO is built from."""
        if self.depth <= SRL_DEPTH:
            return "srl"
        return "lutram" if use_lutram(self.depth, self.bits) else "bram"


def parallelism(node: Node) -> Parallelism:
    """The node's parallelism; FlowError when it is not set."""
    if node.parallelism is None:
        raise FlowError(f"node '{node.name}' has no parallelism; apply a plan first")
    return node.parallelism


def streams(graph: Graph) -> dict[str, Stream]:
    """The stream that carries each value, by value name; values that a Reshape renames share one.

    Raises:
        UserError: a stream wider than Vitis HLS accepts.
    """
    source = {name: name for name in graph.values()}
    for node in graph.nodes:
        if isinstance(node, Reshape):
            source[node.output.name] = source[node.inputs[0]]
    roots = [name for name, root in source.items() if name == root]
    names = identifiers(roots)
    found: dict[str, Stream] = {}
    for index, root in enumerate(roots):
        carried = tuple(name for name, r in source.items() if r == root)
        value = graph.value(root)
        depth = max(graph.value(name).depth or 2 for name in carried)
        lanes = _lanes(graph, root, carried)
        stream = Stream(names[root], index, carried, value.qint, lanes, depth, value.size)
        _check_width(graph, stream)
        found |= {name: stream for name in carried}
    return found


def _lanes(graph: Graph, root: str, carried: tuple[str, ...]) -> int:
    producer = graph.producers().get(root)
    if producer is not None:
        return parallelism(producer).lanes_out
    for node in graph.nodes:
        if not isinstance(node, Reshape) and set(carried) & set(node.inputs):
            return parallelism(node).lanes_in
    return 1


def _check_width(graph: Graph, stream: Stream) -> None:
    producer = graph.producers().get(stream.values[0])
    where = f"node {producer.name}" if producer is not None else f"input {stream.values[0]}"
    if stream.bits > MAX_STREAM_BITS:
        raise UserError(
            f"a stream of {stream.bits} bits, Vitis HLS takes at most {MAX_STREAM_BITS}",
            where=where,
            hint="choose fewer lanes",
        )


def window_order(taps: int, channels: int, lanes: int) -> Array:
    """Index of the IR channel (tap, c) at every place of a window's stream, whose order is (c / lanes, tap, lane)."""
    index = np.arange(taps * channels).reshape(taps, channels // lanes, lanes)
    return index.transpose(1, 0, 2).reshape(-1)


def stream_order(graph: Graph, name: str) -> Array:
    """The order of a value's channels on its stream: place i carries channel ``stream_order(...)[i]``.

    Only a Window reorders; Fork and WidthConvert pass its order on, a Reshape repeats it at every position.
    """
    producer = graph.producers().get(name)
    value = graph.value(name)
    if isinstance(producer, Window):
        channels = value.shape[2] // producer.taps
        return window_order(producer.taps, channels, parallelism(producer).lanes_in)
    if isinstance(producer, Fork | WidthConvert):
        return stream_order(graph, producer.inputs[0])
    if isinstance(producer, Reshape):
        before = graph.value(producer.inputs[0])
        order = stream_order(graph, before.name)
        positions = np.arange(before.size // before.shape[2])[:, None] * before.shape[2]
        return (positions + order[None, :]).reshape(-1)
    return np.arange(value.shape[2])


def to_ir_order(graph: Graph, name: str, elements: Array) -> Array:
    """Stream contents of whole frames as (N, H, W, C) in the IR's channel order."""
    value: Value = graph.value(name)
    stream = elements.reshape(-1, *value.shape)
    result = np.empty_like(stream)
    result[..., stream_order(graph, name)] = stream
    return result


def require_order(graph: Graph, node: Node, wanted: Callable[[int], Array]) -> None:
    """FlowError unless every input of ``node`` comes in the order ``wanted(channels)``."""
    for name in node.inputs:
        order = stream_order(graph, name)
        if not np.array_equal(order, wanted(len(order))):
            raise FlowError(f"node '{node.name}' cannot read '{name}' in the order of its stream")
