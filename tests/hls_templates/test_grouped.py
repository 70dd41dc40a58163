"""The weights of a grouped unit lie in the order in which its stream brings the inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from tests.hardware import with_lanes
from toolchain.errors import FlowError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Parallelism
from toolchain.units.call import Call
from toolchain.units.order import stream_order
from toolchain.units.table import iterations, options, template
from toolchain.units.totals import frame_cycles


def network(groups: int, width: int, filters: int, kernel: int, seed: int) -> Graph:
    """A grouped convolution, ``width`` channels and ``filters`` outputs a group; a kernel of 1 has no window."""
    b = Builder((3, 4, groups * width), 3, signed=True, seed=seed)
    x = b.window(b.input, (kernel, kernel), pads=(0, 0, 0, 0)) if kernel > 1 else b.input
    return b.graph(b.grouped(x, groups * filters, groups, 3, taps=kernel**2))


def placed(graph: Graph) -> Iterator[tuple[Graph, GroupedMatVec]]:
    """``graph`` with every legal choice of lanes, weights in memory, and its product."""
    *windows, product = graph.nodes
    before = [(w, p) for w in windows for p in options(w, graph.input, None)]
    for window, words in before or [(None, None)]:
        for lanes in options(product, graph.value(product.inputs[0]), words):
            chosen = {product.name: (lanes.lanes_in, lanes.lanes_out, lanes.products_per_dsp)}
            if window is not None and words is not None:
                chosen[window.name] = (words.lanes_in, words.lanes_out)
            if not lanes.constant:
                hardware = with_lanes(graph, chosen)
                found = hardware.nodes[-1]
                assert isinstance(found, GroupedMatVec)
                yield hardware, found


def multiplied(unit: Call, stream: Array) -> Array:
    """What the loops of ``grouped.hpp`` make of ``stream`` (positions, K) with the weights of ``unit``."""
    sizes = {name: int(value) for name, value in unit.constants.items()}
    together, lanes, simd = sizes["together"], sizes["lanes"], sizes["simd"]
    (table,) = unit.tables
    blocks = sizes["inputs"] // simd
    rounds = stream.reshape(len(stream), sizes["rounds"], blocks, simd // lanes // together, together, lanes)
    parts = rounds.transpose(0, 1, 2, 4, 3, 5).reshape(*rounds.shape[:3], together, -1)
    folds = table.values.reshape(sizes["rounds"], -1, blocks, *table.values.shape[1:])
    return np.einsum("nrigs,rjigps->nrjgp", parts, folds).reshape(len(stream), -1)


SHAPES = [(3, 5, 2, 2), (4, 2, 4, 2), (2, 6, 3, 1), (6, 1, 2, 2), (6, 2, 1, 2), (4, 4, 4, 1)]


@pytest.mark.parametrize(("groups", "width", "filters", "kernel"), SHAPES)
def test_every_choice_of_lanes_computes_the_product(groups: int, width: int, filters: int, kernel: int) -> None:
    """Parts of a group, whole ones and several; the schedule takes as many cycles as the formula."""
    graph = network(groups, width, filters, kernel, seed=groups)
    x = random_input(graph, 2)
    source = graph.nodes[-1].inputs[0]
    values = evaluate(graph, x, taps={source, graph.output})
    expected = values[graph.output].reshape(-1, groups * filters)
    together = set()
    for hardware, node in placed(graph):
        stream = values[source][..., stream_order(hardware, source)]
        result = multiplied(template(node, hardware), stream.reshape(-1, stream.shape[3]))
        np.testing.assert_array_equal(result, expected)
        assert iterations(node, graph.value(source), 1).count == frame_cycles(node, hardware)
        assert node.parallelism is not None
        together.add(node.together(node.parallelism))

    assert together == {n for n in range(1, groups + 1) if groups % n == 0}


def test_lanes_that_cut_groups_are_no_choice() -> None:
    """Words of four channels hold parts of two groups of six."""
    graph = network(4, 6, 2, 2, seed=0)
    window, product = graph.nodes
    assert isinstance(window, Window)
    legal = [n for n in (1, 2, 3, 4, 6, 8, 12, 24) if options(product, window.output, Parallelism(n, n))]

    assert legal == [1, 2, 3, 6, 12, 24]
    hardware = with_lanes(graph, {window.name: (4, 4), product.name: (4, 1)})
    with pytest.raises(FlowError, match="in the order of its stream"):
        template(hardware.nodes[-1], hardware)
