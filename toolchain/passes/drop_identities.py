"""x -> MulShift, Threshold or Lookup that gives every code of x back   becomes   x.

Files with quantizers around every operation have them: behind a maximum, a flatten or a shuffle, codes are quantized
by the scale that they have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Range, Value

MOST_CODES = 1 << 16
"""Inputs that a requantizer is tried on, in a channel."""


def drop_identities(graph: Graph) -> Graph:
    """``graph`` whose readers of an unchanged value read the value itself, of one type; the same object without one.

    A requantizer that is the network's output and reads its input stays, since a network has a node.
    """
    values, ranges = graph.values(), value_ranges(graph)
    source: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        read = replace(node, inputs=tuple(source.get(name, name) for name in node.inputs))
        x = values[read.inputs[0]]
        output = node.outputs[0].name
        if _is_identity(read, x, ranges[x.name]) and not (output in graph.written and x is graph.input):
            source[output] = x.name
        else:
            kept.append(read)
    if not source:
        return graph
    return graph.with_nodes(kept).with_output_values(source.get(o.value, o.value) for o in graph.outputs)


def _is_identity(node: Node, x: Value, inside: Range) -> bool:
    """Return whether ``node`` is a requantizer that changes no integer of ``inside`` and keeps the type of ``x``."""
    low, high = inside
    if not isinstance(node, MulShift | Threshold | Lookup) or node.output.type != x.type or high - low >= MOST_CODES:
        return False
    for codes in (np.array([low, high]), np.arange(low, high + 1)):  # most differ at an end
        tried = np.broadcast_to(codes.reshape(-1, 1, 1, 1), (len(codes), 1, 1, x.shape[2]))
        if not np.array_equal(node.evaluate(tried), tried):
            return False
    return True
