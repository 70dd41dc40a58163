"""Answers whose channels lie with gaps in memory, and the copies without that the host reads."""

from __future__ import annotations

from dataclasses import replace

from toolchain.engine.hosts import answer_names
from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, Permute
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import MatVec
from toolchain.ir.types import Value


def copy_joined_answers(graph: Graph) -> Graph:
    """``graph`` with a Permute that changes nothing in front of every answer that a joined map is part of.

    The parts of a joined map begin at whole beats. A Permute is a convolution where the host reads it, which writes
    channel by channel. The same object without such an answer.
    """
    gaps: set[str] = set()
    for node in graph.nodes:
        if isinstance(node, Concat) or (not isinstance(node, MatVec) and not gaps.isdisjoint(node.inputs)):
            gaps.update(value.name for value in node.outputs)
    joined = gaps.intersection(answer_names(graph))
    if not joined:
        return graph
    names = graph.names()
    nodes: list[Node] = []
    gapped: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node, ArgMax):  # the host's, which reads the answer
            node = replace(node, inputs=tuple(gapped.get(name, name) for name in node.inputs))
        answer = node.outputs[0]
        if answer.name not in joined:
            nodes.append(node)
            continue
        inner = Value(names.fresh(f"{answer.name}_joined"), answer.shape, answer.type)
        gapped[answer.name] = inner.name
        facts = {"name": names.fresh(node.name), "origin": node.origin, "inputs": (inner.name,), "outputs": (answer,)}
        order = tuple(range(answer.shape[2]))
        nodes += [replace(node, outputs=(inner,)), Permute(**facts, order=order)]  # type: ignore[arg-type]
    return graph.with_nodes(nodes)
