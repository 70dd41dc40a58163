"""Concat of all slices of one value, in their order, and of others   becomes   Concat of the value and the others.

A block that splits a map and puts its parts side by side again, as those of YOLO do, reads the whole map then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.maps import Concat, Slice
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Value


def join_slices(graph: Graph) -> Graph:
    """``graph`` with the whole value in the place of its slices; the same object where none are put side by side."""
    makers, values = graph.producers(), graph.values()

    def rule(node: Node) -> Node:
        if not isinstance(node, Concat):
            return node
        names = _whole(node.inputs, makers, values)
        if len(names) == len(node.inputs):
            return node
        return replace(node, inputs=tuple(names), channels=tuple(values[name].shape[2] for name in names))

    found = rewrite_nodes(graph, rule)
    return graph if found is graph else found.with_nodes(needed(found.nodes, found.written))


def _whole(names: Sequence[str], makers: Mapping[str, Node], values: Mapping[str, Value]) -> list[str]:
    """``names`` with a value in the place of the neighbours that are its slices from the first channel to the last."""
    found: list[str] = []
    at = 0
    while at < len(names):
        source, end, behind = names[at], 0, at
        while behind < len(names) and isinstance(part := makers.get(names[behind]), Slice):
            if part.start != end or (behind > at and part.inputs[0] != source):
                break
            source, end, behind = part.inputs[0], end + part.output.shape[2], behind + 1
        whole = behind > at and end == values[source].shape[2]
        found.append(source if whole else names[at])
        at = behind if whole else at + 1
    return found
