"""The laws that every pass of the list keeps, what each makes of one network, and what is said where one is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.golden_files import assert_golden
from tests.graphs import Builder, random_input
from tests.passes.test_recode_signs import binary_net, sign
from tests.passes.test_to_hardware import GRAPHS, random_plan
from toolchain.errors import UserError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph, Output
from toolchain.ir.rules import IllFormed
from toolchain.ir.text import to_text
from toolchain.ir.verify import Level, verify
from toolchain.passes import pipeline
from toolchain.passes.pipeline import FORM, GraphPass, hardware_form, planned, run, to_hardware
from toolchain.plan import Lanes, Plan


def steps(graph: Graph, plan: Plan) -> Iterator[tuple[GraphPass, Graph, Graph]]:
    """Every pass with the graph before and behind it."""
    for step in (*FORM, *planned(plan)):
        after = step.run(graph)
        yield step, graph, after
        graph = after


def small() -> tuple[Graph, Plan]:
    """Codes that stay as they are, one requantizer twice, a table, signs that become bits, a residual that is forked,
    padding, a row convolution, two converters, rows that become positions."""
    b = Builder((4, 4, 2), 8, signed=True)
    x = sign(b, b.matvec(b.input, 4))
    x = b.threshold(b.matvec(b.window(x, pads=(0, 0, 0, 0)), 4), 2)
    x = b.threshold(b.matvec(b.add(x, b.threshold(b.matvec(x, 4), 2)), 3), 2)
    x = b.mulshift(b.multiply(x, b.lookup(x, 3, signed=True)), 4, per_channel=False)
    x = b.mulshift(b.unchanged(b.matvec(x, 6)), 4)
    graph = b.graph(b.space_to_depth(b.add(x, b.again(x)), (1, 2)))
    lanes = {
        "matvec0": Lanes(lanes_in=2, lanes_out=4),
        "window2": Lanes(lanes_in=4, lanes_out=12),
        "matvec3": Lanes(lanes_in=12, lanes_out=4, columns=2),
        "matvec5": Lanes(lanes_in=4, lanes_out=2),
        "add7": Lanes(lanes_in=2, lanes_out=2),
        "matvec8": Lanes(lanes_in=4, lanes_out=2),
        "matvec13": Lanes(lanes_in=4, lanes_out=3),
        "add17": Lanes(lanes_in=3, lanes_out=3),
    }
    padded = {"matvec8_out": 4}
    return graph, Plan(board="zu3eg", clock_mhz=250.0, input_lanes=2, output_lanes=3, padded=padded, nodes=lanes)


@pytest.mark.parametrize("graph", [*GRAPHS, binary_net()], ids=lambda g: g.name)
def test_every_pass_keeps_what_the_graph_computes_and_its_rules_and_changes_nothing_twice(graph: Graph) -> None:
    """The input of a graph of signs is itself recoded where its host sends bits; these take integers."""
    x = random_input(graph)
    expected = evaluate(graph, x)[graph.output]

    for step, _, after in steps(graph, random_plan(hardware_form(graph), 1)):
        verify(after, Level.UNITS)
        np.testing.assert_array_equal(evaluate(after, x)[after.output], expected)
        assert step.run(after) is after


def test_a_pass_becomes_what_its_golden_file_shows() -> None:
    graph, plan = small()
    for step, before, after in steps(graph, plan):
        assert after is not before
        assert_golden(f"passes/{step.name}.txt", f"{to_text(before)}\nbecomes\n\n{to_text(after)}")
    verify(after, Level.HARDWARE)


def test_a_pass_that_breaks_a_rule_is_named_with_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_types(graph: Graph) -> Graph:
        return replace(graph, outputs=(Output("out", "nothing"),))

    broken = (*FORM, GraphPass("forget", "nowhere", without_types))
    monkeypatch.setattr(pipeline, "FORM", broken)

    with pytest.raises(IllFormed) as error:
        hardware_form(small()[0])
    before = "drop_identities, merge_requantizers, fuse_tables, rename_moves, recode_signs, insert_forks"
    assert str(error.value) == f"in the pass forget, behind {before}: nothing: output is defined"


def test_an_error_inside_a_pass_tells_where_it_was_raised() -> None:
    def fail(graph: Graph) -> Graph:
        raise KeyError("x")

    with pytest.raises(KeyError) as error:
        run((GraphPass("first", "", lambda graph: graph), GraphPass("second", "", fail)), small()[0])
    assert error.value.__notes__ == ["in the pass second, behind first"]


def test_a_plan_that_does_not_fit_is_the_users_fault() -> None:
    graph, plan = small()
    with pytest.raises(UserError, match="the input reader cannot have 7 lanes"):
        to_hardware(graph, plan.model_copy(update={"input_lanes": 7}))
