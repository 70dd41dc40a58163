"""The whole accelerator at its AXI ports: registers, bursts, calls one behind the other, in the model's cycles."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from tests.hardware import accelerator, laned
from tests.passes.test_to_hardware import random_plan
from tests.rtl.test_conformance import check, two_heads
from toolchain.deploy.facts import register_map
from toolchain.errors import VerificationError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import to_hardware
from toolchain.passes.size_fifos import with_depths
from toolchain.rtl.generate import FIRST_ARGUMENT, POINTER_BYTES, generate_rtl, rtl_bundles, rtl_top
from toolchain.rtl.simulate import NO_PAUSES, Pauses, RtlSimulation, Standstill
from toolchain.rtl.verilate import simulation

FRAMES = 150
"""Two bursts and more of the input's words, one a frame, across 4 KB; nine of the first output's."""


@pytest.fixture(scope="module")
def graph() -> Graph:
    """An accelerator of two outputs."""
    return to_hardware(two_heads(), random_plan(two_heads(), 1))


def simulated(graph: Graph, files: dict[str, str]) -> RtlSimulation:
    """The program of ``files``."""
    program = simulation(files, rtl_top(graph), ports=len(rtl_bundles(graph)), quick=True)
    return RtlSimulation(graph, files, program)


@pytest.mark.needs_gxx
def test_calls_through_registers_and_bursts_give_the_evaluators_codes_in_the_models_cycles(graph: Graph) -> None:
    """Where the channels pause also some of no frame or less, two by auto restart, interrupts: see sim/rtl/axi.cpp."""
    found = simulated(graph, generate_rtl(graph))
    check(found, random_input(graph, FRAMES, 1), 1)
    check(found, random_input(graph, 1, 2), 2)
    assert found.first_deviation(random_input(graph, 3, 3), Pauses(200, 200)) is None


@pytest.mark.needs_gxx
def test_an_accelerator_of_one_number_is_waited_for() -> None:
    """Its units are done in fewer cycles than the memory takes to answer."""
    b = Builder((1, 1, 1), 4)
    network = b.graph(b.matvec(b.input, 1))
    tiny = to_hardware(network, random_plan(network, 1))
    found = simulated(tiny, generate_rtl(tiny))
    for frames in (1, 2):
        check(found, random_input(tiny, frames, frames), frames)


@pytest.mark.needs_gxx
def test_a_standstill_tells_how_many_words_have_left() -> None:
    """Halves that are joined one behind the other stand in front of FIFOs of two words."""
    b = Builder((1, 1, 64), 8)
    joined = accelerator(laned(b, b.concat(b.input, b.input), (1, 1)))
    stuck = with_depths(joined, dict.fromkeys(joined.values(), 2))
    with pytest.raises(Standstill, match=r"^the SystemVerilog stands still: 0 of 16 words have left it$") as error:
        simulated(stuck, generate_rtl(stuck)).run(random_input(stuck, 2))
    assert error.value.frames == 0


@pytest.mark.needs_gxx
def test_a_burst_across_4_kb_is_found(graph: Graph) -> None:
    files = generate_rtl(graph)
    module = files["modules/axi.sv"]
    assert module.count("9'd256 - beat") == 1
    spoiled = simulated(graph, files | {"modules/axi.sv": module.replace("9'd256 - beat", "9'd258 - beat")})
    with pytest.raises(VerificationError, match=r"^the SystemVerilog's ports: gmem0: a burst across 4 KB$"):
        spoiled.run(random_input(graph, 3, 1))


@pytest.mark.needs_gxx
def test_more_frames_than_the_units_count_run_in_parts(graph: Graph) -> None:
    """Here they count to 40, else to 65,535: the register and the masters have 32 bits, as those of the C++."""
    files = generate_rtl(graph)
    top = files[f"{rtl_top(graph)}.sv"]
    assert top.count("MOST = 65535;") == 1
    small = simulated(graph, files | {f"{rtl_top(graph)}.sv": top.replace("MOST = 65535;", "MOST = 40;")})
    inputs = random_input(graph, FRAMES, 4)
    right = evaluate(graph, inputs)
    for pauses in (NO_PAUSES, Pauses(96, 96)):
        for name, codes in small.run(inputs, pauses).codes.items():
            np.testing.assert_array_equal(codes, right[name])


def test_the_registers_are_those_of_the_cpp() -> None:
    names = ("in_r", "out_a", "out_b")
    offsets = {name: FIRST_ARGUMENT + POINTER_BYTES * i for i, name in enumerate((*names, "frames"))}
    assert offsets.items() <= register_map(names, "frames").items()
