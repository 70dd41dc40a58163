"""The hardware graph computes the same, is well formed, keeps its pace and cannot deadlock."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest

from tests.graphs import Builder, conv_net, gated_net, grouped_net, mlp, random_input, residual_net, unet
from tests.passes.token_simulator import Deadlock, frame_ends
from toolchain.boards import load_board
from toolchain.dse.expand import chains, expand
from toolchain.dse.explore import explore, plan_of
from toolchain.dse.problem import Decision
from toolchain.errors import FlowError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Parallelism
from toolchain.ir.verify import Level, verify
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.insert_width_converters import insert_width_converters
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.passes.size_fifos import immediate_dominators, size_fifos
from toolchain.plan import Lanes, Plan
from toolchain.units.limits import MIN_DEPTH
from toolchain.units.totals import graph_cycles

GRAPHS = [
    mlp(),
    conv_net(),
    conv_net(size=9, channels=6),
    residual_net(),
    residual_net(size=7, blocks=3),
    unet(),
    grouped_net(),
    gated_net(),
]


@cache
def _expanded(graph: Graph) -> tuple[Graph, tuple[Decision, ...]]:
    """The graph that plans are made for, and its decisions: the same for all plans of a graph."""
    whole = hardware_form(graph)
    return whole, expand(whole).decisions


def random_plan(graph: Graph, seed: int, cycles: int = 600, *, padded: bool = False) -> Plan:
    """Any legal lanes of at most about ``cycles`` a frame, fitting a board or not; some channels may be ``padded``."""
    rng = random.Random(seed)
    lanes: dict[str, Parallelism] = {}
    whole, decisions = _expanded(graph)
    forms = [{tuple(sorted(option.padded)) for option in decision.options} for decision in decisions]
    groups = sorted({name for form in forms for names in form for name in names})
    chosen = {name for name in groups if padded and rng.random() < 0.7}
    if any(tuple(sorted(chosen & {n for names in form for n in names})) not in form for form in forms):
        chosen = set(groups)  # of many groups a decision pads all or none
    counts: dict[str, int] = {}
    for decision, form in zip(decisions, forms, strict=True):
        wanted = chosen & {name for names in form for name in names}
        options = [option for option in decision.options if option.padded.keys() == wanted]
        quick = [option for option in options if option.cycles <= cycles]
        option = rng.choice(quick or options[-1:])
        lanes, counts = lanes | option.lanes, counts | option.padded
    return plan_of(whole, lanes, "zu3eg", 250.0, "", padded=counts)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.name)
@pytest.mark.parametrize("seed", range(4))
def test_the_hardware_graph_computes_the_same(graph: Graph, seed: int) -> None:
    """Well formed at HARDWARE level and equal on random images, for random plans."""
    hardware = to_hardware(graph, random_plan(graph, seed))
    x = random_input(graph)

    verify(hardware, Level.HARDWARE)
    np.testing.assert_array_equal(evaluate(hardware, x)[hardware.output], evaluate(graph, x)[graph.output])


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.name)
def test_a_second_run_changes_nothing(graph: Graph) -> None:
    """Each pass returns the same object when there is nothing to do."""
    plan = random_plan(graph, 0)
    hardware = to_hardware(graph, plan)

    assert to_hardware(hardware, plan) is hardware


@pytest.mark.parametrize("graph", GRAPHS[1:], ids=lambda g: g.name)
@pytest.mark.parametrize("seed", range(2))
def test_frames_leave_at_the_pace_of_the_slowest_unit(graph: Graph, seed: int) -> None:
    """Eight frames, the last four no slower than the cycle count says: FIFOs bridge all pauses."""
    hardware = to_hardware(graph, random_plan(graph, seed))
    ends = frame_ends(hardware, 8)

    assert (ends[-1] - ends[3]) / 4 <= graph_cycles(hardware)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("latency", [0, 6, 12])
def test_residual_branches_do_not_deadlock(blocks: int, latency: int) -> None:
    """With pipelines that keep their words while they stall."""
    graph = residual_net(blocks=blocks)
    for seed in range(2):
        assert len(frame_ends(to_hardware(graph, random_plan(graph, seed)), 3, latency=latency)) == 3


@pytest.mark.parametrize("latency", [0, 6])
def test_a_map_waits_for_the_factor_that_is_made_of_all_of_it(latency: int) -> None:
    """In the FIFO in front of the product: whole frames, and more with pipelines that keep their words."""
    graph = gated_net()
    for seed in range(2):
        assert len(frame_ends(to_hardware(graph, random_plan(graph, seed)), 3, latency=latency)) == 3


def test_shallow_fifos_do_deadlock() -> None:
    """What the depths are for: with two words everywhere the skip branch blocks the fork."""
    graph = residual_net()
    hardware = to_hardware(graph, explore(graph, load_board("zu3eg")))

    with pytest.raises(Deadlock):
        frame_ends(hardware, 3, depth=MIN_DEPTH)


def test_forks_give_every_stream_one_reader() -> None:
    """Three readers and the output: one fork with four outputs."""
    b = Builder((2, 2, 4), 4)
    y = b.add(b.input, b.add(b.input, b.input))
    forked = insert_forks(b.graph(y))
    forks = [node for node in forked.nodes if isinstance(node, Fork)]

    assert [len(fork.outputs) for fork in forks] == [3]
    assert all(len(readers) <= 1 for readers in forked.consumers().values())
    assert insert_forks(forked) is forked


def test_an_output_that_is_read_as_well_is_forked() -> None:
    b = Builder((2, 2, 4), 4)
    b.threshold(b.matvec(b.input, 4))
    first = b.nodes[0].output
    forked = insert_forks(b.graph(first))

    assert forked.output == f"{first.name}_1"


def test_a_window_with_two_readers_is_copied() -> None:
    """The order of a window's stream depends on its reader's lanes."""
    b = Builder((4, 4, 2), 4)
    window = b.window(b.input)
    graph = b.graph(b.add(b.matvec(window, 3), b.matvec(window, 3)))
    forked = insert_forks(graph)
    x = random_input(graph)

    assert sum(isinstance(node, Window) for node in forked.nodes) == 2
    np.testing.assert_array_equal(evaluate(forked, x)[forked.output], evaluate(graph, x)[graph.output])


def test_widths_without_integer_ratio_meet_at_their_common_multiple() -> None:
    """4 lanes to 6 lanes goes through 12."""
    b = Builder((1, 1, 12), 4)
    graph = b.graph(b.matvec(b.matvec(b.input, 12), 5))
    lanes = {"matvec0": (12, 4), "matvec1": (6, 5)}
    nodes = {n: Lanes(lanes_in=a, lanes_out=c) for n, (a, c) in lanes.items()}
    plan = Plan(board="zu3eg", clock_mhz=250.0, input_lanes=12, output_lanes=5, nodes=nodes)
    hardware = to_hardware(graph, plan)
    steps = [node.parallelism for node in hardware.nodes if isinstance(node, WidthConvert)]

    assert steps == [Parallelism(4, 12), Parallelism(12, 6)]


def test_passes_refuse_a_graph_without_lanes() -> None:
    with pytest.raises(FlowError, match="has no parallelism"):
        insert_width_converters(mlp(), 1, 1)
    with pytest.raises(FlowError, match="has no parallelism"):
        size_fifos(mlp())


def test_the_dominator_of_a_join_is_its_fork() -> None:
    forked = insert_forks(residual_net(blocks=1))
    dominators = immediate_dominators(forked)
    (add,) = (node for node in forked.nodes if type(node).__name__ == "Add")

    assert dominators[add.name] is not None
    assert dominators[add.name] == next(node.name for node in forked.nodes if isinstance(node, Fork))
    assert dominators[forked.nodes[0].name] is None


def test_chains_cover_every_node_once() -> None:
    for graph in GRAPHS:
        forked = insert_forks(graph)
        names = [node.name for chain in chains(forked) for node in chain.nodes]

        assert sorted(names) == sorted(node.name for node in forked.nodes)
