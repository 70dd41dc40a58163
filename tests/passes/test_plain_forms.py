"""Operations in more common ones: the same numbers."""

from __future__ import annotations

import numpy as np

from tests.graphs import Builder, mlp, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.pools import GlobalMax, Pool
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.ops.window import Window
from toolchain.ir.verify import Level, verify
from toolchain.passes.plain_forms import plain_forms


def network() -> Graph:
    """A grouped product and a maximum over the map."""
    b = Builder((5, 4, 6), 4, signed=True)
    x = b.mulshift(b.grouped(b.input, 8, 2), 4, signed=True)
    x = b.append(GlobalMax, (x,), (1, 1, 8))
    return b.graph(b.matvec(b.reshape(x), 3))


def test_a_network_in_common_operations_computes_the_same() -> None:
    graph = network()
    plain = verify(plain_forms(graph), Level.INTEGER)
    x = random_input(graph, 6)

    assert [type(node) for node in plain.nodes] == [MatVec, MulShift, Window, Pool, Reshape, MatVec]
    np.testing.assert_array_equal(evaluate(plain, x)[plain.output], evaluate(graph, x)[graph.output])


def test_a_network_of_common_operations_stays_as_it_is() -> None:
    graph = mlp()

    assert plain_forms(graph) is graph
    once = plain_forms(network())
    assert plain_forms(once) is once
