"""Moves that keep the order of the stream are names, and no units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_maps import Build, joined_positions, unet
from tests.graphs import random_input
from tests.onnx_models import Net
from toolchain.frontend.read import read_qonnx
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import DepthToSpace, Reshape, SpaceToDepth
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.rename_moves import rename_moves


def integer(build: Build, path: Path) -> Graph:
    net = Net((1, 4, 9, 8), seed=21)
    return to_integer(read_qonnx(net.save(path, build(net))).graph)


@pytest.mark.parametrize(("axis", "renamed"), [(2, 4), (3, 4)])
def test_rows_and_columns_are_joined_without_a_unit_of_moves(axis: int, renamed: int, tmp_path: Path) -> None:
    graph = integer(joined_positions(axis, 0.231, 0.117), tmp_path / "net.onnx")
    found = rename_moves(graph)
    assert sum(isinstance(node, DepthToSpace | SpaceToDepth) for node in found.nodes) == 0
    assert sum(isinstance(node, Reshape) for node in found.nodes) == renamed
    x = random_input(graph, 2)
    np.testing.assert_array_equal(evaluate(found, x)[found.output], evaluate(graph, x)[graph.output])


def test_channels_that_become_columns_of_several_stay_a_unit(tmp_path: Path) -> None:
    graph = integer(unet, tmp_path / "net.onnx")
    assert any(isinstance(node, DepthToSpace) for node in graph.nodes)
    assert rename_moves(graph) is graph
