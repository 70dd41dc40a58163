"""The comparison with the QONNX file: the same answer however little memory there is, and what it holds."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import Net, flatten_linear, residual
from toolchain.errors import UserError, VerificationError
from toolchain.frontend import agreement
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_in_parts, execute_qonnx
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.model import Quantize
from toolchain.ir.ops.products import MatVec
from toolchain.lowering.pipeline import to_integer
from toolchain.memory import RESERVED, Memory


@pytest.fixture
def network(tmp_path: Path) -> tuple[ModelFile, Graph]:
    model = read_qonnx(residual(tmp_path / "net.onnx"))
    return model, to_integer(model.graph)


def images(graph: Graph, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (count, *graph.input.shape)).astype(np.float32)


def test_pieces_of_a_file_give_the_tensors_of_the_whole(network: tuple[ModelFile, Graph]) -> None:
    """Batches, single images, and single images in as many pieces as there are tensors."""
    model, integer = network
    names = [node.outputs[0] for node in load_onnx(model.path).nodes]
    names = [name for name in names if name in model.layouts]
    sizes = {name: prod(model.layouts[name].shape) for name in names}
    x = model.layout.from_ir(images(integer))
    expected = execute_qonnx(model.path, x, names)
    for batch, room in ((3, 1 << 30), (1, 1 << 30), (1, 2 * max(sizes.values()) * 4), (1, 1)):
        done = []
        for part, tensors in execute_in_parts(model.path, len(x), lambda p: x[p], sizes, batch=batch, room=room):
            found = dict(tensors)
            assert list(found) == names
            for name in names:
                np.testing.assert_array_equal(found[name], expected[name][part])
            done.append(part)
        assert sum(part.stop - part.start for part in done) == len(x)


def test_a_quantizer_of_which_only_the_shape_is_read_is_none_of_the_networks(tmp_path: Path) -> None:
    """As onnxruntime's QOperator files hold beside a reshape of codes."""
    net = Net(("N", 2, 4, 4))
    conv = net.conv(net.quant("x", 8), net.weight(3, 2, 1, 1))
    real, shape = net.quant(conv, 4), net.add("Shape", net.quant(conv, 8))
    model = read_qonnx(net.save(tmp_path / "net.onnx", net.add("Reshape", real, shape)))
    integer = to_integer(model.graph)
    assert [node.tensor for node in model.graph.nodes if isinstance(node, Quantize)] == ["t0", real]
    assert compare(model, integer, images(integer)).mismatches == 0


def test_memory_changes_nothing_of_the_answer(network: tuple[ModelFile, Graph]) -> None:
    """All images together, and one at a time in pieces."""
    model, integer = network
    comparison = agreement._Comparison(model, integer)
    tight = Memory(RESERVED + comparison.frame_bytes + 1)
    roomy, poor = compare(model, integer, images(integer)), compare(model, integer, images(integer), tight)

    assert replace(roomy, worst=0.0, output_error=0.0) == replace(poor, worst=0.0, output_error=0.0)
    assert (roomy.images, roomy.mismatches) == (5, 0)
    # float64 sums of other shapes differ in their last bits
    assert poor.output_error == pytest.approx(roomy.output_error, abs=1e-9)


@pytest.mark.parametrize("room", ["all", "little"])
def test_a_wrong_weight_is_found_in_any_memory(network: tuple[ModelFile, Graph], room: str) -> None:
    model, integer = network
    first = next(node for node in integer.nodes if isinstance(node, MatVec))
    wrong = rewrite_nodes(integer, lambda n: replace(n, weight=-n.weight) if n is first else n)
    least = RESERVED + agreement._Comparison(model, integer).frame_bytes + 1

    with pytest.raises(VerificationError, match=r"^quantizer .* \(ONNX Quant_3\): \d+ codes differ from QONNX"):
        compare(model, wrong, images(wrong), Memory() if room == "all" else Memory(least))


@pytest.mark.parametrize("room", ["all", "little"])
def test_a_wrong_weight_behind_the_last_quantizer_is_found_in_any_memory(tmp_path: Path, room: str) -> None:
    """One code of the weights that is off by one: the outputs are no codes, and are held to float32's error."""
    model = read_qonnx(flatten_linear(tmp_path / "net.onnx"))
    integer = to_integer(model.graph)
    x = images(integer)
    assert compare(model, integer, x).output_error < 1e-5
    last = [node for node in integer.nodes if isinstance(node, MatVec)][-1]
    weight = last.weight + (np.arange(last.weight.size).reshape(last.weight.shape) == 3)
    wrong = rewrite_nodes(integer, lambda n: replace(n, weight=weight) if n is last else n)
    least = RESERVED + agreement._Comparison(model, integer).frame_bytes + 1

    match = r"^output 't14' is up to \S+ times further from QONNX's than float32 rounding reaches$"
    with pytest.raises(VerificationError, match=match):
        compare(model, wrong, x, Memory() if room == "all" else Memory(least))


def test_a_batch_norm_whose_mean_is_far_from_its_values_agrees(tmp_path: Path) -> None:
    """Its shift is the small difference of two large numbers, which float32 rounds."""
    net, one = Net((1, 3, 4, 4)), np.ones(3)
    given = [net.const(array) for array in (one, 1e5 * one, 1e5 * np.sqrt(0.3) * one, 0.3 * one)]
    path = net.save(tmp_path / "net.onnx", net.add("BatchNormalization", net.quant("x"), *given, epsilon=0.0))
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    found = compare(model, integer, images(integer))
    assert found.mismatches == 0 and found.output_error > 1e-4


def test_less_than_one_image_needs_is_refused(network: tuple[ModelFile, Graph]) -> None:
    """The line says how much it wants."""
    model, integer = network
    with pytest.raises(UserError, match=r"^the comparison with the QONNX file wants \d+ MB of memory for one image"):
        compare(model, integer, images(integer), Memory(RESERVED + 10))
