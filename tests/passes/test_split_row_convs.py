"""Convolutions split into a window of one column and a convolution along the rows: the same numbers, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.dse.bound import macs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec, RowConv
from toolchain.ir.ops.window import Window
from toolchain.ir.verify import Level, verify
from toolchain.passes.split_row_convs import row_forms, split_row_convs


def convolution(**window: Any) -> Graph:
    """A convolution and its quantizer."""
    b = Builder((7, 8, 3), 4, signed=True)
    return b.graph(b.threshold(b.matvec(b.window(b.input, **window), 4), 3))


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"pads": (0, 0, 0, 0)},
        {"pads": (2, 1, 0, 1)},
        {"kernel": (2, 5), "pads": (0, 2, 1, 2)},
        {"kernel": (3, 2), "pads": (1, 0, 1, 0), "pad_value": 3},
    ],
    ids=str,
)
def test_a_split_convolution_computes_the_same(window: dict[str, Any]) -> None:
    graph = convolution(**window)
    split = split_row_convs(graph, {"matvec1": None})
    x = random_input(graph)

    assert [type(node) for node in split.nodes[:2]] == [Window, RowConv]
    assert [node.name for node in split.nodes] == [node.name for node in graph.nodes]
    assert split.nodes[0].output.shape[2] == split.nodes[0].taps * 3
    np.testing.assert_array_equal(evaluate(split, x)[split.output], evaluate(graph, x)[graph.output])


def test_a_split_graph_is_a_hardware_graph_and_no_integer_one() -> None:
    split = split_row_convs(convolution(), {"matvec1": None})
    with pytest.raises(AssertionError, match="RowConv is no integer operation"):
        verify(split, Level.INTEGER)
    with pytest.raises(AssertionError, match="stream has a depth"):
        verify(split, Level.HARDWARE)


@pytest.mark.parametrize(
    "window",
    [
        {"stride": (1, 2)},
        {"stride": (2, 1)},
        {"dilation": (1, 2), "pads": (1, 2, 1, 2)},
        {"pads": (1, 1, 1, 0)},
        {"pads": (1, 2, 1, 2)},
        {"pad_value": -1},
        {"kernel": (1, 3), "pads": (0, 1, 0, 1)},
        {"kernel": (3, 1), "pads": (1, 0, 1, 0)},
    ],
    ids=str,
)
def test_what_has_no_such_form_has_the_one_of_a_single_tap(window: dict[str, Any]) -> None:
    """Positions skipped, uneven or other pads than half a kernel of zeros, one row or one column."""
    graph = convolution(**window)

    (form,) = row_forms(graph.nodes)
    single = split_row_convs(graph, {"matvec1": None})
    x = random_input(graph)

    assert isinstance(form[1], RowConv)
    assert form[0] is single.nodes[0] is graph.nodes[0]
    assert form[1].taps == 1
    assert split_row_convs(graph, {"matvec1": 3}) is graph
    np.testing.assert_array_equal(evaluate(single, x)[single.output], evaluate(graph, x)[graph.output])


def test_only_the_named_products_are_changed() -> None:
    graph = convolution()

    assert split_row_convs(graph, {}) is graph
    assert split_row_convs(graph, {"threshold2": None}) is graph
    assert split_row_convs(graph, {"matvec1": 5}) is graph


def test_a_product_without_a_window_has_one_tap() -> None:
    b = Builder((4, 4, 8), 4)
    graph = b.graph(b.matvec(b.input, 4))
    split = split_row_convs(graph, {"matvec0": None})
    x = random_input(graph)

    assert [type(node) for node in split.nodes] == [RowConv]
    np.testing.assert_array_equal(evaluate(split, x)[split.output], evaluate(graph, x)[graph.output])


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_product_of_two_groups_is_a_dense_row_convolution(kernel: int) -> None:
    """Its zeros between the groups are no multiplications of the network; a product of more groups stays one."""
    b = Builder((5, 6, 12), 4)
    x = b.window(b.input, (kernel, kernel)) if kernel > 1 else b.input
    graph = b.graph(b.grouped(x, 8, 2, taps=kernel**2))
    name = graph.nodes[-1].name
    split = split_row_convs(graph, {name: None})
    x = random_input(graph)

    assert isinstance(split.nodes[-1], RowConv)
    assert macs(split) == macs(graph)
    np.testing.assert_array_equal(evaluate(split, x)[split.output], evaluate(graph, x)[graph.output])
    three = b.graph(b.grouped(b.input, 6, 3))
    assert split_row_convs(three, {three.nodes[-1].name: None}) is three


def test_the_split_keeps_origin_and_output() -> None:
    graph = convolution()
    window, conv = split_row_convs(graph, {"matvec1": None}).nodes[:2]
    matvec = graph.nodes[1]

    assert isinstance(matvec, MatVec)
    assert (conv.origin, conv.outputs) == (matvec.origin, matvec.outputs)
    assert replace(window, outputs=graph.nodes[0].outputs).origin == graph.nodes[0].origin
