"""Weights as constants: when a product can have them, what they take, and what the explorer makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.boards import load_board
from toolchain.dse.bound import bound
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Parallelism, QInt
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.pipeline import to_hardware
from toolchain.units.adder_graph import MAX_DIGITS, AdderGraph, adder_graph, product_graph
from toolchain.units.cost_model.parts import signed_digits
from toolchain.units.table import options, unit_cost
from toolchain.units.zeros import zero_weight_luts

BOARD = load_board("zu3eg")


def product(inputs: int, outputs: int, *, kept: float = 1.0, bits: int = 4) -> tuple[MatVec, Builder]:
    """A product with a share of its weights ``kept``, the others zero."""
    b = Builder((1, 1, inputs), 4)
    b.matvec(b.input, outputs, bits)
    (node,) = b.nodes
    assert isinstance(node, MatVec)
    return replace(node, weight=node.weight * (b.rng.random(node.weight.shape) < kept)), b


def run(graph: AdderGraph, x: np.ndarray) -> np.ndarray:
    """The outputs (frames, N) for ``x`` (frames, K), every sum within its type."""
    values = list(x.T)
    for s in graph.sums:
        a, b = values[s.left] << s.left_shift, values[s.right] << s.right_shift
        values.append(a - b if s.minus else a + b)
        assert s.type.min <= values[-1].min() and values[-1].max() <= s.type.max
    outputs = [0 * values[0] if o.source is None else values[o.source] << o.shift for o in graph.outputs]
    return np.stack([-y if o.negative else y for y, o in zip(outputs, graph.outputs, strict=True)], axis=1)


@pytest.mark.parametrize("act", [QInt(1, False), QInt(4, True), QInt(8, False)])
@pytest.mark.parametrize(
    ("shape", "low", "high", "kept"),
    [((5, 9), -8, 7, 1.0), ((12, 20), -1, 1, 0.5), ((3, 2), 0, 0, 1.0), ((4, 6), -128, 127, 0.3)],
)
def test_the_sums_are_the_product_and_stay_in_their_types(
    shape: tuple[int, int], low: int, high: int, kept: float, act: QInt
) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(low, high + 1, shape) * (rng.random(shape) < kept)
    x = rng.integers(act.min, act.max + 1, (50, shape[1]))
    x[0], x[1] = act.min, act.max

    np.testing.assert_array_equal(run(adder_graph(weight, act), x), x @ weight.T)


@pytest.mark.parametrize(
    ("groups", "channels", "outputs", "taps"), [(2, 3, 4, 9), (5, 4, 1, 1), (6, 1, 2, 4), (6, 1, 2, 1)]
)
def test_groups_are_searched_apart_and_make_one_network(groups: int, channels: int, outputs: int, taps: int) -> None:
    """It computes the product, with no more sums than a search of the whole matrix finds."""
    b = Builder((1, 1, groups * channels * taps), 4, signed=True)
    b.grouped(b.input, groups * outputs, groups, taps=taps)
    (node,) = b.nodes
    assert isinstance(node, GroupedMatVec)
    act = b.input.qint
    x = b.rng.integers(act.min, act.max + 1, (50, groups * channels * taps))
    apart, whole = product_graph(node, act), adder_graph(node.matrix, act)

    np.testing.assert_array_equal(run(apart, x), x @ node.matrix.T)
    assert len(apart.sums) <= len(whole.sums)


def test_no_sum_is_wider_than_its_exact_range() -> None:
    """Of 15 x0 + 15 x1 with 4-bit inputs 0 to 450: nine bits, whatever the network's intermediate shifts."""
    graph = adder_graph(np.array([[15, 15]]), QInt(4, False))

    assert graph.sums[-1].type == QInt(9, False)


