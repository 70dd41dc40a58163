"""Cycle truth: cycles counted in C++ = cost model = simulator; and the simulator equals a clock-by-clock oracle."""

from __future__ import annotations

import pytest

from tests.conformance import FRAMES
from tests.graphs import Builder, conv_net, grouped_net, mlp, residual_net, unet
from tests.grids import GRIDS, units
from tests.hardware import serial
from tests.passes.test_to_hardware import random_plan
from tests.passes.token_simulator import Deadlock, frame_ends
from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import READ
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Concat, Reshape
from toolchain.ir.ops.matmul import MatMul
from toolchain.passes.pipeline import to_hardware
from toolchain.passes.size_fifos import with_depths
from toolchain.simulate.cycles import Network, simulate, steady_interval, unit_cycles
from toolchain.units.schedule import READS, WRITES
from toolchain.units.table import iterations


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.__name__)
def test_schedules_take_the_cycles_that_the_units_count(grid: type) -> None:
    """The conformance tests compare the C++ of the same graphs with their count; reads and writes add up too."""
    for graph, node in units(grid):
        if isinstance(node, Reshape) or node.parallelism is None:
            continue
        call = iterations(node, graph.value(node.inputs[0]), FRAMES)
        lanes = node.parallelism
        moved = {
            flag: sum(s.repeats * sum(bool(f & flag) for f in s.flags) for s in call.segments)
            for flag in (READS, WRITES)
        }

        assert call.count == call.once + FRAMES * call.frame
        sizes = [graph.value(name).size for name in node.inputs]
        read = sum(sizes) if isinstance(node, Concat | MatMul) else sizes[0]  # one input a cycle, or all
        assert moved[READS] == FRAMES * read // lanes.lanes_in
        assert moved[WRITES] == FRAMES * node.outputs[0].size // lanes.lanes_out


GRAPHS = [
    mlp(),
    conv_net(size=6),
    residual_net(size=6),
    residual_net(size=5, blocks=1),
    unet(size=4),
    grouped_net(size=6),
]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.name)
@pytest.mark.parametrize("stages", [1, 5])
@pytest.mark.parametrize("depth", [None, 2, 7])
def test_frames_end_when_the_clock_by_clock_oracle_says(graph: Graph, stages: int, depth: int | None) -> None:
    """Deep and shallow FIFOs, deadlocks included. The oracle's reader has no pipeline: all is ``stages`` earlier."""
    hardware = to_hardware(graph, random_plan(graph, 1))
    network = Network(hardware, stages)
    depths = network.depths_of(hardware)
    if depth is not None:
        depths[:] = depth
    run = network.run(depths, 3)
    try:
        ends = frame_ends(hardware, 3, latency=stages, depth=depth)
    except Deadlock:
        assert not run.finished
        return

    assert [int(end) + 1 - stages for end in run.ends] == ends


def test_a_deadlock_names_the_full_fifo_and_the_waiting_units() -> None:
    """With two words everywhere the skip branch of a residual block blocks its fork."""
    graph = serial(residual_net(size=6, blocks=1))
    timing = simulate(graph, 2)

    assert timing.deadlock is not None
    fork = next(node for node in graph.nodes if len(node.outputs) > 1)
    assert timing.deadlock.waiting[fork.name] in timing.deadlock.full
    with pytest.raises(VerificationError, match=rf"deadlock: full are .*{fork.name} waits for room in"):
        timing.check()
    with pytest.raises(VerificationError, match="deadlock"):
        steady_interval(graph)


def test_shallow_fifos_cost_frames_and_the_interval_says_how_many() -> None:
    """An endless run takes what a long simulation measures, not less than its slowest unit."""
    graph = to_hardware(conv_net(size=6), random_plan(conv_net(size=6), 2))
    shallow = with_depths(graph, dict.fromkeys(graph.values(), 2))
    interval = steady_interval(shallow)
    ends = simulate(shallow, 30).frame_ends

    assert interval >= Network(shallow).bound
    assert (ends[15] - ends[5]) / 10 <= interval


def test_a_unit_is_busy_for_its_cycles_and_waits_for_the_rest() -> None:
    b = Builder((3, 3, 2), 4)
    graph = serial(b.graph(b.matvec(b.threshold(b.input, 2), 4)))
    timing = simulate(graph, 2)

    assert {name: unit.busy for name, unit in timing.units.items()} == unit_cycles(graph, 2)
    assert timing.units["threshold0"].full_stall > 0
    assert timing.units["matvec1"].empty_stall > 0
    assert timing.units[READ].empty_stall == 0
    assert timing.latency_cycles < timing.frame_ends[1]


def test_a_step_that_touches_no_stream_is_waited_for() -> None:
    """The last row of columns of a row convolution: nothing is read any more, and what leaves comes a step later."""
    b = Builder((5, 9, 4), 4, seed=1)
    x = b.window(b.threshold(b.matvec(b.input, 4), 4), stride=(3, 3), pads=(0, 0, 0, 0))
    graph = b.graph(b.matvec(x, 3))
    hardware = to_hardware(graph, random_plan(graph, 1))
    (product,) = (node for node in hardware.nodes if node.name == "matvec3")
    call = iterations(product, hardware.value(product.inputs[0]), 2)

    assert any(not segment.offsets for segment in call.segments[1:-1])
    timing = simulate(hardware, 2, stages=3)
    assert timing.deadlock is None
    ends = [end - 2 * 3 for end in timing.frame_ends]  # the oracle's reader and writer have no pipeline
    assert ends == frame_ends(hardware, 2, latency=3)
