"""Queries, keys and values that one layer makes, parted on tensors of five axes as in most vision transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_ops import assert_exact
from tests.frontend.test_read_tokens import FEATURES, TOKENS, dense
from tests.onnx_models import Net
from tests.verdicts import demand_one_verdict

HEADS = 2


def ints(net: Net, *numbers: int) -> str:
    return net.const(numbers, np.int64)


def parts(net: Net, x: str, how: str) -> list[str]:
    """(1, heads, tokens, features) of each, as ``x.reshape(...).permute(2, 0, 3, 1, 4)`` makes them."""
    x = net.add("Reshape", x, ints(net, 1, TOKENS, 3, HEADS, FEATURES // HEADS))
    if how == "split first":  # as onnxruntime's optimizer has it
        net.add("Split", x, ints(net, 1, 1, 1), axis=2)
        net.nodes[-1].output.extend(["keys", "values"])
        found = [net.add("Squeeze", name, ints(net, 2)) for name in list(net.nodes[-1].output)]
        return [net.add("Transpose", part, perm=[0, 2, 1, 3]) for part in found]
    x = net.add("Transpose", x, perm=[2, 0, 3, 1, 4])
    if how == "gather":
        return [net.add("Gather", x, net.const(i, np.int64), axis=0) for i in range(3)]
    net.add("Split", x, ints(net, 1, 1, 1), axis=0)
    net.nodes[-1].output.extend(["keys", "values"])
    return [net.add("Squeeze", name, ints(net, 0)) for name in list(net.nodes[-1].output)]


def coded(net: Net, x: str, scale: float) -> str:
    pair = net.const(scale), net.const(3, np.uint8)
    return net.add("DequantizeLinear", net.add("QuantizeLinear", x, *pair), *pair)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("how", ["split first", "gather", "split"])
def test_queries_keys_and_values_of_one_layer(how: str, late: bool, tmp_path: Path) -> None:
    """Also with quantizers behind every move, as onnxruntime writes them."""
    net = Net((1, TOKENS, FEATURES), seed=48, opset=18)
    x = dense(net, net.quant("x", 6, 0.1), FEATURES, 3 * FEATURES)
    queries, keys, values = (coded(net, part, 0.2) if late else part for part in parts(net, x, how))
    keys = net.add("Transpose", keys, perm=[0, 1, 3, 2])
    keys = coded(net, keys, 0.2) if late else keys
    shares = net.quant(net.add("Softmax", net.quant(net.add("MatMul", queries, keys), 6, 0.1)), 6, 1 / 64, signed=0)
    x = net.add("Transpose", net.quant(net.add("MatMul", shares, values), 6, 0.1), perm=[0, 2, 1, 3])
    x = net.add("Reshape", coded(net, x, 0.1) if late else x, ints(net, 1, TOKENS, FEATURES))
    path = net.save(tmp_path / "net.onnx", dense(net, x, FEATURES, 3))
    assert_exact(path, 8)
    assert demand_one_verdict(path) is None


def test_parts_that_are_no_consecutive_channels_are_refused(tmp_path: Path) -> None:
    net = Net((1, TOKENS, FEATURES), seed=49, opset=18)
    x = net.add("Reshape", net.quant("x", 6, 0.1), ints(net, 1, TOKENS, HEADS, FEATURES // HEADS))
    x = net.add("Gather", net.add("Transpose", x, perm=[0, 2, 1, 3]), net.const(1, np.int64), axis=3)
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", net.quant(x, 6, 0.1)))
    assert fault is not None and fault.what.startswith("it reads ")
