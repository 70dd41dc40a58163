"""Recurrent cells unrolled over a few steps, with quantizers where a trained network has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_ops import assert_exact
from tests.onnx_models import Net
from toolchain.errors import UserError
from toolchain.flow.coverage import check
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


def test_a_cell_as_one_node_is_refused_with_what_to_do(tmp_path: Path) -> None:
    net = Net((1, STEPS, FEATURES))
    cell = net.add("QuantLSTMCell", net.quant("x"), domain="qonnx.custom_op.general")
    with pytest.raises(UserError, match="QuantLSTMCell .* is not supported .*; unroll it over a fixed number of steps"):
        read_qonnx(net.save(tmp_path / "net.onnx", cell))
