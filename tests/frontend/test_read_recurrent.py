"""Recurrent cells unrolled over a few steps, with quantizers where a trained network has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.export import export_qonnx
from onnx import helper
from torch import nn

from tests.frontend.test_read_ops import assert_exact
from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx

STEPS, FEATURES, HIDDEN = 3, 5, 4


def weights(net: Net, count: int) -> list[tuple[str, str, str]]:
    """Of each gate: a matrix for the step's input, one for the state, a bias."""
    return [
        (net.weight(HIDDEN, FEATURES), net.weight(HIDDEN, HIDDEN), net.const(net.rng.normal(0, 0.3, HIDDEN)))
        for _ in range(count)
    ]


def line(net: Net, x: str, weight: str, bias: str) -> str:
    return net.quant(net.add("Gemm", x, weight, bias, transB=1), 8, 1 / 32)


def gate(net: Net, x: str, h: str, found: tuple[str, str, str], function: str) -> str:
    """The quantized function of a sum of two linear layers."""
    of_input, of_state, bias = found
    total = net.add("Add", line(net, x, of_input, bias), line(net, h, of_state, bias))
    return net.quant(net.add(function, net.quant(total, 8, 1 / 16)), 8, 1 / 128 if function == "Tanh" else 1 / 64)


def gru(net: Net, x: str, h: str, found: list[tuple[str, str, str]]) -> str:
    reset, update = (gate(net, x, h, one, "Sigmoid") for one in found[:2])
    of_input, of_state, bias = found[2]
    kept = net.quant(net.add("Mul", reset, line(net, h, of_state, bias)), 8, 1 / 32)
    new = net.quant(net.add("Tanh", net.add("Add", line(net, x, of_input, bias), kept)), 8, 1 / 128)
    apart = net.quant(net.add("Sub", h, new), 8, 1 / 64)
    return net.quant(net.add("Add", new, net.quant(net.add("Mul", update, apart), 8, 1 / 64)), 8, 1 / 128)


def unrolled_gru(net: Net) -> str:
    """The first state is zeros, a constant of which whole layers are computed."""
    x, h, found = net.quant("x", 6, 0.1), net.quant(net.const(np.zeros((1, HIDDEN))), 8, 1 / 128), weights(net, 3)
    for t in range(STEPS):
        h = gru(net, net.add("Gather", x, net.const(t, np.int64), axis=1), h, found)
    return net.linear(h, HIDDEN, 3)


def unrolled_lstm(net: Net) -> str:
    """The state of the cell has more bits than the gates."""
    x, found = net.quant("x", 6, 0.1), weights(net, 4)
    h, cell = net.linear(net.add("Gather", x, net.const(0, np.int64), axis=1), FEATURES, HIDDEN), ""
    h = net.quant(net.add("Tanh", h), 8, 1 / 128)
    for t in range(STEPS):
        step = net.add("Gather", x, net.const(t, np.int64), axis=1)
        given, kept, told = (gate(net, step, h, one, "Sigmoid") for one in found[:3])
        added = net.quant(net.add("Mul", given, gate(net, step, h, found[3], "Tanh")), 10, 1 / 128)
        cell = (
            net.quant(net.add("Add", net.quant(net.add("Mul", kept, cell), 10, 1 / 128), added), 10, 1 / 128)
            if cell
            else added
        )
        h = net.quant(net.add("Mul", told, net.quant(net.add("Tanh", cell), 8, 1 / 128)), 8, 1 / 128)
    return net.linear(h, HIDDEN, 3)


@pytest.mark.parametrize("build", [unrolled_gru, unrolled_lstm])
def test_every_code_of_an_unrolled_cell(build: Callable[[Net], str], tmp_path: Path) -> None:
    net = Net((1, STEPS, FEATURES), seed=5)
    path = net.save(tmp_path / "net.onnx", build(net))
    assert_exact(path)
    assert check(path).supported


GATES = ("input", "forget", "cell", "output")
QUANTIZERS = [
    "output", "cell_state", *(f"{gate}_acc" for gate in GATES),
    "input_sigmoid", "forget_sigmoid", "cell_tanh", "output_sigmoid", "hidden_state_tanh",
]  # fmt: skip
SCALES = dict.fromkeys(QUANTIZERS, 1 / 128) | dict.fromkeys([f"{gate}_acc" for gate in GATES], 1 / 32)


def brevitas_cell(net: Net, x: str, *, features: int = FEATURES, hidden: int = HIDDEN, **attributes: int) -> str:
    """A QuantLSTMCell as brevitas writes it; returns the prefix of its outputs."""
    shapes = [(hidden, features)] * 4 + [(hidden, hidden)] * 4
    biases = [net.const(net.rng.normal(0, 0.3, hidden)) for _ in GATES]
    zeros, parameters = net.const(np.zeros((1, hidden))), []
    flags: dict[str, Any] = {"batch_first": 1, "reverse_input": 0, "cifg": 0} | attributes
    for name in QUANTIZERS:
        parameters += [net.const(SCALES[name]), net.const(0.0), net.const(8.0)]
        flags |= {f"{name}_signed": int("sigmoid" not in name), f"{name}_rounding_mode": "ROUND"}
        flags["output_sigmoid_narrow_range" if name == "output_sigmoid" else f"{name}_narrow"] = 0
    inputs = [x, zeros, zeros, *(net.weight(*shape, per_channel=False) for shape in shapes), *biases, *parameters]
    out = f"cell{len(net.nodes)}"
    outputs = [f"{out}_{i}" for i in range(3)]
    domain = "qonnx.custom_op.general"
    net.nodes.append(helper.make_node("QuantLSTMCell", inputs, outputs, out, domain=domain, **flags))
    return out


