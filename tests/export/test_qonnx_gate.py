"""The export gate: a QONNX file exists only if it computes what the model computes."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.quant import Int8WeightPerTensorFloat, Int32Bias
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from toolchain.config.run import parse_config
from toolchain.errors import VerificationError
from toolchain.export import qonnx as export
from toolchain.export.gate import check_equal, predict
from toolchain.export.qonnx import OPSET, export_qonnx, input_metadata, to_qonnx
from toolchain.train.inputs import PixelMap
from toolchain.train.methods.lsq import Lsq
from toolchain.train.models import build
from toolchain.train.torch_onnx import quiet

_BITS = dict(zip([*(f"conv{i}" for i in range(1, 7)), "fc"], (1, 2, 3, 4, 6, 8, 5), strict=True))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _network(model: str, width: float, shape: tuple[int, int, int], **sections: Any) -> tuple[nn.Module, torch.Tensor]:
    """A network with settled batch norms and scales, and inputs for it."""
    torch.manual_seed(1)
    config = parse_config({"name": "t", "model": {"name": model, "width": width}, **sections}, where="test")
    network = build(config, shape, 5).train()
    x = torch.randint(0, 256, (24, *shape)) / 255
    for _ in range(3):
        network(x)
    for layer in network.modules():  # negative and tiny batch norm scales are ordinary
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return network.eval(), x


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, torch.Tensor, ModelWrapper]:
    """A 4-bit CNN, inputs and its graph."""
    network, x = _network("cnn", 0.25, (1, 8, 8))
    return network, x, to_qonnx(network, x[:1], {})


@pytest.mark.parametrize("scale", ["float", "pot"])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_export_is_exact_for_every_bit_width(scale: str, granularity: str, tmp_path: Path) -> None:
    """Weights and activations of 1 to 8 bits in one network, each kind of scale."""
    layers: dict[str, Any] = {name: {"weight_bits": bits} for name, bits in _BITS.items()}
    layers |= {f"act{i}": {"act_bits": bits} for i, bits in enumerate((2, 1, 8, 3, 6, 4), 1)}
    quant = {"scale": scale, "weight_granularity": granularity, "layers": layers}
    network, x = _network("vgg-small", 0.05, (2, 8, 8), quant=quant)
    report = export_qonnx(network, x, tmp_path / "m.onnx", {})
    assert (report.images, report.quantizers) == (24, 6)
    nodes = {node.name: node for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert nodes["conv1.weight_quant"].op_type == "BipolarQuant" and nodes["conv2.weight_quant"].op_type == "Quant"
    assert nodes["act2.act_quant"].op_type == "Quant"  # one bit, {0, 1}


def test_residual_adds_and_a_quantized_input_export_exactly(tmp_path: Path) -> None:
    network, x = _network("resnet8", 0.25, (3, 8, 8), data={"normalize": "standard"})
    report = export_qonnx(network, x - 0.5, tmp_path / "m.onnx", {})
    assert report.quantizers == 1 + 1 + 3 * 4  # input, stem, and two activations and two operands a block
    names = [node.name for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert {"stage1_1.operand.act_quant", "stage1_1.operand.act_quant_2", "stage1_1.Add"} <= set(names)


def test_the_files_predictions_are_the_models(small: tuple[nn.Module, torch.Tensor, ModelWrapper]) -> None:
    network, x, file = small
    with torch.no_grad():
        assert np.array_equal(predict(file, x.numpy(), batch=10).argmax(1), network(x).argmax(1).numpy())


def test_constants_are_folded_by_the_version_of_onnx_not_by_that_of_the_quantizers(
    small: tuple[nn.Module, torch.Tensor, ModelWrapper],
) -> None:
    first = small[2].model.opset_import[0]
    assert (first.domain, first.version) == ("", OPSET)


def test_the_exporter_says_nothing_unasked(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with quiet():
        sys.stdout.write("step 1 of 3")
        logging.getLogger("onnxscript").warning("nothing was folded")
        warnings.warn("a type is deprecated", FutureWarning, stacklevel=1)
    assert (capsys.readouterr().out, caplog.messages, recwarn.list) == ("", [], [])


def test_two_exports_are_the_same_bytes_and_carry_nothing_of_the_run(tmp_path: Path) -> None:
    network, x = _network("cnn", 0.25, (1, 8, 8))
    for name in "ab":
        export_qonnx(network, x, tmp_path / name, {"fpgaflow.version": "1"})
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert b"site-packages" not in content and b"stack_trace" not in content


def test_metadata_holds_exact_fractions(tmp_path: Path) -> None:
    network, x = _network("cnn", 0.25, (1, 8, 8))
    pixels = PixelMap((Fraction(1, 255) / Fraction("0.3081"),), (-Fraction("0.1307") / Fraction("0.3081"),))
    export_qonnx(network, x, tmp_path / "m.onnx", input_metadata(pixels, "mnist"))
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    pixel = json.loads(stored["fpgaflow.input"])["pixel"]
    assert stored["fpgaflow.data"] == "mnist"
    assert [Fraction(text) for text in pixel["scale"] + pixel["offset"]] == [*pixels.scale, *pixels.offset]


class _FloorWeight(Int8WeightPerTensorFloat):
    bit_width = 4
    float_to_int_impl_type = "floor"


def _floor_model() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    conv = qnn.QuantConv2d(1, 4, 3, bias=False, weight_quant=_FloorWeight)
    model = nn.Sequential(
        conv,
        qnn.QuantReLU(act_quant=Lsq().act_quantizer(4, signed=False, scale="float")),
        nn.Flatten(),
        nn.Linear(144, 3),
    )
    x = torch.rand(8, 1, 8, 8)
    model.train()(x)
    return model.eval(), x


def test_a_weight_quantizer_that_does_not_round_to_nearest_exports_right(tmp_path: Path) -> None:
    model, x = _floor_model()
    assert export_qonnx(model, x, tmp_path / "m.onnx", {}).flips == 0


def test_brevitas_own_export_of_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw weight in the file, rounded to nearest there: the bug of Brevitas 0.12.1 to 0.13.4."""
    model, x = _floor_model()
    monkeypatch.setattr(export._Manager, "handlers", export.QONNXDynamoManager.handlers)
    with pytest.raises(VerificationError, match=r"weight of layer '0' \(node 0.weight_quant\) differs"):
        export_qonnx(model, x, tmp_path / "m.onnx", {})


