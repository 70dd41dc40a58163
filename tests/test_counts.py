"""What fits own counts: parts of products, told by their weights, and fits that have not seen what they judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.product_counts import fitted_luts, product_columns
from benchmarks.schemas import RTL, UNIT_COUNTS
from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec


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
    found: dict[str, float] = product_columns(*product(weight, simd, pe), streams=False)["parts"]
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


def test_no_count_is_judged_by_a_fit_that_has_seen_its_folding() -> None:
    rows = [row for row in (*RTL.rows(), *UNIT_COUNTS.rows()) if "parts" in row]
    before = fitted_luts(rows)
    same = [i for i, row in enumerate(rows) if row["folding"] == rows[0]["folding"]]
    for i in same:
        rows[i]["counted_lut"] *= 100
    after = fitted_luts(rows)
    assert [after[i] for i in same] == pytest.approx([before[i] for i in same])
    assert after != pytest.approx(before)
