"""Networks over tokens, from the QONNX file to threads that wait for each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.frontend.test_read_tokens import FEATURES, TOKENS, attention, layer_norm, mixed
from tests.graphs import random_input
from tests.onnx_models import Net
from toolchain.cli import app
from toolchain.flow.build import Build
from toolchain.flow.streaming import Streaming
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.maps import Transpose
from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.ops.norm import Norm
from toolchain.simulate.bounded import BoundedCSim
from toolchain.simulate.cycles import unit_cycles

FRAMES = 3


def mixer(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    x = net.quant(net.add("Add", mixed(net, x), x), 5, 0.3)
    return net.linear(net.quant(net.add("ReduceMean", x, axes=[1], keepdims=0), 6, 0.02), FEATURES, 3)


def transformer(net: Net) -> str:
    x = net.quant("x", 6, 0.1)
    x = layer_norm(net, net.quant(net.add("Add", attention(net, layer_norm(net, x)), x), 5, 0.3))
    return net.linear(net.quant(net.add("ReduceMean", x, axes=[1], keepdims=0), 6, 0.02), FEATURES, 3)


NETWORKS = {"mixer": (mixer, {Transpose}), "transformer": (transformer, {MatMul, Norm})}


@pytest.mark.slow
@pytest.mark.needs_gxx
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_over_tokens_is_exact_with_the_fifos_it_gets(network: str, tmp_path: Path) -> None:
    """The export verifies itself; with one thread a unit and FIFOs as deep as sized nothing waits for ever."""
    build, units = NETWORKS[network]
    net = Net((1, TOKENS, FEATURES), seed=43, opset=17)
    net.save(tmp_path / "net.onnx", build(net))
    folder = tmp_path / "build"
    done = CliRunner().invoke(app, ["export", str(tmp_path / "net.onnx"), "--out", str(folder), "--count", "8"])
    report = json.loads((folder / "report.json").read_text())

    assert done.exit_code == 0, done.output
    assert report["verification"]["csim_mismatches"] == 0
    assert all(n["counted_cycles"] in (n["cycles"], None) for n in report["nodes"])
    design = Build(folder).design
    assert isinstance(design, Streaming)
    hardware = design.hardware
    assert units <= {type(node) for node in hardware.nodes}
    files = {str(p.relative_to(folder / "hls")): p.read_text() for p in (folder / "hls").rglob("*") if p.is_file()}
    csim = BoundedCSim(hardware, files)
    x = random_input(hardware, FRAMES)
    np.testing.assert_array_equal(csim.run_bounded(x)[0], evaluate(hardware, x)[hardware.output])
    assert csim.cycles() == unit_cycles(hardware, FRAMES)
