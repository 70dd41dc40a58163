"""What fits own counts: parts of units, told by their constants, and fits that have not seen what they judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.part_counts import fitted_luts, part_columns
from benchmarks.schemas import RTL, UNIT_COUNTS
from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold


def product(weight: np.ndarray, simd: int, pe: int, products: int = 0) -> tuple[Graph, MatVec]:
    """A unit of ``weight`` (outputs, inputs) by 4 bits on inputs of 4."""
    b = Builder((1, 1, weight.shape[1]), 4)
    graph = b.graph(b.matvec(b.input, len(weight)))
    (made,) = graph.nodes
    assert isinstance(made, MatVec)
    graph = with_lanes(graph.with_nodes([replace(made, weight=weight)]), {made.name: (simd, pe, products)})
    (node,) = graph.nodes
    assert isinstance(node, MatVec)
    return graph, node


def parts(weight: np.ndarray, simd: int, pe: int) -> dict[str, float]:
    found: dict[str, float] = part_columns(*product(weight, simd, pe), streams=False)["parts"]
    return found


def test_lanes_without_weights_and_equal_columns_of_bits_are_built_once() -> None:
    weight = np.random.default_rng(0).integers(-7, 8, (8, 8))
    whole = parts(weight, 4, 2)
    weight[:, 1::4] = 0
    less = parts(weight, 4, 2)
    assert less["product"] == whole["product"] * 3 / 4 and less["tree"] < whole["tree"]
    assert less["rom"] < whole["rom"] <= 4 * 8

    weight[:, 2::4] = weight[:, 3::4]
    assert parts(weight, 4, 2)["rom"] < less["rom"]
    assert parts(weight, 4, 2)["product"] == less["product"]


def test_weights_of_one_word_are_additions_and_those_of_a_few_tables() -> None:
    weight = np.full((2, 4), 4)
    assert parts(weight, 4, 2) == {"control": 100.0, "tree": parts(np.full((2, 4), 2), 4, 2)["tree"]}
    weight = np.random.default_rng(1).integers(-7, 8, (32, 4)) | 1
    assert parts(weight[:8], 4, 2)["product"] == 8 * 8  # a result bit of two address bits and four of the input
    assert parts(weight, 4, 2)["product"] > 8 * 8


def requantizer_parts(graph: Graph, lanes: int) -> dict[str, float]:
    (name,) = (node.name for node in graph.nodes)
    graph = with_lanes(graph, {name: (lanes, lanes, 0)})
    found: dict[str, float] = part_columns(graph, graph.nodes[0], streams=False)["parts"]
    return found


def mul_shift(add: Sequence[int], shift: int) -> Graph:
    b = Builder((2, 2, 8), 10, signed=True)
    numbers = {"mul": np.ones(8, dtype=np.int64), "add": np.array(add), "base": np.zeros(8, dtype=np.int64)}
    return b.graph(b.append(MulShift, (b.input,), b.input.shape, shift=shift, low=0, high=15, **numbers))


def threshold(rows: Sequence[Sequence[int]], bits: int) -> Graph:
    b = Builder((2, 2, len(rows)), bits, signed=True)
    ones = np.ones(len(rows), dtype=np.int64)
    numbers = {"thresholds": np.array(rows), "step": ones, "start": 0 * ones}
    return b.graph(b.append(Threshold, (b.input,), b.input.shape, **numbers))


def test_a_requantizer_without_offset_adds_nothing_and_one_without_shift_rounds_nothing() -> None:
    assert {"sum", "rounding"} <= requantizer_parts(mul_shift([3] * 8, 2), 4).keys()
    assert "sum" not in requantizer_parts(mul_shift([0] * 8, 2), 4)
    assert "rounding" not in requantizer_parts(mul_shift([3] * 8, 0), 4)


def test_a_narrow_comparison_of_few_turns_is_a_table_and_what_no_input_reaches_is_none() -> None:
    turns = [[-5, 0, 3], [-4, 1, 2]] * 2
    assert requantizer_parts(threshold(turns, 4), 2)["compare"] < requantizer_parts(threshold(turns, 9), 2)["compare"]
    assert "compare" not in requantizer_parts(threshold([[-8] * 3] * 4, 4), 2)


def test_a_wired_threshold_is_a_lut_for_three_bits_and_equal_columns_of_a_memory_are_one() -> None:
    assert requantizer_parts(threshold([[-5, 0, 3]] * 4, 9), 4)["compare"] == 4 * 3 * 3
    varied = threshold([[5, 5, 5], [6, 6, 6], [5, 5, 5], [6, 6, 6]], 9)
    assert requantizer_parts(varied, 1)["rom"] == 1  # bit 0, and bit 1, its inverse


def test_no_count_is_judged_by_a_fit_that_has_seen_its_folding() -> None:
    rows = [row for row in (*RTL.rows(), *UNIT_COUNTS.rows()) if "parts" in row]
    before = fitted_luts(rows)
    same = [i for i, row in enumerate(rows) if (row["fit"], row["folding"]) == (rows[0]["fit"], rows[0]["folding"])]
    for i in same:
        rows[i]["counted_lut"] *= 100
    after = fitted_luts(rows)
    assert [after[i] for i in same] == pytest.approx([before[i] for i in same])
    assert after != pytest.approx(before)
