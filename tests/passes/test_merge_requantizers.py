"""Requantizers of one value with the same numbers are one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Value
from toolchain.ir.verify import Level, verify
from toolchain.passes.merge_requantizers import merge_requantizers


def kinds(graph: Graph) -> list[str]:
    return [type(node).__name__ for node in graph.nodes]


@pytest.mark.parametrize("kind", [Builder.mulshift, Builder.threshold, Builder.lookup])
def test_equal_ones_are_one_also_behind_equal_ones_and_as_outputs(kind: Callable[[Builder, Value, int], Value]) -> None:
    b = Builder((3, 3, 4), 5)
    x = kind(b, b.input, 4)
    again = b.again(x)
    y = kind(b, x, 3)
    b.nodes.append(replace(b.nodes[-1], name="z", inputs=(again.name,), outputs=(replace(y, name="z_out"),)))
    z = b.nodes[-1].output
    graph = b.graph(b.add(y, z), heads=(again, x))
    merged = verify(merge_requantizers(graph), Level.INTEGER)
    frames = random_input(graph, 4)

    assert len(merged.nodes) == 3
    assert [output.value for output in merged.outputs[1:]] == [x.name, x.name]
    before, after = evaluate(graph, frames), evaluate(merged, frames)
    for old, new in zip(graph.outputs, merged.outputs, strict=True):
        np.testing.assert_array_equal(after[new.value], before[old.value])
    assert merge_requantizers(merged) is merged


def test_another_number_or_input_keeps_both() -> None:
    b = Builder((3, 3, 4), 5)
    x = b.mulshift(b.input, 4)
    b.again(x)
    b.nodes[-1] = replace(b.nodes[-1], add=b.nodes[-1].add + np.array([0, 0, 1, 0]))  # type: ignore[call-arg, attr-defined]
    y = b.add(x, b.nodes[-1].output)
    graph = b.graph(b.add(b.mulshift(x, 3), b.mulshift(y, 3)))
    assert merge_requantizers(graph) is graph
