"""The depths found keep the pace, exclude deadlocks, and none of them can be lowered."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graphs import Builder, conv_net, gated_net, joined_rows, residual_net
from tests.hardware import serial
from tests.passes.test_to_hardware import random_plan
from toolchain.errors import UserError
from toolchain.hls_templates.streams import streams
from toolchain.ir.graph import Graph
from toolchain.passes.minimize_fifos import minimize_fifos
from toolchain.passes.pipeline import to_hardware
from toolchain.passes.size_fifos import fifo_depths, size_fifos, with_depths
from toolchain.simulate.cycles import Network, simulate, steady_interval
from toolchain.simulate.fifos import Sizing, storage_steps
from toolchain.units.totals import graph_cost

MANY = 40
"""Frames: units with one iteration a frame have filled pipelines of 32 stages before."""

slow_data = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def two_branches(left: int, right: int, size: int) -> Graph:
    """Branches of ``left`` and ``right`` convolutions that meet in an addition."""
    b = Builder((size, size, 2), 3)
    ends = []
    for count in (left, right):
        x = b.input
        for i in range(count):
            x = b.threshold(b.conv(x, 2, kernel=3 - 2 * (i % 2)), 3)
        ends.append(x)
    return b.graph(b.add(*ends), "branches")


@slow_data
@given(st.integers(0, 3), st.integers(0, 3), st.integers(3, 6), st.integers(0, 99), st.integers(1, 32))
def test_branches_of_any_delay_keep_the_pace_and_never_deadlock(left, right, size, seed, stages) -> None:
    """Also with pipelines that are not as deep as assumed."""
    graph = two_branches(left, right, size)
    sized = minimize_fifos(to_hardware(graph, random_plan(graph, seed)))

    for deep in (1, 8):
        assert steady_interval(sized, stages=deep) == Network(sized).bound
    for deep in (1, stages, 32):
        assert simulate(sized, MANY, stages=deep).deadlock is None


@pytest.mark.parametrize("shape", [(1, 1, 240), (2, 3, 100)])
def test_a_word_read_in_turn_finds_its_position_in_front_of_the_join(shape: tuple[int, int, int]) -> None:
    """Both inputs are of one fork, which sends the words of one while the join reads the other's."""
    b = Builder(shape, 3)
    sized = size_fifos(serial(b.graph(b.concat(b.threshold(b.input, 3), b.input, b.input))))

    for stages in (1, 8, 32):
        assert simulate(sized, MANY, stages=stages).deadlock is None


WAITING = [joined_rows(7, 5, 5), joined_rows(4, 4, 2), joined_rows(6, 3, 4), gated_net(size=6), gated_net(size=12)]


@pytest.mark.parametrize("seed", [1, 2, 3, 5])
@pytest.mark.parametrize("graph", WAITING, ids=lambda g: f"{g.name}-{g.input.shape}")
def test_a_map_that_waits_for_all_of_another_never_deadlocks(graph: Graph, seed: int) -> None:
    """Rows behind other rows, and factors that are made of the whole map, over more frames than pipelines hold."""
    hardware = to_hardware(graph, random_plan(graph, seed))
    for sized in (with_depths(hardware, fifo_depths(hardware)), minimize_fifos(hardware)):
        for stages in (1, 2, 4, 8, 16, 32):
            assert simulate(sized, MANY, stages=stages).deadlock is None
    for stages in (1, 8):
        assert steady_interval(minimize_fifos(hardware), stages=stages) == Network(hardware).bound


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "pad"), [(1, 0), (2, 0), (3, 0), (3, 1), (5, 2)])
def test_depths_from_pauses_alone_keep_the_pace_in_front_of_windows(kernel: int, pad: int, stride: int) -> None:
    """A product, a threshold, a window and a product with any lanes: 24 graphs a kernel and stride, 360 in all."""
    for shape, seed in product([(7, 6, 4), (6, 6, 2), (8, 5, 6), (5, 9, 4)], range(6)):
        b = Builder(shape, 4, seed=seed)
        x = b.threshold(b.matvec(b.input, shape[2]), 4)
        x = b.window(x, (kernel, kernel), stride=(stride, stride), pads=(pad,) * 4)
        graph = b.graph(b.matvec(x, 3))
        hardware = to_hardware(graph, random_plan(graph, seed))
        sized = with_depths(hardware, fifo_depths(hardware))

        assert steady_interval(sized) == Network(sized).bound, (shape, seed)


