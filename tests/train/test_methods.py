"""What holds for every quantizing method: one network with its quantizers on or off, and an exact export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.config.run import RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.lowering.pipeline import to_integer
from toolchain.train.data import input_map, load
from toolchain.train.methods.symog import FixedStep
from toolchain.train.models import build
from toolchain.train.module import set_quantized

METHODS = ("lsq", "brevitas", "qil", "fqconv", "symog", "sgm")


def _config(method: str, model: str = "cnn", *, normalize: str = "unit", **quant: Any) -> RunConfig:
    table = {
        "name": "t",
        "data": {"normalize": normalize},
        "model": {"name": model, "width": 0.5},
        "quant": {"method": method, "weight_bits": 3, "act_bits": 3, **quant},
    }
    return parse_config(table, where="test")


def _warm(config: RunConfig, shape: tuple[int, int, int]) -> nn.Module:
    """A network whose batch norms have seen two batches and whose quantizers are off where they started."""
    torch.manual_seed(0)
    model = build(config, shape, 10).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
        weight = getattr(getattr(layer, "weight_quant", None), "tensor_quant", None)
        if isinstance(weight, FixedStep):
            weight.choose(layer.weight)  # type: ignore[arg-type]
    for _ in range(2):
        model(torch.rand(8, *shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("tensor_quant.low", "tensor_quant.width", "tensor_quant.gamma")):
                parameter.add_(0.11)
    return model.eval()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["cnn", "resnet8"])
def test_evaluator_and_file_and_network_agree(method: str, model: str, tmp_path: Path) -> None:
    """The gate compares file and network; every code of the integer network is then the file's, or on a tie."""
    if model == "resnet8" and method not in ("qil", "fqconv"):
        pytest.skip("its layers are made as those of the small network")
    quant: dict[str, Any] = {"qil": {"gamma": "learned"}} if method == "qil" else {}
    if method in ("qil", "fqconv", "brevitas"):
        quant["weight_granularity"] = "channel"
    config = _config(method, model, normalize="standard" if model == "resnet8" else "unit", **quant)
    data = load("digits")
    network = _warm(config, data.shape)
    pixels = input_map(data, config.data.normalize)
    x = torch.from_numpy(pixels.apply(data.test_x[:16]))
    export_qonnx(network, x, tmp_path / "m.onnx", input_metadata(pixels, "digits"))
    file = read_qonnx(tmp_path / "m.onnx")
    images = np.ascontiguousarray(data.test_x[:16].transpose(0, 2, 3, 1))
    assert compare(file, to_integer(file.graph), images).mismatches <= 2


@pytest.mark.parametrize("method", METHODS)
def test_a_network_with_its_quantizers_off_is_the_float_network_and_has_the_same_names(method: str) -> None:
    quantized = build(_config(method), (1, 8, 8), 10).eval()
    plain = build(
        parse_config({"name": "t", "model": {"width": 0.5}, "train": {"float": True}}, where="test"), (1, 8, 8), 10
    )
    names = list(quantized.state_dict())
    set_quantized(quantized, False)
    assert list(quantized.state_dict()) == names
    weights = {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in quantized.state_dict().items()
        if "_quant." not in name
    }
    plain.load_state_dict(weights)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(quantized(x), plain.eval()(x))


@pytest.mark.parametrize("method", ["brevitas", "qil", "symog", "sgm"])
def test_one_bit_weights_are_refused_where_a_method_has_none(method: str) -> None:
    with pytest.raises(UserError, match=rf"quant.method = '{method}' needs 2 weight bits or more \[layer conv1\]"):
        build(_config(method, weight_bits=1), (1, 8, 8), 10)


@pytest.mark.parametrize("method", METHODS)
def test_activations_of_32_bits_are_float(method: str) -> None:
    network = build(_config(method, act_bits=32), (1, 8, 8), 10)
    assert isinstance(network.act1, nn.ReLU) and type(network.conv1) is not nn.Conv2d
