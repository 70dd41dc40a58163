"""Slices that are put side by side again: the value itself."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, mlp, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Concat, Slice
from toolchain.ir.types import Value
from toolchain.ir.verify import Level, verify
from toolchain.passes.join_slices import join_slices


def network(*parts: tuple[int, int], before: int = 0, behind: int = 0) -> Graph:
    """A map's ``parts`` (start, size) side by side, ``before`` and ``behind`` them other channels, and a product."""
    net = Builder((3, 4, 6), 4, signed=True)
    x, other = net.mulshift(net.matvec(net.input, 7), 4), net.mulshift(net.matvec(net.input, 5), 4)
    joined: list[Value] = [net.slice(x, *part) for part in parts]
    joined = [*([net.slice(other, 0, before)] if before else []), *joined, *([other] if behind else [])]
    return net.graph(net.matvec(net.concat(*joined), 3), heads=(net.matvec(net.slice(x, 0, 4), 2),))


@pytest.mark.parametrize(
    ("parts", "facts", "channels"),
    [
        (((0, 4), (4, 3)), {"behind": 5}, (7, 5)),
        (((0, 2), (2, 4), (6, 1)), {"before": 2, "behind": 5}, (2, 7, 5)),
        (((0, 4), (4, 3), (0, 4), (4, 3)), {}, (7, 7)),
        (((0, 4), (4, 3)), {}, (7,)),
        (((4, 3), (0, 4), (4, 3)), {}, (3, 7)),
        (((0, 4), (5, 2)), {}, (4, 2)),
        (((4, 3), (0, 4)), {}, (3, 4)),
        (((1, 3), (4, 3)), {}, (3, 3)),
    ],
)
def test_all_slices_in_their_order_are_the_value(
    parts: tuple[tuple[int, int], ...], facts: dict[str, int], channels: tuple[int, ...]
) -> None:
    """Others stay, and slices that something else reads."""
    graph = network(*parts, **facts)
    found = verify(join_slices(graph), Level.INTEGER)
    (concat,) = [node for node in found.nodes if isinstance(node, Concat)]
    assert concat.channels == channels
    assert (found is graph) == (len(channels) == sum(map(len, (parts, facts))))
    assert sum(isinstance(node, Slice) for node in found.nodes) >= 1
    x = random_input(graph, 5)
    expected, given = evaluate(graph, x), evaluate(found, x)
    for before, after in zip(graph.outputs, found.outputs, strict=True):
        np.testing.assert_array_equal(given[after.value], expected[before.value])


def test_a_network_without_such_slices_is_the_same_object() -> None:
    graph = mlp()
    assert join_slices(graph) is graph
