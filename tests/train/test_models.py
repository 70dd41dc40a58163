"""The networks: one definition for float and quantized, addressable layers, integer residual adds."""

from __future__ import annotations

from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from toolchain.config.run import MODELS, RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.train.models import build
from toolchain.train.module import set_quantized
from toolchain.train.statistics import macs, parameters, weight_sparsity, weighted_layers


def _config(model: str, width: float = 1.0, **sections: Any) -> RunConfig:
    return parse_config({"name": "t", "model": {"name": model, "width": width}, **sections}, where="test")


@pytest.mark.parametrize("model", MODELS)
def test_the_float_network_is_the_quantized_one_with_its_quantizers_off(model: str) -> None:
    shape = (4, 40) if model == "cnn1d" else (3, 32, 32)
    width = 0.125 if model == "vgg-small" else 1.0
    quantized = build(_config(model, width), shape, 10)
    plain = build(_config(model, width, train={"float": True}), shape, 10)
    shared = {name: value for name, value in quantized.state_dict().items() if "tensor_quant" not in name}
    plain.load_state_dict(shared)
    set_quantized(quantized, False)
    x = torch.rand(2, *shape)
    with torch.no_grad():
        assert torch.equal(quantized.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(
    ("model", "shape", "expected_parameters", "expected_macs"),
    [
        ("tfc", (1, 28, 28), 784 * 64 + 2 * 64 * 64 + 64 * 10 + 10, 784 * 64 + 2 * 64 * 64 + 64 * 10),
        ("lenet300", (1, 28, 28), 784 * 300 + 300 * 100 + 1000 + 10, 784 * 300 + 300 * 100 + 1000),
        ("lenet5", (1, 28, 28), 150 + 2400 + 48000 + 10080 + 850, 784 * 150 + 100 * 2400 + 48000 + 10080 + 840),
        ("lenet5-caffe", (1, 28, 28), 500 + 25000 + 400000 + 5010, 576 * 500 + 64 * 25000 + 400000 + 5000),
        ("resnet8", (3, 32, 32), 77370, 12501632),
        ("resnet20", (3, 32, 32), 270906, 40813184),
    ],
)
def test_sizes_are_those_of_the_named_networks(
    model: str, shape: tuple[int, ...], expected_parameters: int, expected_macs: int
) -> None:
    network = build(_config(model), shape, 10).eval()
    assert (parameters(network), macs(network, shape)) == (expected_parameters, expected_macs)


def test_layers_that_pass_tensors_of_brevitas_are_counted_too() -> None:
    network = nn.Sequential(
        qnn.QuantIdentity(return_quant_tensor=True),
        qnn.QuantConv2d(1, 2, 3, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(72, 10),
    )
    assert macs(network, (1, 8, 8)) == 36 * 18 + 720 and network.training


@pytest.mark.parametrize(
    ("model", "shape"), [("tfc", (118,)), ("lenet300", (2, 50)), ("cnn1d", (2, 50)), ("cnn", (1, 8, 8))]
)
def test_networks_take_features_signals_and_pictures(model: str, shape: tuple[int, ...]) -> None:
    assert build(_config(model), shape, 5)(torch.rand(2, *shape)).shape == (2, 5)


def test_a_network_for_other_samples_is_refused_with_those_that_take_them() -> None:
    with pytest.raises(
        UserError, match=r"'cnn' takes pictures .* samples are rows of features: \(118,\); tfc, lenet300 "
    ):
        build(_config("cnn"), (118,), 5)
    with pytest.raises(UserError, match=r"'resnet8' takes pictures .*\(6, 50\); cnn1d, tfc, lenet300 take such"):
        build(_config("resnet8"), (6, 50), 5)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_plain_network_has_neither_batch_norms_nor_biases(quantized: bool) -> None:
    table = {"name": "lenet5-caffe", "plain": True}
    config = parse_config({"name": "t", "model": table, "train": {"float": not quantized}}, where="test")
    network = build(config, (1, 28, 28), 10)
    assert [name for name, _ in network.named_children()] == [
        "conv1", "act1", "pool1", "conv2", "act2", "pool2", "flatten", "fc1", "act3", "fc",
    ]  # fmt: skip
    assert parameters(network) == 500 + 25000 + 400000 + 5000
    assert all(layer.bias is None for layer in weighted_layers(network))
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_both_operands_of_a_residual_add_have_one_scale() -> None:
    block = build(_config("resnet8", 0.25), (3, 16, 16), 10).stage2_1  # type: ignore[union-attr]
    scales = []
    hook = block.operand.register_forward_hook(
        lambda layer, _, output: scales.append((layer.act_quant.scale(), output))
    )
    block.train()(torch.rand(4, 4, 8, 8))
    hook.remove()
    (first, branch), (second, shortcut) = scales
    assert torch.equal(first, second)
    for operand in (branch, shortcut):
        assert torch.allclose(operand / first, (operand / first).round(), atol=1e-4)  # float32 division


def test_overrides_reach_their_layer_and_first_and_last_bits_theirs() -> None:
    quant = {
        "weight_bits": 3,
        "first_weight_bits": 8,
        "last_weight_bits": 7,
        "layers": {"conv2": {"weight_bits": 2, "weight_granularity": "channel"}, "act1": {"act_bits": 5}},
    }
    network = build(_config("lenet5", quant=quant), (1, 28, 28), 10)
    weights = [layer.quant_weight() for layer in weighted_layers(network)]  # type: ignore[operator]
    assert [int(weight.bit_width) for weight in weights] == [8, 2, 3, 3, 7]
    assert weights[1].scale.shape == (16, 1, 1, 1)
    assert int(network.act1.act_quant.bit_width()) == 5  # type: ignore[union-attr,operator]


def test_an_override_for_no_layer_is_refused() -> None:
    config = _config("resnet8", quant={"layers": {"stage1_1.conv3": {"weight_bits": 2}}})
    with pytest.raises(UserError, match=r"unknown layer in \[quant.layers\] 'stage1_1.conv3'; did you mean"):
        build(config, (3, 32, 32), 10)


def test_a_standardised_input_passes_a_signed_quantizer() -> None:
    network = build(_config("cnn", data={"normalize": "standard"}), (1, 8, 8), 10)
    proxy = network.input.act_quant  # type: ignore[union-attr]
    assert proxy.is_signed and int(proxy.bit_width()) == 8  # type: ignore[operator]
    assert not hasattr(build(_config("cnn"), (1, 8, 8), 10), "input")


def test_images_too_small_are_refused() -> None:
    with pytest.raises(UserError, match=r"model 'lenet5' needs larger images than \(1, 8, 8\)"):
        build(_config("lenet5"), (1, 8, 8), 10)


def test_sparsity_counts_weights_that_quantize_to_zero() -> None:
    network = build(_config("cnn", quant={"weight_bits": 2}), (1, 8, 8), 10)
    with torch.no_grad():
        for layer in weighted_layers(network):
            layer.weight.fill_(1.0)
            layer.weight.view(-1)[::2] = 1e-3
    assert weight_sparsity(network) == 0.5


@pytest.mark.parametrize("method", ["lsq", "brevitas", "qil", "fqconv"])
def test_operands_of_adds_are_multiples_of_their_step_in_float32_when_training_in_bfloat16(method: str) -> None:
    torch.manual_seed(0)
    model = build(_config("resnet8", 0.5, quant={"method": method, "weight_bits": 3, "act_bits": 3}), (3, 16, 16), 10)
    seen: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if name in ("act1", "stage3_1.act2") or name.endswith(".operand"):  # of the rest convolutions are all readers
            layer.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output.detach()))
    set_quantized(model, True)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):  # the first sets the steps
            logits = model.train()(torch.rand(8, 3, 16, 16))
    assert logits.dtype == torch.bfloat16 and len(seen) == 5
    for value in seen.values():
        step = value[value > 0].min()  # the code 1, of so many values
        assert value.dtype == torch.float32 and torch.equal((value / step).round() * step, value)
