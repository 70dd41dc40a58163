"""Threshold(-1, +1) -> MatVec -> Threshold(t)   becomes   Threshold(0, 1) -> MatVec -> Threshold(t').

Values of -1 and +1 are two bits wide as numbers and one bit as codes c: x = 2 c - 1. A product of them is
w . x = 2 (w . c) - sum(w), which the requantizer behind it takes up. What was XNOR and a count is then an AND and a
count, with one sum of all inputs for every output, in streams and buffers of half the width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import GroupedMatVec, MatVec, dot_bounds
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ranges import value_ranges
from toolchain.ir.rules import MOST
from toolchain.ir.types import Array, QInt, Range

_CODE = QInt(1, False)


def recode_signs(graph: Graph) -> Graph:
    """``graph`` with codes 0 and 1 wherever values of -1 and +1 only move, or are multiplied and then requantized.

    That holds for the input too, whose codes the host then sends so. Nodes keep their names; the graph's outputs keep
    their codes. The same object when nothing changed.
    """
    recoded = _recodable(graph)
    if not recoded:
        return graph
    ranges = value_ranges(graph)
    sums: dict[str, Array] = {}  # sums of the weights, by the product that has become (w . x + sum) / 2
    nodes = []
    for node in graph.nodes:
        if isinstance(node, MatVec | GroupedMatVec) and node.inputs[0] in recoded:
            sums[node.output.name] = node.weight.reshape(len(node.weight), -1).sum(axis=1)
            node = _narrowed(node)
        elif node.inputs[0] in sums:
            node = _requantizing(node, sums[node.inputs[0]], ranges[node.outputs[0].name])
        if node.outputs[0].name in recoded:
            node = _coded(node)
        nodes.append(node)
    if graph.input.name in recoded and graph.encoding is not None:
        encoding = replace(graph.encoding, signs_as_bits=True)
        graph = replace(graph, input=replace(graph.input, type=_CODE), encoding=encoding)
    return graph.with_nodes(nodes)


def _recodable(graph: Graph) -> set[str]:
    """Values whose every source gives -1 and +1 and whose every reader can take codes."""
    encoding = graph.encoding
    signs = encoding is not None and encoding.bipolar and not encoding.signs_as_bits
    found: set[str] = {graph.input.name} if signs else set()
    for node in graph.nodes:
        if _gives_signs(node) or (_moves(node) and found.issuperset(node.inputs)):
            found.update(value.name for value in node.outputs)
    consumers, ends = graph.consumers(), set(graph.written)

    def takes_codes(node: Node) -> bool:
        if isinstance(node, MatVec | GroupedMatVec):
            readers = consumers[node.output.name]
            return node.output.name not in ends and all(_can_follow(r, node) for r in readers)
        return _moves(node) and node.outputs[0].name in found

    while True:
        bad = {name for name in found if name in ends or not all(map(takes_codes, consumers[name]))}
        for node in graph.nodes:
            if _moves(node) and not (found - bad).issuperset(node.inputs):
                bad |= {value.name for value in node.outputs} & found
        if not bad:
            return found
        found -= bad


def _gives_signs(node: Node) -> bool:
    if not isinstance(node, Threshold) or node.thresholds.shape[1] != 1:
        return False
    return bool((np.abs(node.start) == 1).all() and (node.start + node.step == -node.start).all())


def _moves(node: Node) -> bool:
    """Return whether ``node`` gives only elements that it reads; a pad must be a sign as well."""
    if isinstance(node, Window):
        return not any(node.pads) or abs(node.pad_value) == 1
    return node.selects


def _coded(node: Node) -> Node:
    outputs = tuple(replace(value, type=_CODE) for value in node.outputs)
    if isinstance(node, Threshold):
        return replace(node, outputs=outputs, start=(node.start + 1) // 2, step=node.step // 2)
    if isinstance(node, Window):
        return replace(node, outputs=outputs, pad_value=(node.pad_value + 1) // 2 if any(node.pads) else 0)
    return replace(node, outputs=outputs)


def _narrowed(node: MatVec | GroupedMatVec) -> Node:
    low, high = dot_bounds(node.weight.reshape(len(node.weight), -1), 0, 1)
    return replace(node, outputs=(replace(node.output, type=QInt.holding(int(low.min()), int(high.max()))),))


def _can_follow(reader: Node, product: MatVec | GroupedMatVec) -> bool:
    """Return whether ``reader`` can requantize ``product`` of codes: a MulShift's factors double and take up sums."""
    if not isinstance(reader, MulShift):
        return isinstance(reader, Threshold)
    mul, add = (int(np.abs(v).max()) for v in (reader.mul, reader.add))
    return max(2 * mul, add + mul * int(np.abs(product.weight.sum(axis=1)).max())) < MOST


def _requantizing(node: Node, total: Array, result: Range) -> Node:
    """``node`` on y' instead of y = 2 y' - total: y >= t is y' >= (t + total) / 2, rounded up.

    A MulShift clips to ``result``, all that it can give: the range of y' is that of all channels, whose offsets differ.
    """
    if isinstance(node, Threshold):
        return replace(node, thresholds=-((-node.thresholds - total[:, None]) // 2))
    if isinstance(node, MulShift):
        low, high = max(node.low, result[0]), min(node.high, result[1])
        return replace(node, mul=2 * node.mul, add=node.add - node.mul * total, low=low, high=high)
    raise TypeError(f"'{node.name}' follows a product of signs")
