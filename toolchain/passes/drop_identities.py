"""x -> MulShift, Threshold or Lookup that gives every code of x back, or the sum of one position   become   x.

Files with quantizers around every operation have them: behind a maximum, a flatten or a shuffle, codes are quantized
by the scale that they have.
"""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Range, Value
from toolchain.memory import spans

MOST_CODES = 1 << 16
"""Inputs that a requantizer is tried on, in a channel."""
AT_ONCE = 1 << 10
"""Of those, so many at a time: in thousands of channels all take gigabytes."""

_REQUANTIZERS = (Lookup, MulShift, Threshold)


def drop_identities(graph: Graph, *, of_codes: bool = False) -> Graph:
    """``graph`` whose readers of an unchanged value read the value itself, of one type; the same object without one.

    ``of_codes``: what reads sums stays, since the engine stores none without a requantizer. A node that is the
    network's output and reads its input stays, since a network has a node.
    """
    values, ranges = graph.values(), value_ranges(graph)
    source: dict[str, str] = {}
    codes = {graph.input.name}
    for node in graph.nodes:
        inputs = [source.get(name, name) for name in node.inputs]
        x, output = values[inputs[0]], node.outputs[0].name
        alone = output in graph.written and x is graph.input
        if _is_identity(node, x, ranges[x.name]) and not alone and (x.name in codes or not of_codes):
            source[output] = x.name
        elif isinstance(node, _REQUANTIZERS) or (node.selects and codes.issuperset(inputs)):
            codes.update(value.name for value in node.outputs)
    return graph.with_source(source)


def _is_identity(node: Node, x: Value, inside: Range) -> bool:
    """Return whether ``node`` changes no integer of ``inside`` and keeps the type of ``x``."""
    if node.outputs[0].type != x.type:
        return False
    if isinstance(node, GlobalSum):
        return x.shape[:2] == (1, 1)
    low, high = inside
    if not isinstance(node, _REQUANTIZERS) or high - low >= MOST_CODES:
        return False
    codes = np.arange(low, high + 1)
    ends = slice(None, None, max(high - low, 1))  # where most differ
    for part in (ends, *spans(len(codes), AT_ONCE)):
        tried = np.broadcast_to(codes[part].reshape(-1, 1, 1, 1), (len(codes[part]), 1, 1, x.shape[2]))
        if not np.array_equal(node.evaluate(tried), tried):
            return False
    return True
