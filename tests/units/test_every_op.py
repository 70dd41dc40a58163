"""Every hardware operation answers every question of the explorer, and a foreign one is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.graphs import conv_net, grouped_net, mlp, residual_net, unet
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.ir.graph import Graph
from toolchain.ir.ops import HARDWARE_OPS
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.passes.pipeline import to_hardware
from toolchain.resources import Resources
from toolchain.units.cost import unit_cost
from toolchain.units.cycles import cycles
from toolchain.units.lag import lag
from toolchain.units.options import options
from toolchain.units.pauses import pause_words

QUESTIONS: tuple[Callable[..., Any], ...] = (cycles, unit_cost, pause_words, lag)


def hardware_graphs() -> list[Graph]:
    """Hardware graphs that hold every operation between them."""
    board = load_board("zu3eg")
    graphs = (mlp((12, 10, 8, 6)), conv_net(), residual_net(), unet(), grouped_net())
    return [to_hardware(g, explore(g, board)) for g in graphs]


@pytest.fixture(scope="module")
def nodes() -> list[tuple[Node, Value]]:
    return [(node, graph.value(node.inputs[0])) for graph in hardware_graphs() for node in graph.nodes]


@pytest.mark.parametrize("op", HARDWARE_OPS)
def test_every_operation_is_answered(op: type[Node], nodes: list[tuple[Node, Value]]) -> None:
    """Cycles, cost, options, pauses and lag are known for each operation."""
    found = [(node, x) for node, x in nodes if type(node) is op]

    assert found
    for node, x in found:
        assert node.parallelism is not None
        for question in QUESTIONS:
            question(node, x, node.parallelism)
        assert cycles(node, x, node.parallelism) >= 0
        assert Resources().fits(unit_cost(node, x, node.parallelism))
        assert all(p.lanes_in >= 1 for p in options(node, x, None)) or op is WidthConvert
        assert (cycles(node, x, node.parallelism) == 0) == (op is Reshape)


class Foreign(Node):
    """An operation nobody knows."""


@pytest.mark.parametrize("question", [*QUESTIONS, options])
def test_a_foreign_operation_is_refused(question: Callable[..., Any]) -> None:
    """A missing case raises and names the operation."""
    x = Value("x", (1, 1, 4), QInt(4, False))
    node = Foreign(name="n", inputs=("x",), outputs=(Value("y", (1, 1, 4), QInt(4, False)),))

    with pytest.raises(TypeError, match="Foreign"):
        question(node, x, Parallelism(1, 1))


def test_more_lanes_never_take_more_cycles(nodes: list[tuple[Node, Value]]) -> None:
    """Among the options of a node, one with more lanes on both sides is at least as fast."""
    for node, x in nodes:
        legal = options(node, x, None)
        for a in legal:
            for b in legal:
                if a.lanes_in <= b.lanes_in and a.lanes_out <= b.lanes_out:
                    assert cycles(node, x, a) >= cycles(node, x, b)


def test_more_multipliers_take_more_dsp_or_lut(nodes: list[tuple[Node, Value]]) -> None:
    """Doubling the outputs of a matrix-vector unit never makes its logic smaller."""
    for node, x in nodes:
        if type(node).__name__ == "MatVec":
            for a in options(node, x, None):
                for b in options(node, x, None):
                    same = (a.lanes_in, a.products_per_dsp) == (b.lanes_in, b.products_per_dsp)
                    if same and a.lanes_out < b.lanes_out:
                        assert unit_cost(node, x, a).dsp <= unit_cost(node, x, b).dsp
