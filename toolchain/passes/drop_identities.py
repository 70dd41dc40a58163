"""x -> MulShift, Threshold or Lookup that gives every code of x back, or the sum of one position   become   x.

Files with quantizers around every operation have them: behind a maximum, a flatten or a shuffle, codes are quantized
by the scale that they have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Range, Value

MOST_CODES = 1 << 16
"""Inputs that a requantizer is tried on, in a channel."""

_REQUANTIZERS = (Lookup, MulShift, Threshold)


def drop_identities(graph: Graph, *, of_codes: bool = False) -> Graph:
    """``graph`` whose readers of an unchanged value read the value itself, of one type; the same object without one.

    ``of_codes``: what reads sums stays, since the engine stores none without a requantizer. A node that is the
    network's output and reads its input stays, since a network has a node.
    """
    values, ranges = graph.values(), value_ranges(graph)
    source: dict[str, str] = {}
    kept: list[Node] = []
    codes = {graph.input.name}
    for node in graph.nodes:
        read = replace(node, inputs=tuple(source.get(name, name) for name in node.inputs))
        x, output = values[read.inputs[0]], node.outputs[0].name
        alone = output in graph.written and x is graph.input
        if _is_identity(read, x, ranges[x.name]) and not alone and (x.name in codes or not of_codes):
            source[output] = x.name
            continue
        kept.append(read)
        if isinstance(read, _REQUANTIZERS) or (read.selects and codes.issuperset(read.inputs)):
            codes.update(value.name for value in read.outputs)
    if not source:
        return graph
    return graph.with_nodes(kept).with_output_values(source.get(o.value, o.value) for o in graph.outputs)


def _is_identity(node: Node, x: Value, inside: Range) -> bool:
    """Return whether ``node`` changes no integer of ``inside`` and keeps the type of ``x``."""
    if node.outputs[0].type != x.type:
        return False
    if isinstance(node, GlobalSum):
        return x.shape[:2] == (1, 1)
    low, high = inside
    if not isinstance(node, _REQUANTIZERS) or high - low >= MOST_CODES:
        return False
    for codes in (np.array([low, high]), np.arange(low, high + 1)):  # most differ at an end
        tried = np.broadcast_to(codes.reshape(-1, 1, 1, 1), (len(codes), 1, 1, x.shape[2]))
        if not np.array_equal(node.evaluate(tried), tried):
            return False
    return True
