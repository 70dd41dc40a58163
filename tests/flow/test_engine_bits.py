"""Losses of layers in fewer bits, measured on images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.networks import residual_blocks
from tests.onnx_models import conv_bn_relu
from toolchain.dse.bits import nearest
from toolchain.engine.cut import cut
from toolchain.engine.precision import weight_noise
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.engine_bits import search_weight_bits
from toolchain.flow.images import Images
from toolchain.flow.options import Check, Search
from toolchain.flow.sensitivity import BITS_FILE, Asked, output_errors
from toolchain.flow.stages import lower
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.products import MatVec


def test_the_error_of_a_layer_is_that_of_the_whole_network_with_it_rounded() -> None:
    """Over sums of branches, windows and more images than run at a time; a name a pass with weights."""
    graph = residual_blocks()
    kind = graph.input.qint
    codes = np.random.default_rng(0).integers(kind.min, kind.max + 1, (18, *graph.input.shape))
    exact = evaluate(graph, codes)[graph.output].astype(float)
    expected = []
    for node in (n for n in graph.nodes if isinstance(n, MatVec)):
        rounded = replace(node, weight=np.rint(nearest(node.weight, 2)).astype(np.int64))
        nodes = tuple(rounded if n is node else n for n in graph.nodes)
        other = evaluate(replace(graph, nodes=nodes), codes)[graph.output]
        expected.append(((exact - other) ** 2).sum() / (exact**2).sum())

    found = output_errors(graph, (2, 8), codes)
    assert list(found) == [p.name for p in cut(graph).passes if p.conv is not None]
    assert [each[2] for each in found.values()] == pytest.approx(expected) and max(expected) > 1e-3
    assert all(each[8] == 0 for each in found.values())


@pytest.mark.parametrize(("name", "measured"), [("digits", True), ("random inputs", False), (None, False)])
def test_losses_are_measured_on_the_data_trained_on_where_it_is_at_hand(
    name: str | None, measured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, also where it is not found, they are the noise of the rounded weights; bits.json tells which."""
    build = lower(conv_bn_relu(tmp_path / "net.onnx"), tmp_path / "b")
    graph, x = build.network.graph, np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)

    def shown(_: Build, check: Check) -> Images:
        assert (check.images, check.count) == (None, 64)
        if name is None:
            raise UserError("no such data set")
        return Images(name, x, None)

    monkeypatch.setattr(Build, "images", shown)
    search_weight_bits(build, Search(time_limit=20.0), Asked((2, 4)))
    found = json.loads((tmp_path / "b" / BITS_FILE).read_text())
    expected = output_errors(graph, (2, 4), encode(graph, x)) if measured else weight_noise(cut(graph), (2, 4))
    assert found["sensitivity"] == {name: {str(b): loss for b, loss in row.items()} for name, row in expected.items()}
    assert found["losses"] == ("8 images of digits" if measured else "noise of rounded weights")
