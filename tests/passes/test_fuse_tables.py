"""What a value and a table of it make together is a table, where that is small."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.verify import Level, verify
from toolchain.passes.fuse_tables import fuse_tables


def gated(bits: int, *, product: bool = True, per_channel: bool = False) -> tuple[Builder, Graph]:
    """A requantized product, or sum, of a value of ``bits`` bits and a table of it, and a product behind it."""
    b = Builder((3, 3, 4), 6, signed=True)
    x = b.mulshift(b.matvec(b.input, 5), bits, signed=True)
    y = b.lookup(x, 5, signed=True, per_channel=per_channel)
    y = b.multiply(x, y) if product else b.add(b.threshold(y, 3, per_channel=False), x, (3, -2))
    return b, b.graph(b.matvec(b.mulshift(y, 4, signed=True, per_channel=False), 3))


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize(("bits", "per_channel"), [(4, False), (4, True), (8, False)])
def test_it_is_one_table_of_the_same_codes(bits: int, product: bool, per_channel: bool) -> None:
    _, graph = gated(bits, product=product, per_channel=per_channel)
    fused = verify(fuse_tables(graph), Level.INTEGER)
    x = random_input(graph, 4)

    assert [type(node).__name__ for node in fused.nodes] == ["MatVec", "MulShift", "Lookup", "MatVec"]
    np.testing.assert_array_equal(evaluate(fused, x)[fused.output], evaluate(graph, x)[graph.output])
    assert fuse_tables(fused) is fused


def test_what_takes_many_luts_or_has_other_readers_stays() -> None:
    """Tables of 12 bits; a product that is the output, or of two values."""
    _, wide = gated(12)
    assert fuse_tables(wide) is wide

    b, _ = gated(4)
    product = next(node for node in b.nodes if type(node).__name__ == "Multiply").output
    graph = b.graph(product)
    assert fuse_tables(graph) is graph

    b = Builder((3, 3, 4), 4, signed=True)
    y = b.multiply(b.lookup(b.input, 4), b.mulshift(b.matvec(b.input, 4), 4))
    graph = b.graph(b.mulshift(y, 4))
    assert fuse_tables(graph) is graph


def test_a_table_that_others_read_is_kept() -> None:
    b = Builder((3, 3, 4), 5, signed=True)
    y = b.lookup(b.input, 5, signed=True, per_channel=False)
    z = b.mulshift(b.multiply(b.input, y), 4, signed=True, per_channel=False)
    graph = b.graph(b.matvec(b.concat(z, y), 3))
    fused = verify(fuse_tables(graph), Level.INTEGER)
    x = random_input(graph, 4)

    assert [type(node).__name__ for node in fused.nodes] == ["Lookup", "Lookup", "Concat", "MatVec"]
    np.testing.assert_array_equal(evaluate(fused, x)[fused.output], evaluate(graph, x)[graph.output])
