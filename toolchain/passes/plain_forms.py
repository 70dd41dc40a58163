"""GroupedMatVec   becomes   MatVec with zeros between the groups: operations that some hardware has no unit of."""

from __future__ import annotations

from toolchain.ir.graph import Graph


def plain_forms(graph: Graph) -> Graph:
    """``graph`` in the most common operations; it computes the same. The same object when nothing changed."""
    values, names = graph.values(), graph.names()
    forms = [node.plain(values[node.inputs[0]], names) for node in graph.nodes]
    if all(form == (node,) for form, node in zip(forms, graph.nodes, strict=True)):
        return graph
    return graph.with_nodes(node for form in forms for node in form)
