"""Grouped products against dense ones: what the explorer makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graphs import Builder
from toolchain.boards import load_board
from toolchain.dse.bound import macs
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Parallelism, QInt
from toolchain.passes.plain_forms import plain_forms
from toolchain.units.table import schedule, unit_cost
from toolchain.units.zeros import zero_weight_luts


def layers(count: int, groups: int, *, channels: int = 128, size: int = 16, bits: int = 8) -> Graph:
    """Grouped 3 x 3 convolutions one behind the other."""
    b = Builder((size, size, channels), bits)
    x = b.input
    for _ in range(count):
        x = b.mulshift(b.grouped(b.window(x), channels, groups, bits, taps=9), bits)
    return b.graph(x)


def test_six_layers_of_32_groups_fit_where_dense_ones_do_not() -> None:
    """27,648 weights of 8 bits are stored, not 884,736; a frame takes one in 32 of the multiplications."""
    graph, board = layers(6, 32), load_board("zu3eg")
    plan = explore(graph, board)

    assert sum(macs(plain_forms(graph)).values()) == 32 * sum(macs(graph).values())
    assert plan.solver is not None
    assert plan.solver.cycles <= 16 * 16 * 64  # 18 products a cycle in each layer
    with pytest.raises(UserError, match="does not fit"):
        explore(plain_forms(graph), board)


def test_a_group_at_a_time_takes_a_share_of_the_dense_products_cycles_and_weights() -> None:
    """The same multipliers; the weight memory is as many times shallower as there are groups."""
    graph = layers(1, 8, channels=64)
    grouped, dense = graph.nodes[1], plain_forms(graph).nodes[1]
    assert isinstance(grouped, GroupedMatVec)
    assert isinstance(dense, MatVec)
    x, lanes = graph.nodes[0].output, Parallelism(4, 4, 1)
    ours, theirs = unit_cost(grouped, x, lanes), unit_cost(dense, x, lanes)

    assert 8 * schedule(grouped, x, lanes).cycles == schedule(dense, x, lanes).cycles
    assert ours.dsp == theirs.dsp == 16
    assert ours.bram18 == 4  # 288 words of 32 bits in each of four, instead of 2,304
    assert theirs.bram18 >= 4 * ours.bram18


def test_several_groups_at_once_multiply_only_within_each() -> None:
    """Four groups of four channels, all taps: 4 x 4 x 36 multipliers, as much faster than one group."""
    graph = layers(1, 32)
    node, x = graph.nodes[1], graph.nodes[0].output
    one, four = Parallelism(36, 4, 1), Parallelism(144, 16, 1)

    assert schedule(node, x, one).cycles == 4 * schedule(node, x, four).cycles == 16 * 16 * 32
    assert unit_cost(node, x, four).dsp == 4 * unit_cost(node, x, one).dsp == 576


def test_zeros_between_groups_are_no_pruned_weights() -> None:
    """What zero weights save in a unit of constants is asked of the weights inside the groups."""
    graph = layers(1, 4, channels=8, bits=4)
    node = graph.nodes[1]
    assert isinstance(node, GroupedMatVec)
    full = replace(node, weight=node.weight | 1)
    half = replace(full, weight=full.weight * (full.weight % 3 != 0))

    assert zero_weight_luts(full, QInt(4, False)) == 0
    assert zero_weight_luts(half, QInt(4, False)) > 0
