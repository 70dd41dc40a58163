"""Every hardware operation has a unit that answers every question, and a foreign one is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.grids import GRIDS, units
from toolchain.ir.graph import Graph
from toolchain.ir.ops import HARDWARE_OPS
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources
from toolchain.units.table import UNITS, completed, lane_facts, options, schedule, template, unit_cost


def test_the_units_are_those_of_the_hardware_operations() -> None:
    """None is missing, none is without an operation."""
    assert UNITS.keys() == set(HARDWARE_OPS)


@pytest.fixture(scope="module")
def nodes() -> list[tuple[Graph, Node, Value]]:
    return [(graph, node, graph.value(node.inputs[0])) for grid in GRIDS for graph, node in units(grid)]


@pytest.mark.parametrize("op", HARDWARE_OPS)
def test_every_operation_is_answered(op: type[Node], nodes: list[tuple[Graph, Node, Value]]) -> None:
    """Schedule, cost, options and C++ are known for each operation, on units that are compiled and run."""
    found = [(graph, node, x) for graph, node, x in nodes if type(node) is op]

    assert found
    for graph, node, x in found:
        lanes = node.parallelism
        assert lanes is not None
        others = [graph.value(name) for name in node.inputs[1:]]
        timing = schedule(node, x, lanes)
        assert (timing.cycles == 0) == (op is Reshape)
        assert timing.prologue >= 0 and timing.lag >= 0
        assert len(timing.pause_words()[0]) == len(node.inputs)
        full = completed(node, x, lanes)
        assert completed(node, x, full) == full and (full.lanes_in, full.lanes_out) == (lanes.lanes_in, lanes.lanes_out)
        assert lane_facts(node).keys() & {"lanes", "lanes_in", "SIMD"}
        assert Resources().fits(unit_cost(node, x, lanes, *others))
        assert all(p.lanes_in >= 1 for p in options(node, x, None)) or op is WidthConvert
        if op is not Reshape:
            assert template(node, graph).declared


class Foreign(Node):
    """An operation nobody knows."""


QUESTIONS: tuple[Callable[[Node, Value], Any], ...] = (
    lambda node, x: options(node, x, None),
    lambda node, x: schedule(node, x, Parallelism(1, 1)),
    lambda node, x: unit_cost(node, x, Parallelism(1, 1)),
    lambda node, x: completed(node, x, Parallelism(1, 1)),
    lambda node, x: lane_facts(replace(node, parallelism=Parallelism(1, 1))),
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_foreign_operation_is_refused(question: Callable[[Node, Value], Any]) -> None:
    """A missing unit raises and names the operation."""
    x = Value("x", (1, 1, 4), QInt(4, False))
    node = Foreign(name="n", inputs=("x",), outputs=(Value("y", (1, 1, 4), QInt(4, False)),))

    with pytest.raises(TypeError, match="^no hardware unit for Foreign$"):
        question(node, x)


def test_more_lanes_never_take_more_cycles(nodes: list[tuple[Graph, Node, Value]]) -> None:
    """Among the options of a node, one with more lanes on both sides is at least as fast."""
    for _, node, x in nodes:
        legal = [(lanes, schedule(node, x, lanes).cycles) for lanes in options(node, x, None)]
        for a, slower in legal:
            for b, faster in legal:
                if a.lanes_in <= b.lanes_in and a.lanes_out <= b.lanes_out:
                    assert slower >= faster


def test_more_multipliers_take_more_dsp_or_lut(nodes: list[tuple[Graph, Node, Value]]) -> None:
    """Doubling the outputs of a matrix-vector unit never makes its logic smaller."""
    for _, node, x in nodes:
        if type(node).__name__ == "MatVec":
            legal = [(lanes, unit_cost(node, x, lanes).dsp) for lanes in options(node, x, None)]
            for a, fewer in legal:
                for b, more in legal:
                    same = (a.lanes_in, a.products_per_dsp) == (b.lanes_in, b.products_per_dsp)
                    if same and a.lanes_out < b.lanes_out:
                        assert fewer <= more