def _changed(file: ModelWrapper, tensor: str, change: Any) -> ModelWrapper:
    """A copy of a graph with one initializer replaced."""
    copy = ModelWrapper(file.model, make_deepcopy=True)
    copy.set_initializer(tensor, change(copy.get_initializer(tensor).copy()).astype(np.float32))
    return copy


def _input(file: ModelWrapper, node: str, index: int) -> str:
    return str(next(n for n in file.graph.node if n.name == node).input[index])


def _one_code_up(weight: np.ndarray) -> np.ndarray:
    weight.ravel()[5] -= 0.6 * np.abs(weight).max()
    return weight


@pytest.mark.parametrize(
    ("node", "index", "change", "message"),
    [
        ("conv2.weight_quant", 0, _one_code_up, r"weight of layer 'conv2' \(node conv2.weight_quant\) differs"),
        ("act1.act_quant", 1, lambda s: s * 1.01, r"quantizer 'act1.act_quant'"),
        ("act2.act_quant", 3, lambda b: b - 1, r"quantizer 'act2.act_quant'"),
        ("bn2.BatchNormalization", 2, lambda b: b + 0.01, r"the input of quantizer 'act2.act_quant'"),
        ("fc.Gemm", 2, lambda b: b * 1.01, r"the network's output"),
    ],
)
def test_a_changed_file_is_refused_and_the_first_deviating_layer_named(
    node: str, index: int, change: Any, message: str, small: tuple[nn.Module, torch.Tensor, ModelWrapper]
) -> None:
    network, x, file = small
    with pytest.raises(VerificationError, match=message):
        check_equal(network, _changed(file, _input(file, node, index), change), x)


