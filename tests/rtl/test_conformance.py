"""The units in SystemVerilog: codes of the evaluator, cycles of the cycle simulator, also where both ends pause.

The C++ of the same graphs is held to the evaluator by the conformance tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from tests.conformance import UnitConformance
from tests.graphs import Builder, conv_net, gated_net, grouped_net, joined_rows, mlp, random_input, residual_net, unet
from tests.grids import GRIDS
from tests.hardware import accelerator, laned
from tests.passes.test_to_hardware import random_plan
from tests.rtl.together import renamed, simulations
from toolchain.errors import UserError
from toolchain.hls_templates.generate import place_units
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.rules import IllFormed
from toolchain.ir.verify import Level, verify
from toolchain.passes.minimize_fifos import minimize_fifos
from toolchain.passes.pipeline import to_hardware
from toolchain.rtl import generate
from toolchain.rtl.generate import demand_rtl, missing_units, modules, unit_module
from toolchain.rtl.simulate import Pauses, RtlSimulation, expected_ends, interval
from toolchain.rtl.stages import STAGES

EVERY = 24
"""Of the grids' graphs one in so many is run: with 1 for all of them the compiler takes minutes."""

WHOLE = ("TestMatMul", "TestNorm", "TestSoftmax")
"""Grids of units that store a frame or find roots and quotients: each of their graphs is run."""

FRAMES = 40
"""Of a network: more than pipelines hold, also where a unit has one iteration a frame."""


def two_heads() -> Graph:
    """A map, and the sums of its channels, which come once a frame."""
    b = Builder((4, 4, 2), 4)
    x = b.threshold(b.conv(b.input, 4), 4)
    return b.graph(b.matvec(x, 3), "two_heads", (b.global_sum(x),))


NETWORKS = (
    *(conv_net(size=6), residual_net(size=6, channels=2, bits=3), unet(size=4, channels=2, bits=3)),
    *(grouped_net(size=6, groups=2, bits=3), mlp(), gated_net(size=4, channels=4, bits=3), two_heads()),
    joined_rows(4, 3, 2),
)


def accelerators() -> Iterator[tuple[type[UnitConformance], Graph]]:
    """Every so many graphs of each grid, of those that can be whole accelerators."""
    for kind in GRIDS:
        whole = [made for graph in kind().graphs() if (made := _accelerator(graph))]
        yield from ((kind, graph) for graph in (whole if kind.__name__ in WHOLE else whole[::EVERY]))


def _accelerator(graph: Graph) -> Graph | None:
    try:
        made = accelerator(graph)
        verify(made, Level.HARDWARE)
    except IllFormed:  # a value nobody reads; constants that are no weights of their type
        return None
    return made


def check(simulation: RtlSimulation, inputs: np.ndarray, seed: int) -> None:
    """One run without pauses, which tells the cycles, and one with some."""
    graph = simulation.graph
    right = evaluate(graph, inputs)
    found = simulation.run(inputs)
    assert found.codes.keys() == {output.value for output in graph.outputs}
    for name, codes in found.codes.items():
        np.testing.assert_array_equal(codes, right[name], err_msg=str([n.name for n in graph.nodes]))
    assert found.frame_ends == expected_ends(graph, len(inputs)), [n.name for n in graph.nodes]
    slow = simulation.run(inputs, Pauses(96, 96, seed + 1))
    for name, codes in slow.codes.items():
        np.testing.assert_array_equal(codes, right[name], err_msg=str([n.name for n in graph.nodes]))


def check_together(graphs: list[Graph], inputs: list[np.ndarray]) -> None:
    """All of them in one program."""
    for seed, (simulation, frames) in enumerate(zip(simulations(renamed(graphs)), inputs, strict=True)):
        check(simulation, frames, seed)


@pytest.mark.slow
@pytest.mark.needs_gxx
def test_units_equal_the_evaluator_in_the_cycles_of_the_simulator() -> None:
    chosen = list(accelerators())
    inputs = [kind().inputs(graph, seed) for seed, (kind, graph) in enumerate(chosen)]
    check_together([graph for _, graph in chosen], inputs)


@pytest.mark.slow
@pytest.mark.needs_gxx
def test_networks_equal_the_evaluator_in_the_cycles_of_the_simulator() -> None:
    """With the least FIFOs, and of few lanes: a plan that unrolls more has the compiler work for minutes."""
    planned = [minimize_fifos(to_hardware(graph, random_plan(graph, 1, cycles=3000))) for graph in NETWORKS]
    check_together(planned, [random_input(graph, FRAMES, seed) for seed, graph in enumerate(planned)])


@pytest.mark.needs_gxx
@pytest.mark.parametrize(("low", "high"), [(-14, 1), (-3, 60), (-100, 100)])
def test_ends_of_a_clip_may_be_beyond_all_quotients(low: int, high: int) -> None:
    """Quotients of 3 bits: an end was cut to them, and -14 became 2."""
    b = Builder((1, 1, 4), 5)
    facts = {"mul": np.array([1]), "add": np.array([-4]), "base": np.array([0]), "shift": 4}
    clipped = b.append(MulShift, (b.input,), b.input.shape, low=low, high=high, **facts)
    check_together([accelerator(laned(b, clipped, (4, 4)))], [np.arange(32).reshape(8, 1, 1, 4)])


@pytest.mark.needs_gxx
def test_a_quotient_may_have_more_bits_than_the_ends_of_a_clip() -> None:
    """70 bits where the ends have 64: Verilator refused the project."""
    b = Builder((1, 1, 4), 20, signed=True)
    facts = {"mul": np.array([1 << 50]), "add": np.array([0]), "base": np.array([0]), "shift": 0}
    clipped = b.append(MulShift, (b.input,), b.input.shape, low=-128, high=100, **facts)
    inputs = np.array([0, 1, -1, 2, -(1 << 19), (1 << 19) - 1, -2, 3]).reshape(2, 1, 1, 4)
    check_together([accelerator(laned(b, clipped, (4, 4)))], [inputs])


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.__name__)
def test_every_unit_has_a_module_that_knows_all_its_parameters(grid: type[UnitConformance]) -> None:
    texts = "".join(modules().values())
    for graph in grid().graphs():
        assert missing_units(graph) == {}
        for placed in place_units(graph):
            module = unit_module(placed)
            assert module.parameters["STAGES"].isdigit()
            assert placed.unit.network is not None or f"module {module.module} #(" in texts


def test_units_without_a_module_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = to_hardware(gated_net(size=4), random_plan(gated_net(size=4), 1))
    demand_rtl(graph)
    known = {name: count for name, count in STAGES.items() if name not in ("lookup", "multiply")}
    monkeypatch.setattr(generate, "STAGES", known)
    gone = {p.node.name: p.unit.function for p in place_units(graph) if p.unit.function not in known}
    assert len(gone) >= 2
    listed = ", ".join(f"{name} ({function})" for name, function in gone.items())
    with pytest.raises(UserError, match=re.escape(f"no SystemVerilog yet for {listed}; the C++ has every unit")):
        demand_rtl(graph)


def test_the_interval_is_that_of_the_slowest_unit_while_frames_follow() -> None:
    """The last frames of a deep accelerator come faster than it takes frames in."""
    assert interval((65_086, 81_470, 97_854, 98_494, 98_819)) == 16_384
    assert interval((142,)) == 142
