"""The graph's evaluator: arrays have a leading batch axis, (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence

import numpy as np

from toolchain.ir.blocks import Source, whole
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array


def evaluate(
    graph: Graph,
    x: Array,
    *,
    taps: Collection[str] | None = None,
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Run ``graph`` on ``x`` (N, H, W, C) and return the outputs and the values named in ``taps`` by name.

    ``given`` overrides values: nodes read the given array instead of what their producer computed.
    Raises ValueError when ``x`` does not have the input's shape or, on integers, its range.
    """
    found = values(graph, x, {*graph.written, *(taps or ())}, given)
    return {name: array.astype(np.int64) if array.dtype.kind == "i" else array for name, array in found}


def values(
    graph: Graph, x: Array, wanted: Collection[str], given: Mapping[str, Array] | None = None
) -> Iterator[tuple[str, Array]]:
    """The ``wanted`` values with their names, one after the other in the graph's order; see ``evaluate``.

    Integers come in a type that holds them. Only what the wanted values depend on is computed, windows are laid out in
    blocks, and every tensor is freed after its last use: a caller that keeps none of them needs ``frame_bytes`` a
    frame.
    """
    _check_input(graph, x)
    given = given or {}
    nodes = needed(graph.nodes, wanted, given)
    last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    live: dict[str, Source] = {graph.input.name: x}
    if graph.input.name in wanted:
        yield graph.input.name, x
    for i, node in enumerate(nodes):
        result = node.compute(*(given[name] if name in given else live[name] for name in node.inputs))
        for name in node.inputs:
            if last_use[name] == i:
                live.pop(name, None)
        for value in node.outputs:
            if value.name in last_use and value.name not in given:
                live[value.name] = result
        for value in node.outputs:
            if value.name in wanted:
                yield value.name, whole(result)
        del result


def needed(nodes: Sequence[Node], wanted: Collection[str], given: Container[str] = ()) -> list[Node]:
    """Those of ``nodes``, in their order, that the ``wanted`` values depend on when those in ``given`` are known."""
    names, found = set(wanted), []
    for node in reversed(nodes):
        if any(value.name in names for value in node.outputs):
            found.append(node)
            names.update(name for name in node.inputs if name not in given)
    return found[::-1]


def _check_input(graph: Graph, x: Array) -> None:
    if x.shape[1:] != graph.input.shape:
        raise ValueError(f"input has shape {x.shape[1:]}, the graph takes {graph.input.shape}")
    kind = graph.input.type
    integer = hasattr(kind, "bits")
    if integer and x.size and (x.min() < graph.input.qint.min or x.max() > graph.input.qint.max):
        raise ValueError(f"input holds {x.min()}..{x.max()}, the graph takes {kind}")
