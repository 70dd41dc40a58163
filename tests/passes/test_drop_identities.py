"""A requantizer that gives every code back is not built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.types import QInt, Value
from toolchain.ir.verify import Level, verify
from toolchain.passes.drop_identities import AT_ONCE, drop_identities


def thresholds(b: Builder, x: Value) -> Value:
    """Every code of ``x`` but the lowest as a threshold."""
    steps = np.arange(x.qint.min + 1, x.qint.max + 1)[None]
    return b.append(Threshold, (x,), x.shape, thresholds=steps, start=np.array([x.qint.min]), step=np.array([1]))


def table(b: Builder, x: Value) -> Value:
    """Every code of ``x`` in order, a row a channel."""
    rows = np.arange(x.qint.min, x.qint.max + 1)[None].repeat(x.shape[2], axis=0)
    return b.append(Lookup, (x,), x.shape, table=rows, low=x.qint.min)


def kinds(graph: Graph) -> list[str]:
    return [type(node).__name__ for node in graph.nodes]


@pytest.mark.parametrize("same", [Builder.unchanged, thresholds, table])
@pytest.mark.parametrize("signed", [False, True])
def test_readers_read_the_value_itself(same: Callable[[Builder, Value], Value], signed: bool) -> None:
    """One behind the other, behind a maximum and behind the input, whose range fills its type."""
    b = Builder((4, 4, 3), 5, signed=signed)
    x = b.mulshift(b.matvec(same(b, b.input), 3), 4, signed=signed)
    x = b.pool(b.window(same(b, x), (2, 2), pads=(0, 0, 0, 0)), 4)
    graph = b.graph(b.matvec(same(b, same(b, x)), 2))
    dropped = verify(drop_identities(graph), Level.INTEGER)
    frames = random_input(graph, 4)

    assert kinds(dropped) == ["MatVec", "MulShift", "Window", "Pool", "MatVec"]
    np.testing.assert_array_equal(evaluate(dropped, frames)[dropped.output], evaluate(graph, frames)[graph.output])
    assert drop_identities(dropped) is dropped


def test_an_output_that_changes_nothing_is_the_value_in_front() -> None:
    """But not where that is the network's input."""
    b = Builder((2, 2, 3), 4)
    graph = b.graph(b.unchanged(b.mulshift(b.matvec(b.input, 3), 4)))
    dropped = verify(drop_identities(graph), Level.INTEGER)
    assert (kinds(dropped), dropped.answer.name) == (["MatVec", "MulShift"], graph.answer.name)

    b = Builder((2, 2, 3), 4)
    graph = b.graph(b.unchanged(b.input))
    assert drop_identities(graph) is graph


def test_the_sum_of_one_position_is_the_position() -> None:
    b = Builder((2, 2, 3), 4, signed=True)
    x = b.global_sum(b.mulshift(b.global_sum(b.input), 4))
    dropped = verify(drop_identities(b.graph(b.matvec(x, 2))), Level.INTEGER)
    assert kinds(dropped) == ["GlobalSum", "MulShift", "MatVec"]


def test_of_codes_what_reads_sums_stays() -> None:
    """Also where a maximum of them is between; the requantizer of its codes goes."""
    b = Builder((4, 4, 2), 2)
    x = b.unchanged(b.pool(b.window(b.global_sum(b.input), (1, 1), pads=(0, 0, 0, 0)), 1))
    graph = b.graph(b.matvec(b.unchanged(x), 2))
    assert kinds(drop_identities(graph, of_codes=True)) == ["GlobalSum", "Window", "Pool", "MulShift", "MatVec"]
    assert kinds(drop_identities(graph)) == ["GlobalSum", "Window", "Pool", "MatVec"]


def test_wide_codes_are_all_tried() -> None:
    """They are tried in parts; one that changes lies in the third."""
    b = Builder((2, 2, 3), 12, signed=True)
    rows = np.arange(-2048, 2048)[None].repeat(3, axis=0)
    assert 2 * AT_ONCE < 3000 < 3 * AT_ONCE
    for changed in (0, 1):
        rows[2, 3000] += changed
        x = b.append(Lookup, (b.input,), b.input.shape, table=rows.copy(), low=-2048)
        graph = b.graph(b.matvec(x, 2))
        assert len(drop_identities(graph).nodes) == len(graph.nodes) - 1


def test_one_code_that_changes_or_another_type_keeps_it() -> None:
    """A table that differs in the middle of one channel; a clip; codes of a wider type."""
    b = Builder((2, 2, 3), 4)
    rows = np.arange(16)[None].repeat(3, axis=0)
    rows[1, 7] = 8
    x = b.append(Lookup, (b.input,), b.input.shape, table=rows, low=0)
    clipped = {"mul": np.array([1]), "add": np.array([0]), "shift": 0, "low": 0, "high": 14}
    graph = b.graph(b.append(MulShift, (x,), x.shape, **clipped))
    assert drop_identities(graph) is graph

    b = Builder((2, 2, 3), 4)
    y = b.unchanged(b.matvec(b.input, 3))
    b.nodes[-1] = replace(b.nodes[-1], outputs=(replace(y, type=QInt(y.qint.bits + 1, True)),))
    graph = b.graph(b.nodes[-1].output)
    assert drop_identities(graph) is graph
