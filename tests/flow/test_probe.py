"""The probe names the first node that deviates, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_qoperator import CodedNet, conv
from tests.onnx_models import conv_bn_relu, residual
from toolchain.flow.probe import Probe, probe
from toolchain.flow.tables import probe_table
from toolchain.frontend.read import read_qonnx
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.products import MatVec
from toolchain.lowering.pipeline import to_integer
from toolchain.memory import RESERVED, Memory


def images(graph: Graph) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (3, *graph.input.shape)).astype(np.float32)


def test_an_exact_network_does_not_deviate(tmp_path: Path) -> None:
    model = read_qonnx(residual(tmp_path / "net.onnx"))
    integer = to_integer(model.graph)
    found = probe(model, integer, images(integer))

    assert found.first is None
    assert found.verdict == "no node deviates on 3 images"
    assert [tap.node for tap in found.taps] == [node.name for node in model.graph.nodes]
    assert all(tap.codes == 0 for tap in found.taps if tap.op == "Quantize")
    assert probe_table(found).row_count == len(found.taps)


def test_a_wrong_weight_is_found_behind_it(tmp_path: Path) -> None:
    """The first quantizer that reads the wrong weight deviates; the ones that only inherit it do not."""
    model = read_qonnx(residual(tmp_path / "net.onnx"))
    integer = to_integer(model.graph)
    first = next(node for node in integer.nodes if isinstance(node, MatVec))
    wrong = rewrite_nodes(integer, lambda n: replace(n, weight=-n.weight) if n is first else n)
    found: Probe = probe(model, wrong, images(integer))

    assert found.first is not None
    assert found.first.origin == ("Quant_3",)
    assert found.verdict.endswith("(ONNX Quant_3)")
    last = found.taps[-1]
    assert (last.codes, bool(last.spread)) == (0, True)


def test_operators_on_codes_have_no_real_results_to_compare(tmp_path: Path) -> None:
    """The file's convolution puts codes out; those are compared."""
    net = CodedNet(np.uint8, dyadic=False)
    model = read_qonnx(net.end(tmp_path / "net.onnx", *conv(net)))
    integer = to_integer(model.graph)
    found = probe(model, integer, images(integer))

    assert found.first is None
    assert [tap.error for tap in found.taps if tap.op == "RealConv"] == [None]
    assert [tap.codes for tap in found.taps if tap.op == "Quantize"] == [0, 0]


def test_a_probe_in_little_memory_finds_the_same(tmp_path: Path) -> None:
    """The QONNX file in pieces of one tensor, on an exact network and on one with a wrong weight."""
    model = read_qonnx(residual(tmp_path / "net.onnx"))
    integer = to_integer(model.graph)
    first = next(node for node in integer.nodes if isinstance(node, MatVec))
    wrong = rewrite_nodes(integer, lambda n: replace(n, weight=-n.weight) if n is first else n)

    for graph in (integer, wrong):
        x = images(graph)
        assert probe(model, graph, x, memory=Memory(RESERVED + 8)) == probe(model, graph, x)


@pytest.mark.needs_gxx
def test_the_command_probes_the_build(tmp_path: Path) -> None:
    """Streams of the C simulation stand beside the float executions."""
    from typer.testing import CliRunner

    from toolchain.cli import app

    path = conv_bn_relu(tmp_path / "net.onnx")
    run = CliRunner().invoke(app, ["export", str(path), "--out", str(tmp_path / "build"), "--probe", "--count", "4"])

    assert run.exit_code == 0, run.output
    assert "C-sim" in run.output
    assert "no node deviates on 4 images" in run.output
