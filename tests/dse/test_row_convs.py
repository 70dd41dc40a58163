"""Convolutions along rows: what is offered, what it takes, and how a plan says it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.graphs import Builder
from toolchain.boards import load_board
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import RowConv
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Parallelism, Value
from toolchain.passes.apply_plan import load_plan
from toolchain.passes.pipeline import to_hardware
from toolchain.passes.split_row_convs import row_forms
from toolchain.plan import Lanes, Plan, plan_text
from toolchain.units.table import options, schedule, unit_cost
from toolchain.units.totals import graph_cost, graph_cycles


def convolution(
    shape: tuple[int, int, int] = (10, 20, 16), outputs: int = 16, bits: int = 4, *, act: int = 4, pad: int = 1
) -> Graph:
    """A 3 x 3 convolution and its quantizer."""
    b = Builder(shape, act)
    x = b.matvec(b.window(b.input, pads=(pad, pad, pad, pad)), outputs, bits)
    return b.graph(b.threshold(x, 4))


def split(graph: Graph) -> tuple[Window, RowConv]:
    """The convolution of ``graph`` along the rows and the window in front of it."""
    window, conv, _ = row_forms(graph.nodes)[1]
    assert isinstance(window, Window)
    assert isinstance(conv, RowConv)
    return window, conv


def test_columns_divide_the_row_and_fit_a_slice() -> None:
    """Six 4-bit products; at 2 bits up to four columns; none at 8 bits or in odd rows."""

    def columns(graph: Graph) -> set[int]:
        window, conv = split(graph)
        return {p.columns for p in options(conv, window.output, Parallelism(4, 12))}

    assert columns(convolution()) == {2}
    assert columns(convolution((6, 12, 16), 12, 2, act=2)) == {2, 3, 4}
    assert columns(convolution((6, 12, 16), 12, 2, act=2, pad=0)) == {2}
    assert columns(convolution(bits=8, act=8)) == set()
    assert columns(convolution((10, 21, 16))) == set()


def test_columns_share_weights_where_taps_do_not_fit() -> None:
    """Two columns of 8-bit products, three of 4-bit ones, behind any window and behind none, not of a dense layer."""

    def columns(nodes: list[Node], x: Value) -> set[int]:
        conv = row_forms(nodes)[0][-1]
        assert isinstance(conv, RowConv)
        return {p.columns for p in options(conv, x, None)}

    for bits, expected in ((8, {2}), (4, {2, 3})):
        b = Builder((6, 12, 16), bits)
        window = b.window(b.input)
        b.matvec(window, 12, bits)
        assert columns(b.nodes, window) == expected
        assert columns(b.nodes[1:], replace(window, shape=(1, 12, 144))) == expected
        assert columns(b.nodes[1:], replace(window, shape=(12, 1, 144))) == set()


def test_words_are_filled_by_the_outputs_of_a_step() -> None:
    window, conv = split(convolution(outputs=12))
    found = options(conv, window.output, Parallelism(4, 12))

    assert {p.lanes_out for p in found} == {2, 4, 6, 12}
    assert all(p.products_per_dsp == 6 and p.lanes_in == 12 for p in found)


def test_a_row_convolution_spares_slices_and_luts() -> None:
    """Beside four products a slice at the same pace: a third fewer slices, less than half the LUTs."""
    graph = convolution((10, 20, 16), 16)
    whole, matvec = graph.nodes[:2]
    window, conv = split(graph)
    packed, rows = Parallelism(144, 4, 4), Parallelism(48, 4, 6, 2)
    ours, theirs = unit_cost(conv, window.output, rows), unit_cost(matvec, whole.output, packed)

    assert schedule(conv, window.output, rows).cycles == schedule(matvec, whole.output, packed).cycles
    assert (ours.dsp, theirs.dsp) == (96, 144)
    assert ours.lut < theirs.lut / 2


def test_the_explorer_takes_it_where_it_is_cheaper() -> None:
    """The plan has the columns, the hardware the operation, and all forms are offered."""
    graph, board = convolution((16, 32, 16), 32), load_board("zu3eg")
    plan = explore(graph, board)
    hardware = to_hardware(graph, plan)
    (decision,) = [d for d in expand(graph).decisions if d.name == "window0"]

    assert {(p.products_per_dsp, p.columns) for p in (o.lanes["matvec1"] for o in decision.options)} >= {
        (4, 1),
        (2, 2),
        (6, 2),
    }
    (plain,) = [d for d in expand(graph, plain=True).decisions if d.name == "window0"]
    assert {option.lanes["matvec1"].columns for option in plain.options} == {1}
    assert plan.nodes["matvec1"].columns == 2
    assert [node.name for node in hardware.nodes if isinstance(node, RowConv)] == ["matvec1"]
    assert plan.solver is not None
    assert graph_cycles(hardware) == plan.solver.cycles
    assert graph_cost(hardware).fits(board.budget)


def rows_plan(**changes: int) -> Plan:
    """A plan by hand of ``convolution``."""
    conv = {"lanes_in": 12, "lanes_out": 4, "columns": 2} | changes
    nodes = {"window0": Lanes(lanes_in=4, lanes_out=12), "matvec1": Lanes(**conv)}
    return Plan(board="zu3eg", clock_mhz=250, input_lanes=1, output_lanes=1, nodes=nodes)


def test_a_plan_with_columns_reads_back(tmp_path: Path) -> None:
    """Columns are written where there are several, and products a slice follow from them."""
    write_text(tmp_path / "plan.json", plan_text(rows_plan()))
    nodes = json.loads((tmp_path / "plan.json").read_text())["nodes"]
    hardware = to_hardware(convolution(), load_plan(tmp_path / "plan.json", convolution()))

    assert nodes == {
        "window0": {"lanes_in": 4, "lanes_out": 12},
        "matvec1": {"lanes_in": 12, "lanes_out": 4, "columns": 2},
    }
    (parallelism,) = [node.parallelism for node in hardware.nodes if isinstance(node, RowConv)]
    assert parallelism == Parallelism(12, 4, 6, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": 4},
            "RowConv 'matvec1' cannot have lanes_in 12, lanes_out 4, products_per_dsp 12, columns 4 [plan]; nearest: "
            "12 -> 4 with products_per_dsp 6 and columns 2, 12 -> 2 with products_per_dsp 6 and columns 2, "
            "12 -> 8 with products_per_dsp 6 and columns 2, 12 -> 16 with products_per_dsp 6 and columns 2",
        ),
        (
            {"columns": 1},
            "Window 'window0' cannot have lanes_in 4, lanes_out 12 [plan]; nearest: 2 -> 18, 4 -> 36, 4 -> 4, 8 -> 8",
        ),
    ],
)
def test_a_plan_that_cannot_be_built_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as error:
        to_hardware(convolution(), rows_plan(**changes))

    assert str(error.value) == message
