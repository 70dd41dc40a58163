"""`fpgaflow check`: every node judged, before any work."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.onnx_models import NETS, Net, conv_bn_relu
from tests.verdicts import demand_one_verdict
from toolchain.cli import app
from toolchain.errors import UserError
from toolchain.flow.coverage import check


def test_a_network_that_can_be_built(tmp_path: Path) -> None:
    found = check(conv_bn_relu(tmp_path / "net.onnx"))

    assert found.supported
    assert found.verdict == "net.onnx: all 6 nodes can be built, 1 of them folded"
    assert [(n.name, n.op, n.status) for n in found.nodes] == [
        ("Quant_0", "Quant", "supported"),
        ("Quant_1", "Quant", "folded"),
        ("Conv_2", "Conv", "supported"),
        ("BatchNormalization_3", "BatchNormalization", "supported"),
        ("Relu_4", "Relu", "supported"),
        ("Quant_5", "Quant", "supported"),
    ]


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_it_agrees_with_the_export(build, tmp_path: Path) -> None:
    assert demand_one_verdict(build(tmp_path / "net.onnx")) is None


def test_it_names_the_node_that_the_export_names_first(tmp_path: Path) -> None:
    """Lowering refuses a node, reading a later one: the export reads the whole file before it lowers."""
    net = Net((1, 3, 6, 6))
    x = net.conv(net.quant("x"), net.weight(4, 3, 1, 1))
    x = net.conv(net.add("Relu", x), net.weight(4, 4, 1, 1), name="unquantized")
    path = net.save(tmp_path / "net.onnx", net.add("Sinh", net.quant(x), name="reading"))
    fault = demand_one_verdict(path)

    assert fault is not None
    assert fault.what == "the operation Sinh is not supported"
    assert [n.name for n in check(path).nodes if n.status == "refused"] == ["unquantized", "reading"]


def test_it_names_the_maker_of_an_output_whose_channels_are_put_in_order(tmp_path: Path) -> None:
    """The node that puts them in order is the last one that is made, not the last node's of the file."""
    net = Net((1, 4, 4, 4))
    x = net.add("Reshape", net.quant("x", 4), net.const([1, 2, 2, 4, 4], np.int64))
    x = net.add("Reshape", net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), net.const([1, 4, 4, 4], np.int64))
    x = net.add("MaxPool", net.add("Relu", x), kernel_shape=[2, 2], name="pool")
    path = net.save(tmp_path / "net.onnx", net.conv(net.quant(x), net.weight(4, 4, 1, 1), name="last"), x)
    fault = demand_one_verdict(path)

    assert fault is not None and fault.what == "a ReLU whose result is not quantized"
    assert [n.name for n in check(path).nodes if n.status == "refused"] == ["pool"]


def test_a_relu_in_front_of_a_refused_node_is_not_blamed(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 6))
    x = net.add("Sinh", net.add("Relu", net.quant("x")), name="bad")
    found = check(net.save(tmp_path / "net.onnx", net.conv(x, net.weight(4, 3, 1, 1))))

    assert [n.name for n in found.nodes if n.status == "refused"] == ["bad"]


def refused_everywhere(path: Path) -> Path:
    """An unknown operation, a float weight, an unquantized ReLU in front of a layer, and what hangs behind them."""
    net = Net((1, 3, 6, 6))
    x = net.add("Sin", net.quant("x"), name="act")
    x = net.conv(x, net.weight(4, 3, 1, 1))
    x = net.conv(net.add("Relu", x), net.weight(4, 4, 1, 1), name="unquantized")
    x = net.conv(x, net.const(np.ones((4, 4, 1, 1))), name="float [bold]")
    return net.save(path, net.quant(x, name="behind"))


def test_it_goes_on_behind_a_refused_node(tmp_path: Path) -> None:
    found = check(refused_everywhere(tmp_path / "net.onnx"))
    status = {n.name: (n.status, n.reason) for n in found.nodes}

    assert not found.supported
    assert status["act"] == ("refused", "the operation Sin is not supported")
    assert status["unquantized"] == ("refused", "a ReLU whose result is not quantized")
    assert status["float [bold]"][1].endswith("is not quantized")
    assert status["behind"] == ("unknown", "reads 't7', which a refused node computes")
    assert found.verdict.startswith("net.onnx: 3 of 9 nodes refused and 1 behind them not judged; first 'act' (Sin)")


def test_the_command(tmp_path: Path) -> None:
    good = CliRunner().invoke(app, ["check", str(conv_bn_relu(tmp_path / "net.onnx"))])
    bad = CliRunner().invoke(app, ["check", str(refused_everywhere(tmp_path / "bad.onnx"))])

    assert good.exit_code == 0
    assert "all 6 nodes can be built" in good.output
    assert bad.exit_code == 2
    assert "float [bold]" in bad.output
    assert "3 of 9 nodes refused" in bad.output


def test_a_file_that_is_no_onnx(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no")

    with pytest.raises(UserError, match="^this is not an ONNX file"):
        check(tmp_path / "net.onnx")


@pytest.mark.needs_data
def test_mobilenet_is_supported() -> None:
    path = Path(os.environ.get("FPGAFLOW_DATA", "")) / "models" / "mobilenet_v2_a8w6b32.onnx"
    if not path.is_file():
        pytest.skip("set FPGAFLOW_DATA to a folder with models/mobilenet_v2_a8w6b32.onnx")

    assert check(path).supported


def test_a_power_of_the_input_is_left_to_the_host(tmp_path: Path) -> None:
    """As of a power spectrum: between layers a square is built."""
    net = Net((1, 3, 6, 6))
    x = net.quant(net.add("Pow", "x", net.const(2.0)), 8, 0.05)
    x = net.quant(net.add("Pow", net.conv(x, net.weight(4, 3, 3, 3)), net.const(2.0)), 6, 0.2)
    found = check(net.save(tmp_path / "net.onnx", x))
    powers = [node for node in found.nodes if node.op == "Pow"]
    assert found.supported and [node.status == "host" for node in powers] == [True, False]
