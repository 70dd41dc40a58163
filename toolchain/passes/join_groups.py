"""GroupedMatVec   becomes   MatVec with zeros between the groups: for hardware whose products read every channel."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import GroupedMatVec, MatVec


def join_groups(graph: Graph) -> Graph:
    """``graph`` with a dense product for every grouped one; it computes the same. The same object without any."""
    if not any(isinstance(node, GroupedMatVec) for node in graph.nodes):
        return graph
    return graph.with_nodes(map(_dense, graph.nodes))


def _dense(node: Node) -> Node:
    if not isinstance(node, GroupedMatVec):
        return node
    return MatVec(
        name=node.name,
        inputs=node.inputs,
        outputs=node.outputs,
        origin=node.origin,
        weight=node.matrix,
        weight_type=node.weight_type,
    )
