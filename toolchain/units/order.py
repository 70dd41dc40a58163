"""The order of a value's channels on its stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Array, Parallelism


def parallelism(node: Node) -> Parallelism:
    """Return the parallelism of ``node``.

    Raises:
        FlowError: no plan has set it.
    """
    if node.parallelism is None:
        raise FlowError(f"node '{node.name}' has no parallelism; apply a plan first")
    return node.parallelism


def window_order(taps: int, channels: int, lanes: int) -> Array:
    """Index of the IR channel (tap, c) at every place of a window's stream, whose order is (c / lanes, tap, lane)."""
    index = np.arange(taps * channels).reshape(taps, channels // lanes, lanes)
    return index.transpose(1, 0, 2).reshape(-1)


def stream_order(graph: Graph, name: str) -> Array:
    """The order of a value's channels on its stream: place i carries channel ``stream_order(...)[i]``.

    Only a Window reorders; Fork and WidthConvert pass its order on, a Reshape repeats it where it joins positions.
    FlowError where one parts such.
    """
    producer = graph.producers().get(name)
    value = graph.value(name)
    if isinstance(producer, Window):
        channels = value.shape[2] // producer.taps
        return window_order(producer.taps, channels, parallelism(producer).lanes_in)
    if isinstance(producer, Fork | WidthConvert):
        return stream_order(graph, producer.inputs[0])
    if producer is not None and producer.renames:
        before = graph.value(producer.inputs[0])
        order = stream_order(graph, before.name)
        if value.shape[2] < before.shape[2]:
            if not np.array_equal(order, np.arange(len(order))):
                raise FlowError(f"node '{producer.name}' cannot part '{before.name}' in the order of its stream")
            return np.arange(value.shape[2])
        positions = np.arange(value.shape[2] // before.shape[2])[:, None] * before.shape[2]
        return (positions + order[None, :]).reshape(-1)
    return np.arange(value.shape[2])


def require_order(graph: Graph, node: Node, wanted: Callable[[int], Array]) -> None:
    """FlowError unless every input of ``node`` comes in the order ``wanted(channels)``."""
    for name in node.inputs:
        order = stream_order(graph, name)
        if not np.array_equal(order, wanted(len(order))):
            raise FlowError(f"node '{node.name}' cannot read '{name}' in the order of its stream")
