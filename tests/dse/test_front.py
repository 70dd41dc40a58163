"""The front of frame rate against resources, and graph costs that the integer program knows in advance."""

from __future__ import annotations

import itertools

import pytest

from tests.graphs import conv_net, mlp, residual_net
from toolchain.boards import load_board
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore, plan_of
from toolchain.dse.front import front
from toolchain.dse.solve import solve
from toolchain.ir.graph import Graph
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.pipeline import to_hardware
from toolchain.simulate.fifos import BRAM_LUTS
from toolchain.units.totals import graph_cost, graph_cycles

BOARD = load_board("zu3eg")


def test_every_point_of_the_front_is_slower_and_smaller() -> None:
    points = front(conv_net(), BOARD, points=4)

    assert len(points) > 1
    for fast, slow in itertools.pairwise(points):
        assert fast.cycles < slow.cycles
        assert fast.fps > slow.fps
        assert fast.share > slow.share
    assert all(point.resources.fits(BOARD.budget) and point.gap == 0.0 for point in points)


def test_the_front_starts_with_the_fastest_plan() -> None:
    plan = explore(mlp(), BOARD)
    assert plan.solver is not None

    assert front(mlp(), BOARD, points=2)[0].cycles == plan.solver.cycles


@pytest.mark.parametrize("graph", [mlp((64, 48, 32, 10), bits=4), conv_net(size=12, channels=8)], ids=["mlp", "conv"])
@pytest.mark.parametrize("slower", [1, 3, 10])
def test_the_program_knows_what_converters_and_fifos_take(graph: Graph, slower: int) -> None:
    """Without joins, its resources and cycles are those of the hardware graph to the last LUT."""
    forked = insert_forks(graph)
    problem = expand(forked)
    best = solve(problem, BOARD.budget)
    found = solve(problem, BOARD.budget, target_cycles=best.cycles * slower)
    hardware = to_hardware(graph, plan_of(forked, found.lanes, BOARD.name, 250.0, ""))

    assert graph_cost(hardware) == found.resources
    assert graph_cycles(hardware) == found.cycles
    assert found.mismatches <= sum(type(node).__name__ == "WidthConvert" for node in hardware.nodes)


def test_a_join_is_estimated_from_below() -> None:
    """In LUTs, a block RAM being worth ``BRAM_LUTS``: a FIFO that is deeper than the program's may move into one."""
    graph = residual_net()
    forked = insert_forks(graph)
    found = solve(expand(forked), BOARD.budget)
    hardware = to_hardware(graph, plan_of(forked, found.lanes, BOARD.name, 250.0, ""))

    estimate, cost = found.resources, graph_cost(hardware)
    assert estimate.dsp <= cost.dsp and estimate.ff <= cost.ff
    assert estimate.lut + BRAM_LUTS * estimate.bram18 <= cost.lut + BRAM_LUTS * cost.bram18
    assert graph_cycles(hardware) == found.cycles
