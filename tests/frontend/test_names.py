"""Files whose names meet: empty, repeated, or what a stage would call something of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_qonnx, execute_reference
from toolchain.frontend.read import read_qonnx
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.pipeline import hardware_form


def crowded(path: Path, *, node_names: str = "given", thresholds: bool = False) -> Path:
    """Two quantizers of one tensor, branches that meet, and tensors called like what stages invent."""
    names = {"given": None, "empty": "", "equal": "same"}
    net = Net((1, 3, 6, 6), seed=11)
    label = names[node_names]

    def named(name: str) -> str:
        return name if label is None else label

    x = net.add("Quant", "x", net.const(0.02), net.const(0), net.const(8), name=named("q"), out="x_0",
                domain=net.domain, signed=0, narrow=0, rounding_mode="ROUND")  # fmt: skip
    y = net.add("Conv", x, net.weight(4, 3, 3, 3), name=named("conv"), out="x_out", pads=[1] * 4)
    first = net.quant(y, 4, 0.1, name=named("q"), signed=0)
    net.nodes[-1].output[0] = first = "q:Div"
    if thresholds:
        second = net.thresholds(y, [[0.1, 0.5, 0.9]], name=named("q"), out="x_fork")
    else:
        second = net.quant(y, 5, np.full((1, 4, 1, 1), 0.21) + np.arange(4).reshape(1, 4, 1, 1) / 50, name=named("q"))
        net.nodes[-1].output[0] = second = "x_codes"
    x = net.add("Add", first, second, name=named("add"), out="q_align")
    return net.save(path, net.quant(x, 6, 0.05, name=named("q")))


@pytest.mark.parametrize("thresholds", [False, True])
@pytest.mark.parametrize("node_names", ["given", "empty", "equal"])
def test_a_file_of_meeting_names_is_read_and_executed(tmp_path: Path, node_names: str, thresholds: bool) -> None:
    path = crowded(tmp_path / "net.onnx", node_names=node_names, thresholds=thresholds)
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    pixels = np.random.default_rng(0).normal(0, 1, (4, 6, 6, 3)).astype(np.float32)

    assert compare(model, integer, pixels).codes > 0
    taps = list(model.values)
    x = model.layout.from_ir(pixels)
    fast, slow = execute_qonnx(path, x, taps), execute_reference(path, x, taps)
    assert all(np.array_equal(fast[name], slow[name]) for name in taps)
    hardware = hardware_form(integer)
    names = [*hardware.values(), *(node.name for node in hardware.nodes)]
    assert len(set(names)) == len(names)


def test_a_fault_of_a_node_without_a_name_of_its_own_says_what_it_makes(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant(net.quant("x", name="same"), name="same")
    with pytest.raises(UserError, match=r"node 'same' \(Sinh\) that makes 'bad'"):
        read_qonnx(net.save(tmp_path / "net.onnx", net.add("Sinh", x, name="same", out="bad")))


def test_a_tensor_that_two_nodes_make_is_refused(tmp_path: Path) -> None:
    net = Net((1, 3))
    x = net.quant("x", name="first")
    net.add("Relu", x, out="twice")
    net.add("Neg", x, out="twice", name="neg")
    with pytest.raises(UserError, match=r"tensor 'twice' is defined twice \[net.onnx, node 'neg'"):
        read_qonnx(net.save(tmp_path / "net.onnx", "twice"))