def test_a_quantized_bias_is_compared_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantIdentity(return_quant_tensor=True),
        qnn.QuantConv2d(1, 2, 3, bias=True, bias_quant=Int32Bias, return_quant_tensor=True),
        qnn.QuantReLU(),
    )
    x = torch.rand(4, 1, 6, 6)
    model.train()(x)
    file = to_qonnx(model.eval(), x[:1], {})
    assert check_equal(model, file, x).quantizers == 2
    with pytest.raises(VerificationError, match=r"^bias of layer '1' \(node 1.bias_quant\) differs"):
        check_equal(model, _changed(file, _input(file, "1.bias_quant", 0), lambda bias: bias + 1e-4), x)


def test_a_removed_quantizer_is_refused(small: tuple[nn.Module, torch.Tensor, ModelWrapper]) -> None:
    network, x, file = small
    copy = ModelWrapper(file.model, make_deepcopy=True)
    quant = next(node for node in copy.graph.node if node.name == "act1.act_quant")
    for node in copy.graph.node:
        for i, name in enumerate(node.input):
            if name == quant.output[0]:
                node.input[i] = quant.input[0]
    copy.graph.node.remove(quant)
    with pytest.raises(VerificationError, match=r"the file has no quantizer for 'act1' \(node act1.act_quant\)"):
        check_equal(network, copy, x)


def test_layers_that_do_the_same_twice_are_one_in_the_file(tmp_path: Path) -> None:
    """The exporter merges them with their quantizers; other settings of the second keep both."""

    class Twice(nn.Module):
        def __init__(self, second: float) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            act_quant = Lsq().act_quantizer(4, signed=True, scale="float")
            self.first, self.second = (qnn.QuantIdentity(act_quant=act_quant) for _ in range(2))
            for quantizer, step in ((self.first, 0.25), (self.second, second)):
                quantizer.act_quant.fused_activation_quant_proxy.tensor_quant.step.data.fill_(step)
                quantizer.act_quant.fused_activation_quant_proxy.tensor_quant.ready.fill_(True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return nn.functional.max_pool2d(self.first(x), 2) + nn.functional.avg_pool2d(self.second(x), 2)

    for step, quantizers in ((0.25, 1), (0.5, 2)):
        report = export_qonnx(Twice(step).eval(), torch.rand(4, 3, 4, 4), tmp_path / "m.onnx", {})
        nodes = [node for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type == "Quant"]
        assert report.quantizers == len(nodes) == quantizers


def test_a_refused_export_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = _floor_model()
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(export._Manager, "handlers", export.QONNXDynamoManager.handlers)
    with pytest.raises(VerificationError):
        export_qonnx(model, x, path, {})
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_code_may_differ_only_at_a_tie() -> None:
    """Where 2.5 enters the file may give code 2 and the model 3, which is counted; a larger gap is refused."""
    act = qnn.QuantReLU(act_quant=Lsq().act_quantizer(4, signed=False, scale="float"))
    model = nn.Sequential(nn.Linear(1, 1), act).eval()
    nn.init.constant_(model[0].weight, 1.0)
    nn.init.constant_(model[0].bias, 0.25)  # a zero bias would be left out of the file
    file = to_qonnx(model, torch.ones(1, 1), {})
    bias = _input(file, "0.Gemm", 2)
    x = torch.tensor([[2.25 + 4e-6], [1.3]])
    assert check_equal(model, file, x).flips == 0
    assert check_equal(model, _changed(file, bias, lambda b: b - 1e-5), x).flips == 1
    with pytest.raises(VerificationError, match=r"the input of quantizer '1.act_quant'"):
        check_equal(model, _changed(file, bias, lambda b: b - 0.2), x)
