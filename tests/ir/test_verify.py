"""Graphs that break a rule of their level are named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model_graphs import random_model
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import MatVec
from toolchain.ir.rules import IllFormed
from toolchain.ir.types import QInt
from toolchain.ir.verify import Level, verify
from toolchain.lowering.pipeline import to_integer


@pytest.fixture
def graph() -> Graph:
    return to_integer(random_model(7, 4, dyadic=False))


def changed(graph: Graph, changed_node: str, /, **fields: object) -> Graph:
    def rule(node: Node) -> Node:
        return replace(node, **fields) if node.name == changed_node else node

    return rewrite_nodes(graph, rule)


def test_accepts_its_own_level_only(graph):
    """An integer graph is no MODEL graph, and no HARDWARE graph before lanes are set."""
    model = random_model(7, 4, dyadic=False)

    assert verify(graph, Level.INTEGER) is graph
    assert verify(model, Level.MODEL) is model
    for wrong in (Level.MODEL, Level.HARDWARE):
        with pytest.raises(IllFormed):
            verify(graph, wrong)
    with pytest.raises(IllFormed, match="^x: the input is an integer$"):
        verify(model, Level.INTEGER)


def test_names_the_broken_rule(graph):
    """Unknown inputs, doubled names, too narrow outputs and weights that do not fit are each told."""
    matvec = next(n for n in graph.nodes if isinstance(n, MatVec))
    narrow = replace(matvec.output, type=QInt(3, True))
    cases = {
        "reads 'nowhere', which no earlier node defines": {"inputs": ("nowhere",)},
        "name is unique": {"name": graph.nodes[0].name},
        "name is a C identifier": {"name": "a-b"},
        "output s3 holds": {"outputs": (narrow,)},
        "weights fit s2": {"weight_type": QInt(2, True)},
        "weight takes": {"weight": matvec.weight[:, 1:]},
    }

    for message, fields in cases.items():
        with pytest.raises(IllFormed, match=message):
            verify(changed(graph, matvec.name, **fields), Level.INTEGER)


def test_rewriting_nothing_returns_the_same_object(graph):
    """A rule that changes no node costs nothing downstream."""
    assert rewrite_nodes(graph, lambda node: node) is graph
