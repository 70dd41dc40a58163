"""How many multiplications of hls4ml's network share a multiplier."""

from __future__ import annotations

import pytest

from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.hls4ml_backend.build import reuse_factors


@pytest.mark.parametrize(("lanes", "multipliers"), [((4, 2), 8), ((36, 4), 144), ((72, 8), 288)])
def test_a_grouped_product_is_dense_on_as_many_multipliers(lanes: tuple[int, int], multipliers: int) -> None:
    """A part of a group, one, and two at once, of which each output multiplies its own inputs only."""
    b = Builder((5, 5, 16), 4)
    graph = b.graph(b.grouped(b.window(b.input), 16, 4, taps=9))
    words = (lanes[0] // 9, lanes[0]) if lanes[0] % 9 == 0 else (lanes[0], lanes[0])

    factors = reuse_factors(with_lanes(graph, {"window0": words, "groupedmatvec1": lanes}))
    assert factors == {"groupedmatvec1": 16 * 16 * 9 // multipliers}
