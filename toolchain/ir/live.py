"""The peak number of bytes that the evaluation of one frame holds."""

from __future__ import annotations

from collections.abc import Collection, Container

import numpy as np

from toolchain.ir.blocks import narrowest
from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import QInt, Value

WIDE = 8
"""Bytes of an int64 or float64."""


def frame_bytes(graph: Graph, wanted: Collection[str] | None = None, given: Container[str] = ()) -> int:
    """The most bytes that the tensors of one frame take while ``wanted`` values, the outputs by default, are computed.

    Windows are laid out in blocks and take nothing; the ``given`` values are the caller's.
    """
    nodes = needed(graph.nodes, set(graph.written) if wanted is None else wanted, given)
    last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    live = {graph.input.name: graph.input.size * WIDE}
    peak = sum(live.values())
    for i, node in enumerate(nodes):
        result = _result_bytes(node, live)
        peak = max(peak, sum(live.values()) + result)
        for name in node.inputs:
            if last_use[name] == i:
                live.pop(name, None)
        for place, value in enumerate(node.outputs):  # the outputs of a fork are one array
            live[value.name] = 0 if place or value.name in given else result
    return peak


def _result_bytes(node: Node, live: dict[str, int]) -> int:
    if node.held:
        return live.get(node.inputs[0], 0)
    value = node.outputs[0]
    return value.size * _element_bytes(node, value)


def _element_bytes(node: Node, value: Value) -> int:
    if not isinstance(value.type, QInt):
        return WIDE
    kind = value.type
    narrow = np.dtype(narrowest(max(kind.max, -kind.min))).itemsize
    return narrow if node.tight else max(narrow, 4)
