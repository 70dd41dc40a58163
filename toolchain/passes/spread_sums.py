"""GlobalSum -> MatVec   becomes   MatVec over all positions, each with the same weights.

A network that is trained here leaves the mean in front of its last layer as a sum, of more bits than a code. Hardware
that stores codes alone has no place for it; as one more sum of products it needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.products import MatVec
from toolchain.ir.types import Value

MOST_WEIGHTS = 1 << 24
"""Weights of a layer over all positions: from so many on, a quantizer behind the mean costs less than reading them."""


def spread_sums(graph: Graph) -> Graph:
    """``graph`` whose layers read the positions that they read the sum of; the same object without any."""
    makers, values, names = graph.producers(), graph.values(), graph.names()
    nodes: list[Node] = []
    for node in graph.nodes:
        total = _sum_in_front(node, makers)
        if isinstance(node, MatVec) and total is not None:
            x, count = values[total.inputs[0]], len(node.weight)
            if node.weight.shape[1] == x.shape[2] and count * x.size <= MOST_WEIGHTS:
                flat = Value(names.fresh(f"{x.name}_flat"), (1, 1, x.size), x.type)
                facts = {"name": names.fresh(total.name), "inputs": (x.name,), "outputs": (flat,)}
                nodes.append(Reshape(**facts, origin=total.origin))  # type: ignore[arg-type]
                node = replace(node, inputs=(flat.name,), weight=np.tile(node.weight, x.shape[0] * x.shape[1]))
        nodes.append(node)
    if len(nodes) == len(graph.nodes):
        return graph
    return graph.with_nodes(needed(nodes, graph.written))


def _sum_in_front(node: Node, makers: Mapping[str, Node]) -> GlobalSum | None:
    """The sum over positions that ``node`` reads, perhaps by another name."""
    if not isinstance(node, MatVec):
        return None
    maker = makers.get(node.inputs[0])
    while maker is not None and maker.renames:
        maker = makers.get(maker.inputs[0])
    return maker if isinstance(maker, GlobalSum) else None
