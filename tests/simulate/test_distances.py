"""What a DEPENDENCE pragma says of a unit's memory holds in every cycle of the simulation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from tests.conformance import FRAMES, Case, cases, compile_cases, in_stream_order, run_case
from tests.graphs import Builder, random_input
from tests.hardware import with_lanes
from tests.simulate import test_product_units as products
from tests.simulate import test_units as units
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph

CHECKED = ("-O0", "-include", "distances.hpp")


def windows() -> Iterator[Graph]:
    """Rows long and short, steps longer than the kernel, kernels as wide as the map, padding on the left."""
    for (shape, kernel, stride, pads), lanes, parallel in product(
        (
            ((9, 20, 4), (1, 1), (4, 4), (0, 0, 0, 0)),
            ((9, 20, 4), (1, 2), (4, 8), (0, 0, 0, 0)),
            ((6, 16, 2), (3, 3), (1, 1), (1, 1, 1, 1)),
            ((6, 16, 2), (3, 3), (2, 2), (1, 2, 1, 2)),
            ((5, 4, 8), (3, 4), (1, 1), (0, 0, 0, 0)),
            ((5, 4, 8), (5, 4), (1, 1), (2, 0, 2, 0)),
            ((7, 17, 1), (2, 5), (2, 3), (0, 2, 0, 2)),
        ),
        (1, 2),
        (False, True),
    ):
        if shape[2] % lanes == 0:
            b = Builder(shape, 3)
            x = b.window(b.input, kernel, stride=stride, pads=pads)
            yield with_lanes(b.graph(x), {"window0": (lanes, lanes * b.nodes[0].taps if parallel else lanes)})


def run(case: Case, library) -> None:
    """Run ``case``; AssertionError where the unit stopped."""
    graph = case.graph
    values = evaluate(graph, random_input(graph, FRAMES), taps=set(graph.values()))
    run_case(library, case, [in_stream_order(graph, name, values[name]) for name in case.placed.node.inputs])


@pytest.mark.needs_gxx
def test_accesses_to_a_word_lie_as_far_apart_as_the_header_says(tmp_path):
    graphs = [*windows(), *units.TestWindow().graphs(), *units.TestWindowEdges().graphs()]
    for grid in (
        products.TestRowConv,
        units.TestRearranged,
        units.TestTranspose,
        units.TestNorm,
        units.TestSoftmax,
        units.TestMatMul,
        products.TestMatVec,
        products.TestGroupedMatVec,
    ):
        graphs += grid().graphs()
    found = cases(iter(graphs))
    library = compile_cases(found, tmp_path, *CHECKED)
    for case in found:
        run(case, library)


@pytest.mark.needs_gxx
@pytest.mark.parametrize("parallel", [False, True])
def test_accesses_that_are_closer_stop_the_run(parallel, tmp_path):
    b = Builder((6, 16, 2), 3)
    graph = with_lanes(b.graph(b.window(b.input)), {"window0": (1, 9 if parallel else 1)})
    (case,) = cases(iter([graph]))
    run(case, compile_cases([case], tmp_path / "as_it_is", *CHECKED))
    with pytest.raises(AssertionError, match="empty or leftover stream"):
        run(case, compile_cases([case], tmp_path / "farther", *CHECKED, "-DFPGAFLOW_MARGIN=400"))
