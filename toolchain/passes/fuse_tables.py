"""x * Lookup(x) -> MulShift   becomes   Lookup(x).

SiLU between quantizers is written as the product of a value and a table of it: a fork, a table, a multiplier and a
requantizer a lane. All of that is one function of the value, and one table where its codes are few.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.ir.channels import shrink_rows
from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.types import Array

MOST_LUTS = 196
"""LUTs of a table that are taken for what it replaces: a DSP slice's share of a ZU3EG, and no requantizer or fork."""
_UNARY = (Lookup, MulShift, Threshold)


def fuse_tables(graph: Graph) -> Graph:
    """Put a small table in place of every requantized sum or product of functions of one value.

    The same object when there is none.
    """
    producers, readers = graph.producers(), graph.consumers()
    fused: dict[str, Lookup] = {}
    for node in graph.nodes:
        join = producers.get(node.inputs[0])
        if not isinstance(node, _UNARY) or not isinstance(join, Add | Multiply) or len(readers[node.inputs[0]]) > 1:
            continue
        source, between = _source(join, producers)
        if source is None or any(output.value == join.output.name for output in graph.outputs):
            continue
        table = _table(graph, source, [*between, join, node])
        if table is not None:
            origin = dict.fromkeys(name for part in (*between, join, node) for name in part.origin)
            common = {"name": node.name, "inputs": (source,), "outputs": node.outputs, "origin": tuple(origin)}
            fused[node.name] = Lookup(table=table, low=graph.value(source).qint.min, **common)  # type: ignore[arg-type]
    if not fused:
        return graph
    return graph.with_nodes(needed([fused.get(node.name, node) for node in graph.nodes], graph.written))


def _source(join: Add | Multiply, producers: Mapping[str, Node]) -> tuple[str | None, list[Node]]:
    """Return the value that both operands of ``join`` are functions of, and the nodes in between, in order.

    None and no nodes where there is no such value.
    """
    first, second = ([*_upwards(name, producers)] for name in join.inputs)
    common = next((name for name, _ in first if name in dict(second)), None)
    if common is None or (isinstance(join, Multiply) and join.once):
        return None, []
    nodes = [n for path in (first, second) for name, n in path[: [v for v, _ in path].index(common)] if n is not None]
    return common, list({id(n): n for n in reversed(nodes)}.values())


def _upwards(name: str, producers: Mapping[str, Node]) -> list[tuple[str, Node | None]]:
    """``name`` and the values that it is a function of one by one, each with the node that makes it."""
    found: list[tuple[str, Node | None]] = []
    while isinstance(node := producers.get(name), _UNARY):
        found.append((name, node))
        name = node.inputs[0]
    return [*found, (name, None)]


def _table(graph: Graph, source: str, nodes: list[Node]) -> Array | None:
    """Return the result of ``nodes`` for each integer of ``source``, (C or 1, N); None where that takes many LUTs."""
    x = graph.value(source)
    kind, result = x.qint, nodes[-1].output.qint
    if result.bits << kind.bits > 64 * MOST_LUTS:
        return None
    codes = np.arange(kind.min, kind.max + 1)
    known = {source: np.broadcast_to(codes.reshape(-1, 1, 1, 1), (len(codes), 1, 1, x.shape[2]))}
    for node in nodes:
        known[node.output.name] = node.evaluate(*(known[name] for name in node.inputs))
    table = known[nodes[-1].output.name][:, 0, 0].T
    table = shrink_rows(table)
    return np.ascontiguousarray(table) if len(table) * len(codes) * result.bits <= 64 * MOST_LUTS else None
