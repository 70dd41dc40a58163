"""Layers over a sum of positions, over the positions: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, mlp, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.verify import Level, verify
from toolchain.passes import spread_sums as module
from toolchain.passes.spread_sums import spread_sums


def network(*, quantized: bool = False) -> Graph:
    """A mean in front of a product, flattened between, and of another that a quantizer may read too."""
    b = Builder((4, 3, 6), 4, signed=True)
    x = b.mulshift(b.matvec(b.input, 8), 4, signed=True)
    total = b.global_sum(x)
    first = b.matvec(b.reshape(total), 5)
    return b.graph(first, "net", (b.matvec(b.mulshift(total, 8), 3),) if quantized else (b.matvec(total, 2),))


@pytest.mark.parametrize("quantized", [False, True])
def test_a_product_of_a_sum_is_one_of_all_positions(quantized: bool) -> None:
    """The sum stays for what else reads it."""
    graph = network(quantized=quantized)
    spread = verify(spread_sums(graph), Level.INTEGER)
    x = random_input(graph, 6)

    kinds = [type(node) for node in spread.nodes]
    behind = [GlobalSum, Reshape, MatVec, MulShift, MatVec] if quantized else [Reshape, MatVec, Reshape, MatVec]
    assert kinds == [MatVec, MulShift, *behind]
    expected, found = evaluate(graph, x), evaluate(spread, x)
    for before, after in zip(graph.outputs, spread.outputs, strict=True):
        np.testing.assert_array_equal(found[after.value], expected[before.value])


def test_a_network_without_such_a_sum_and_one_of_too_many_weights_stay_as_they_are(monkeypatch) -> None:
    graph, plain = network(), mlp()
    assert spread_sums(plain) is plain
    monkeypatch.setattr(module, "MOST_WEIGHTS", 2 * 4 * 3 * 8 - 1)
    assert spread_sums(graph) is graph