@pytest.mark.parametrize("graph", [conv_net(size=6), residual_net(size=6)], ids=lambda g: g.name)
def test_no_fifo_can_be_one_step_shallower(graph: Graph) -> None:
    """Each one a storage step less: frames take longer, or units wait for each other."""
    hardware = to_hardware(graph, random_plan(graph, 3))
    sizing = Sizing(hardware)
    network = sizing.network
    sized = with_depths(hardware, sizing.minimal(fifo_depths(hardware)))
    depths = network.depths_of(sized)

    assert sizing.works(depths)
    for s, width in enumerate(sizing.widths):
        steps = [step for step in storage_steps(int(depths[s]), int(width)) if step < depths[s]]
        if steps:
            less = depths.copy()
            less[s] = steps[-1]
            assert not sizing.works(less), network.streams[s]


def test_sizing_is_deterministic_and_changes_nothing_the_second_time() -> None:
    graph = residual_net(size=6, blocks=1)
    hardware = to_hardware(graph, random_plan(graph, 1))
    sized = minimize_fifos(hardware)

    assert minimize_fifos(sized) is sized
    assert {n: v.depth for n, v in minimize_fifos(hardware).values().items()} == {
        n: v.depth for n, v in sized.values().items()
    }


def test_occupancy_is_the_depth_that_changes_nothing() -> None:
    """FIFOs as deep as the occupancy of a run leave every frame's end as it is."""
    graph = residual_net(size=6, blocks=1)
    hardware = minimize_fifos(to_hardware(graph, random_plan(graph, 0)))
    before = simulate(hardware, 3)
    after = simulate(with_depths(hardware, {n: max(2, d) for n, d in before.occupancy.items()}), 3)

    assert after.frame_ends == before.frame_ends


def test_steps_are_the_ends_of_what_a_storage_holds() -> None:
    """Two registers, one or two shift registers a bit, LUTRAM, block RAM."""
    assert storage_steps(2, 8) == (2,)
    assert storage_steps(17, 8)[:3] == (2, 16, 32)
    assert storage_steps(600, 36)[-2:] == (512, 1024)
    assert storage_steps(1500, 8)[-1] == 2048


@pytest.mark.parametrize("deep", ["x", "reshape0_out", "reshape1_out"])
def test_a_stream_that_reshapes_rename_costs_its_deepest_depth(deep: str) -> None:
    """The generators build the deepest, whichever name a plan gives it."""
    b = Builder((2, 2, 4), 8)
    net = b.graph(b.matvec(b.reshape(b.reshape(b.input, (1, 4, 4))), 2))
    hardware = to_hardware(net, random_plan(net, 0))
    sized = with_depths(hardware, dict.fromkeys(hardware.values(), 2) | {deep: 4097})
    assert {sized.value(name).depth for name in ("x", "reshape0_out", "reshape1_out")} == {4097}
    assert streams(sized)["x"].depth == 4097
    assert graph_cost(sized).bram18 > graph_cost(with_depths(sized, dict.fromkeys(sized.values(), 2))).bram18
    assert with_depths(sized, {value.name: value.depth or 2 for value in sized.values().values()}) is sized


def test_a_plan_with_depths_is_taken_as_it_stands() -> None:
    graph = conv_net(size=6)
    plan = random_plan(graph, 0)
    sized = minimize_fifos(to_hardware(graph, plan))
    depths = {name: value.depth for name, value in sized.values().items()}
    again = to_hardware(graph, plan.model_copy(update={"depths": depths}))

    assert {name: value.depth for name, value in again.values().items()} == depths
    with pytest.raises(UserError, match="unknown value 'window0_ou'"):
        to_hardware(graph, plan.model_copy(update={"depths": {**depths, "window0_ou": 2}}))
    with pytest.raises(UserError, match="has no FIFO depth"):
        to_hardware(graph, plan.model_copy(update={"depths": {}}))
