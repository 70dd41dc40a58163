"""Cycles against counts by hand and against a model of the loops, iteration by iteration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graphs import Builder, conv_net, mlp, residual_net, unet
from tests.passes import token_simulator
from toolchain.errors import FlowError
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.units.table import options, schedule
from toolchain.units.totals import frame_cycles
from toolchain.units.window import buffer_rows


def window(**shape: object) -> tuple[Window, Value]:
    """A window over 7 rows of 5 columns of 4 channels."""
    b = Builder((7, 5, 4), 4)
    b.window(b.input, **shape)
    node = b.nodes[0]
    assert isinstance(node, Window)
    return node, b.input


@pytest.mark.parametrize(
    ("stride", "lanes", "expected"),
    [
        ((1, 1), Parallelism(2, 2), 7 * 5 * 2 * 9),  # one tap a cycle
        ((1, 1), Parallelism(2, 18), 7 * 7 * 2),  # padded columns
        ((2, 2), Parallelism(2, 18), 3 * 20 + 14),  # 4 output rows: three phases of 2 rows read, then 1 row, 14 emitted
        ((2, 2), Parallelism(4, 4), 4 * 3 * 9),
    ],
)
def test_window_cycles_by_hand(stride: tuple[int, int], lanes: Parallelism, expected: int) -> None:
    node, x = window(stride=stride)

    assert schedule(node, x, lanes).cycles == expected


def test_window_memory_and_prologue_by_hand() -> None:
    """3 rows under the kernel, 1 read meanwhile; 2 rows before the first output."""
    node, x = window()

    assert buffer_rows(node, x) == 4
    assert schedule(node, x, Parallelism(2, 2)).prologue == 2 * 5 * 2


def test_a_window_that_leaves_rows_over_stores_them() -> None:
    """A 2x2 pool with stride 2 on 7 rows reads 3 rows in the last phase."""
    node, x = window(kernel=(2, 2), stride=(2, 2), pads=(0, 0, 0, 0))

    assert buffer_rows(node, x) == 2 + 2 + 1
    assert schedule(node, x, Parallelism(4, 16)).cycles == 2 * 10 + 15


def test_cycles_equal_the_iterations_of_the_schedule() -> None:
    """For every unit and every legal choice of lanes; what is read before the first row comes once on top."""
    for graph in (mlp(), conv_net(size=7), residual_net(size=7), unet(size=6)):
        for node in graph.nodes:
            x = graph.value(node.inputs[0])
            for lanes in options(node, x, None):
                built = with_lanes(node, lanes)
                found = schedule(node, x, lanes)
                expected = 0 if type(node).__name__ == "Reshape" else found.prologue + 2 * found.cycles
                if expected:
                    assert sum(1 for _ in token_simulator.schedule(built, x, 2)) == expected


def with_lanes(node: Node, lanes: Parallelism) -> Node:
    return replace(node, parallelism=lanes)


def test_a_converter_takes_the_longer_side() -> None:
    x = Value("x", (2, 3, 12), Builder((1, 1, 1)).input.qint)
    node = WidthConvert(name="c", inputs=("x",), outputs=(x,))

    assert schedule(node, x, Parallelism(3, 12)).cycles == schedule(node, x, Parallelism(12, 3)).cycles == 24


def test_cycles_need_lanes() -> None:
    graph = mlp()

    with pytest.raises(FlowError, match="has no parallelism"):
        frame_cycles(graph.nodes[0], graph)