def lines_of(net: Net, cell: str) -> str:
    return net.linear(net.add("Gather", f"{cell}_0", net.const(-1, np.int64), axis=1), HIDDEN, 3)


def last_step(net: Net) -> str:
    return lines_of(net, brevitas_cell(net, net.quant("x", 6, 0.1)))


def coupled_and_reversed(net: Net) -> str:
    """All steps, the last one first."""
    cell = brevitas_cell(net, net.quant("x", 6, 0.1), cifg=1, reverse_input=1)
    return net.linear(net.add("Flatten", f"{cell}_0"), STEPS * HIDDEN, 3)


def last_state_of_two_layers(net: Net) -> str:
    """h[-1] of layers that take (steps, N, features)."""
    x = net.quant(net.add("Transpose", net.quant("x", 6, 0.1), perm=[1, 0, 2]), 6, 0.1)
    first = brevitas_cell(net, x, batch_first=0)
    second = brevitas_cell(net, f"{first}_0", features=HIDDEN, batch_first=0)
    axes = net.const([0], np.int64)
    states = [net.add("Unsqueeze", f"{cell}_1", axes) for cell in (first, second)]
    state = net.add("Gather", net.add("Concat", *states, axis=0), net.const(-1, np.int64), axis=0)
    return net.linear(state, HIDDEN, 3)


def squeezed_state(net: Net) -> str:
    """c.squeeze(0), which torch writes as an If on its size."""
    cell = brevitas_cell(net, net.quant("x", 6, 0.1))
    zero, one = net.const([0], np.int64), net.const([1], np.int64)
    state = net.add("Unsqueeze", f"{cell}_2", zero)
    alone = net.add("Equal", net.add("Gather", net.add("Shape", state), zero), one)
    info = [helper.make_tensor_value_info("branch", 1, None)]
    branches = [
        helper.make_graph([helper.make_node(op, inputs, ["branch"])], op, [], info)
        for op, inputs in (("Squeeze", [state, zero]), ("Identity", [state]))
    ]
    return net.linear(net.add("If", alone, then_branch=branches[0], else_branch=branches[1]), HIDDEN, 3)


@pytest.mark.parametrize("build", [coupled_and_reversed, last_state_of_two_layers, squeezed_state])
def test_every_code_of_an_lstm_of_brevitas(build: Callable[[Net], str], tmp_path: Path) -> None:
    net = Net((1, STEPS, FEATURES), seed=6)
    assert_exact(net.save(tmp_path / "net.onnx", build(net)))


class Speaker(nn.Module):
    """Two layers in both directions, the gates coupled, of which the last step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.x = qnn.QuantIdentity(return_quant_tensor=True)
        options = {"batch_first": True, "bidirectional": True, "coupled_input_forget_gates": True}
        self.lstm = qnn.QuantLSTM(FEATURES, HIDDEN, num_layers=2, **options)
        self.line = qnn.QuantLinear(2 * HIDDEN, 3, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(self.x(x))
        return self.line(steps[:, -1])


def test_an_unrolled_lstm_gives_the_numbers_of_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Speaker(), torch.randn(16, STEPS, FEATURES)
    model(x)
    export_qonnx(model.eval(), x[:1], str(tmp_path / "net.onnx"), dynamo=False)
    (found,) = execute_qonnx(tmp_path / "net.onnx", x.numpy()).values()
    np.testing.assert_allclose(found, model(x).detach().numpy(), rtol=0, atol=1e-6)  # sums of float32


def test_an_lstm_of_real_states_is_refused_with_what_to_do(tmp_path: Path) -> None:
    net = Net((STEPS, 1, FEATURES))
    weights = [net.weight(1, 4 * HIDDEN, n, per_channel=False) for n in (FEATURES, HIDDEN)]
    cell = net.add("LSTM", net.quant("x"), *weights, hidden_size=HIDDEN)
    with pytest.raises(
        UserError, match="LSTM is not supported .*; its states are real numbers: take brevitas' QuantLSTM"
    ):
        read_qonnx(net.save(tmp_path / "net.onnx", cell))


def test_a_cell_of_too_many_steps_is_refused(tmp_path: Path) -> None:
    net = Net((1, 257, FEATURES))
    path = net.save(tmp_path / "net.onnx", last_step(net))
    with pytest.raises(UserError, match="QuantLSTMCell .* is not supported .*; give its sequence .* at most 256 steps"):
        read_qonnx(path)
