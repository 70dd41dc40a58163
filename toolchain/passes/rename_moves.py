"""DepthToSpace   becomes   Reshape, where the elements leave in the order in which they come.

So it is where a map of one column becomes rows, or whole rows become positions: a flattened map is a map again, rows of
several maps are joined. The unit would store every row twice; a Reshape is another name of the stream.
"""

from __future__ import annotations

from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.maps import DepthToSpace, Reshape, SpaceToDepth
from toolchain.ir.ops.node import Node


def rename_moves(graph: Graph) -> Graph:
    """``graph`` with a Reshape for every move that keeps the order of the stream; the same object without one."""
    values = graph.values()

    def rule(node: Node) -> Node:
        if isinstance(node, DepthToSpace):
            kept = values[node.inputs[0]].shape[1] == 1 and not (node.channels_first and node.output.shape[2] > 1)
        elif isinstance(node, SpaceToDepth):
            x = values[node.inputs[0]]
            kept = node.output.shape[1] == 1 and node.output.size == x.size
        else:
            return node
        if not kept:
            return node
        return Reshape(name=node.name, inputs=node.inputs, outputs=node.outputs, origin=node.origin)

    return rewrite_nodes(graph, rule)
