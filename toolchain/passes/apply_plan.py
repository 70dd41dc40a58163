"""MatVec(parallelism=None)   becomes   MatVec(parallelism=Parallelism(SIMD, PE)): the lanes of a plan on every node."""

from __future__ import annotations

from dataclasses import replace

from toolchain.dse.plan import Plan, assign, planned_forms
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops import Node


def apply_plan(graph: Graph, plan: Plan) -> Graph:
    """Set the parallelism of every node, row convolutions split off; forks must have been inserted.

    Width converters keep theirs.

    Raises:
        UserError: the plan does not fit the graph.
    """
    lanes = assign(plan, graph)

    def rule(node: Node) -> Node:
        wanted = lanes.get(node.name, node.parallelism)
        return node if wanted == node.parallelism else replace(node, parallelism=wanted)

    return rewrite_nodes(planned_forms(graph, plan), rule)