def test_common_terms_are_added_once() -> None:
    """Two equal outputs and one that is four times another take the additions of one; a zero output takes none."""
    row = np.array([1, -2, 4, 1, 0, 8])
    graph = adder_graph(np.stack([row, row, 4 * row, 0 * row]), QInt(4, True))

    assert len(graph.sums) == 4
    assert graph.outputs[3].source is None


def test_digits_are_those_of_the_signed_form() -> None:
    node, _ = product(30, 20, bits=8)

    assert node.digits == sum(map(signed_digits, node.weight.ravel().tolist()))


def test_only_small_products_can_be_constant_and_only_with_all_lanes() -> None:
    small, b = product(18, 4)
    assert [p for p in options(small, b.input, None) if p.constant] == [Parallelism(18, 4, constant=True)]
    assert not [p for p in options(small, b.input, Parallelism(2, 2)) if p.constant]

    large, b = product(80, 60)
    assert large.digits > MAX_DIGITS
    assert not [p for p in options(large, b.input, None) if p.constant]
    sparse, b = product(80, 60, kept=0.3)
    assert [p for p in options(sparse, b.input, None) if p.constant]


def test_zero_weights_take_nothing() -> None:
    """A tenth of the weights takes less than a fifth of the LUTs, and no block RAM or DSP slice either way."""
    products = product(50, 12), product(50, 12, kept=0.1)
    costs = [unit_cost(node, b.input, Parallelism(50, 12, constant=True)) for node, b in products]

    assert 5 * costs[1].lut < costs[0].lut
    assert all((c.dsp, c.bram18) == (0, 0) for c in costs)


def test_zeros_save_what_a_dense_matrix_takes_more() -> None:
    """Searched where the dense matrix is small enough, extended from as many weights as are searched beyond."""
    node, b = product(50, 12, kept=0.3)
    saved = zero_weight_luts(node, b.input.qint)
    dense = [unit_cost(p, b.input, Parallelism(50, 12, constant=True)).lut for p in (node, product(50, 12)[0])]
    assert 0.8 < saved / (dense[1] - dense[0]) < 1.25
    assert zero_weight_luts(replace(node, weight=np.where(node.weight == 0, 1, node.weight)), b.input.qint) == 0
    assert zero_weight_luts(replace(node, weight=0 * node.weight), b.input.qint) == 0

    large, b = product(160, 40, kept=0.05)
    assert saved < zero_weight_luts(large, b.input.qint) < 160 * 40 * 12


def fast_conv() -> Graph:
    """A convolution and a sparse one, both without padding, whose every position is due in a cycle."""
    b = Builder((16, 16, 2), 4)
    x = b.threshold(b.matvec(b.window(b.input, pads=(0, 0, 0, 0)), 8), 2)
    b.matvec(b.window(x, pads=(0, 0, 0, 0)), 16)
    sparse = b.nodes[-1]
    assert isinstance(sparse, MatVec)
    b.nodes[-1] = replace(sparse, weight=sparse.weight * (b.rng.random(sparse.weight.shape) < 0.1))
    return b.graph(b.threshold(b.nodes[-1].output, 2))


def test_the_explorer_builds_sparse_weights_into_logic() -> None:
    """At one position a cycle constants are cheapest; the hardware graph computes the same, below the bound."""
    graph = fast_conv()
    plan = explore(graph, BOARD)
    hardware = to_hardware(graph, plan)
    constant = [node.name for node in hardware.nodes if node.parallelism and node.parallelism.constant]
    x = np.random.default_rng(0).integers(0, 16, (2, 16, 16, 2))

    assert constant
    assert plan.solver is not None
    assert 250e6 / plan.solver.cycles <= bound(graph, BOARD, 250.0).fps
    np.testing.assert_array_equal(evaluate(hardware, x)[hardware.output], evaluate(graph, x)[graph.output])


def test_other_tools_forms_have_no_constants() -> None:
    problem = expand(insert_forks(fast_conv()), plain=True)

    assert not any(p.constant for d in problem.decisions for o in d.options for p in o.lanes.values())
