"""The C simulation with one thread a unit and streams as deep as their FIFOs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from tests.hardware import Target, serial
from toolchain.errors import FlowError, VerificationError
from toolchain.hls_templates.generate import generate
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.passes.minimize_fifos import minimize_fifos
from toolchain.simulate.bounded import BoundedCSim, as_tasks
from toolchain.simulate.cycles import simulate, steady_interval, unit_cycles
from toolchain.units.totals import graph_cycles

FRAMES = 3


@pytest.fixture(scope="module")
def sized() -> Graph:
    """A residual block with minimal depths."""
    b = Builder((5, 4, 2), 4)
    main = b.threshold(b.conv(b.input, 2), 4)
    return minimize_fifos(serial(b.graph(b.add(main, b.input))))


@pytest.fixture(scope="module")
def csim(sized: Graph) -> BoundedCSim:
    return BoundedCSim(sized, generate(sized, Target(), 250.0))


@pytest.mark.needs_gxx
def test_minimal_depths_finish_with_the_evaluators_codes_in_the_simulators_cycles(sized, csim) -> None:
    """Counted in C++ = by the schedules = by the simulator, for every unit."""
    x = random_input(sized, FRAMES)
    (found,) = csim.run_bounded(x)
    timing = simulate(sized, FRAMES)

    np.testing.assert_array_equal(found, evaluate(sized, x)[sized.output])
    assert csim.cycles() == unit_cycles(sized, FRAMES)
    assert csim.cycles() == {name: unit.busy for name, unit in timing.units.items()}


@pytest.mark.needs_gxx
def test_a_shortcut_that_is_too_shallow_is_a_deadlock_that_names_its_stream(sized, csim) -> None:
    """And the next run is not affected."""
    deepest = max(sized.values().values(), key=lambda value: value.depth or 0)
    x = random_input(sized, FRAMES)

    with pytest.raises(VerificationError, match=rf"deadlock: .*'{deepest.name}' \(depth 2\) is full"):
        csim.run_bounded(x, {deepest.name: 2})
    np.testing.assert_array_equal(csim.run_bounded(x)[0], evaluate(sized, x)[sized.output])


@pytest.mark.needs_gxx
def test_heads_that_join_and_part_finish_at_minimal_depths_with_the_codes_of_every_output() -> None:
    """A pyramid: the small map is put out, and enlarged and joined with what the large one was made of."""
    b = Builder((6, 4, 2), 4)
    large = b.threshold(b.conv(b.input, 3), 4)
    small = b.threshold(b.conv(b.pool(b.window(large, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4), 4), 4)
    joined = b.concat(b.upsample(small), large)
    heads = minimize_fifos(serial(b.graph(b.matvec(joined, 3), "heads", (b.matvec(small, 3), large))))
    csim, x = BoundedCSim(heads, generate(heads, Target(), 250.0)), random_input(heads, FRAMES)
    expected = evaluate(heads, x)
    for output, codes in zip(heads.outputs, csim.run_bounded(x), strict=True):
        np.testing.assert_array_equal(codes, expected[output.value])
    timing = simulate(heads, FRAMES)
    assert csim.cycles() == unit_cycles(heads, FRAMES) == {name: unit.busy for name, unit in timing.units.items()}
    assert steady_interval(heads) == graph_cycles(heads)


def test_a_top_without_calls_is_refused() -> None:
    with pytest.raises(FlowError, match="no calls"):
        as_tasks({"src/top.cpp": "void top() {\n}\n"})
