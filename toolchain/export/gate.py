"""The equality gate: executes a QONNX graph with the QONNX reference executor and compares it with PyTorch.

Weights, and the scales and ranges of all quantizers, must be equal to the last bit. Activations come from float32 sums
that the two executors add up in different orders, so they are compared quantizer by quantizer, each on the *same*
integer input: after a quantizer is compared, PyTorch goes on with the codes the file produced. A rounding difference
can therefore not grow from layer to layer, and a wrong node cannot hide behind one.

What may differ is fixed by two rules:

- the value that enters a quantizer, and a network output, differs by at most 2**-14 of the tensor's largest magnitude:
  float32 sums of a few thousand terms stay well below this, a wrong scale, weight, padding or layout does not;
- a code differs by one, and only where the entering value is within that distance of the tie between the two codes.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brevitas.proxy.parameter_quant import BiasQuantProxyFromInjectorBase, WeightQuantProxyFromInjectorBase
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from numpy.typing import NDArray
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes
from torch import Tensor, nn

from toolchain.errors import VerificationError

TOLERANCE = 2.0**-14
QUANT_OPS = ("Quant", "BipolarQuant")
Tensors = dict[str, NDArray[np.float32]]
_Hook = Callable[[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class GateReport:
    """Result of the comparison: the number of images, of quantizers, and of codes across a tie."""

    images: int
    quantizers: int
    flips: int


@dataclass(frozen=True)
class _Settings:
    """Definition of a quantizer besides its input; the range decides even where no input reached its end."""

    scale: tuple[float, ...]
    zero_point: float
    low: int
    high: int


@dataclass(frozen=True)
class _FileQuantizer:
    entering: NDArray[np.float32]
    leaving: NDArray[np.float32]
    settings: _Settings


def execute(file: ModelWrapper, x: NDArray[np.float32]) -> Tensors:
    """Return all tensors of a QONNX graph for inputs ``x`` (N, ...), by the reference executor, for any N."""
    batched = copy.deepcopy(file).transform(ChangeBatchSize(len(x))).transform(InferShapes())
    tensors: Tensors = execute_onnx(batched, {file.graph.input[0].name: x}, return_full_exec_context=True)
    return tensors


def predict(file: ModelWrapper | Path, x: NDArray[np.float32], batch: int = 100) -> NDArray[np.float32]:
    """The outputs (N, classes) of a QONNX graph or file, ``batch`` inputs at a time."""
    file = ModelWrapper(str(file)) if isinstance(file, Path) else file
    name = file.graph.output[0].name
    return np.concatenate([execute(file, x[i : i + batch])[name] for i in range(0, len(x), batch)])


def check_equal(model: nn.Module, file: ModelWrapper, x: Tensor) -> GateReport:
    """Compare a file with the model it came from on the inputs ``x`` (N, C, H, W).

    Raises:
        VerificationError: they differ by more than float32 rounding; names the first layer that does.
    """
    inputs = x.detach().cpu().float()
    constants, weights = _constant_quantizers(file), _weights(model)
    biases = {
        name: proxy
        for name, proxy in model.named_modules()
        if isinstance(proxy, BiasQuantProxyFromInjectorBase) and proxy.is_quant_enabled
    }
    _check_constants("weight", weights, constants)
    for node in constants.keys() - weights.keys() - biases.keys():
        raise VerificationError(f"node {node} quantizes a weight that the model does not have")
    tensors = execute(file, inputs.numpy())
    comparison = _Comparison(_activation_quantizers(file, tensors))
    proxies = {
        name: proxy
        for name, proxy in model.named_modules()
        if isinstance(proxy, ActQuantProxyFromInjectorBase) and proxy.is_quant_enabled
    }
    settings = {name: _settings_of_proxy(proxy) for name, proxy in proxies.items()}
    hooks = [
        proxy.fused_activation_quant_proxy.tensor_quant.register_forward_hook(comparison.hook(name, settings[name]))
        for name, proxy in proxies.items()
    ]
    hooks += [proxy.register_forward_hook(_bias_hook(name, constants)) for name, proxy in biases.items()]
    try:
        with torch.no_grad():
            output = model(inputs).detach().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    left_over = [node for node in comparison.quantizers if node not in comparison.done]
    if left_over:
        raise VerificationError(f"node {left_over[0]} quantizes a tensor that the model does not")
    _demand_close(output, tensors[file.graph.output[0].name], "the network's output")
    return GateReport(len(inputs), len(comparison.done), comparison.flips)


class _Comparison:
    """Compares the model's activation quantizers with the file's nodes of the same name, in the order of execution."""

    def __init__(self, quantizers: dict[str, _FileQuantizer]) -> None:
        self.quantizers, self.flips = quantizers, 0
        self.done: dict[str, NDArray[np.float32]] = {}  # what entered the model's quantizers

    def hook(self, proxy: str, settings: _Settings) -> _Hook:
        """A forward hook that compares one call and hands on the file's value."""
        calls = itertools.count(1)

        def compare(_: nn.Module, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            call = next(calls)
            wanted = proxy if call == 1 else f"{proxy}_{call}"  # a shared quantizer has one node a call
            entering = inputs[0].numpy()
            node = wanted if wanted in self.quantizers else self._same(entering, settings)
            if node is None:
                raise VerificationError(f"the file has no quantizer for '{_layer_of(proxy)}' (node {wanted})")
            ours = self.quantizers[node]
            self.done[node] = entering
            if ours.settings != settings:
                raise VerificationError(f"quantizer '{node}' is {ours.settings} in the file, {settings} in the model")
            self.flips += _compare_quantizer(node, ours, entering, outputs[0].numpy())
            return torch.from_numpy(ours.leaving.copy()), *outputs[1:]

        return compare

    def _same(self, entering: NDArray[np.float32], settings: _Settings) -> str | None:
        """The node that has quantized the same tensor alike: the exporter lets equal calls read one node."""
        for node, before in self.done.items():
            if self.quantizers[node].settings == settings and np.array_equal(before, entering):
                return node
        return None


def _compare_quantizer(
    node: str, file: _FileQuantizer, entering: NDArray[np.float32], leaving: NDArray[np.float32]
) -> int:
    """The number of codes on the other side of a tie; raises when a difference is more than that."""
    where = f"quantizer '{node}'"
    _demand_close(entering, file.entering, f"the input of {where}")
    allowed = TOLERANCE * _largest(entering)
    differing = np.abs(leaving - file.leaving) > TOLERANCE * min(file.settings.scale)
    if not differing.any():
        return 0
    gap = np.abs(leaving - file.leaving)[differing] / max(file.settings.scale)
    tie = (leaving + file.leaving)[differing] / 2
    off_tie = np.abs(entering[differing] - tie)
    if gap.max() > 2 + TOLERANCE or off_tie.max() > allowed:
        raise VerificationError(
            f"{where}: {int(differing.sum())} of {differing.size} codes differ, "
            f"by up to {gap.max():.3g} steps, {off_tie.max():.3g} away from a tie"
        )
    return int(differing.sum())


def _weights(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The quantized weights of the model, by their quantizers."""
    with torch.no_grad():
        return {
            name: proxy.tracked_module_list[0].quant_weight().value.cpu().numpy()
            for name, proxy in model.named_modules()
            if isinstance(proxy, WeightQuantProxyFromInjectorBase) and proxy.is_quant_enabled
        }


def _bias_hook(name: str, in_file: Mapping[str, NDArray[np.float32]]) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that checks the bias that the quantizer ``name`` gives: its scale may be the accumulators'."""

    def check(_: nn.Module, __: Any, output: Any) -> None:
        _check_constants("bias", {name: getattr(output, "value", output).numpy()}, in_file)

    return check


def _check_constants(
    kind: str, own: Mapping[str, NDArray[np.float32]], in_file: Mapping[str, NDArray[np.float32]]
) -> None:
    """Check that every quantized constant of the model is the file's bit for bit, as stored or transposed."""
    for name, expected in own.items():
        if name not in in_file:  # the exporter lets layers of equal weights read one quantizer
            if not any(_same(value, expected) for value in in_file.values()):
                raise VerificationError(f"the file has no quantized {kind} for '{_layer_of(name)}'")
        elif not _same(in_file[name], expected):
            raise VerificationError(f"{kind} of layer '{_layer_of(name)}' (node {name}) differs from the trained one")


def _same(value: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return np.array_equal(value, expected) or (value.ndim == 2 and np.array_equal(value.T, expected))


def _constant_quantizers(file: ModelWrapper) -> dict[str, NDArray[np.float32]]:
    """The value of every quantizer of an initializer, by node name."""
    found = {}
    for node in file.graph.node:
        if node.op_type in QUANT_OPS and file.get_initializer(node.input[0]) is not None:
            context = {name: file.get_initializer(name) for name in node.input}
            getCustomOp(node).execute_node(context, None)
            found[node.name] = context[node.output[0]]
    return found


def _activation_quantizers(file: ModelWrapper, tensors: Tensors) -> dict[str, _FileQuantizer]:
    """The file's quantizers of computed tensors with their executed values, by node name."""
    return {
        node.name: _FileQuantizer(tensors[node.input[0]], tensors[node.output[0]], _settings_of_node(node, tensors))
        for node in file.graph.node
        if node.op_type in QUANT_OPS and file.get_initializer(node.input[0]) is None
    }


def _settings_of_node(node: NodeProto, tensors: Tensors) -> _Settings:
    scale = tuple(tensors[node.input[1]].ravel().tolist())
    if node.op_type == "BipolarQuant":
        return _Settings(scale, 0.0, -1, 1)
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    zero_point, bits = (float(tensors[name]) for name in node.input[2:4])
    return _Settings(scale, zero_point, *_range(int(bits), bool(attributes["signed"]), bool(attributes["narrow"])))


def _settings_of_proxy(proxy: ActQuantProxyFromInjectorBase) -> _Settings:
    scale = tuple(proxy.scale().detach().cpu().numpy().ravel().tolist())
    bits, signed = int(proxy.bit_width()), bool(proxy.is_signed)
    bounds = (-1, 1) if bits == 1 and signed else _range(bits, signed, bool(proxy.is_narrow_range))
    return _Settings(scale, float(proxy.zero_point()), *bounds)


def _range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The smallest and the largest code of a QONNX Quant node."""
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _demand_close(ours: NDArray[np.float32], file: NDArray[np.float32], what: str) -> None:
    """Raise VerificationError if the largest difference over the largest magnitude is above the tolerance."""
    if ours.shape != file.shape:
        raise VerificationError(f"{what}: shape {file.shape} in the file, {ours.shape} in the model")
    gap = float(np.abs(ours - file).max()) / _largest(ours)
    if not gap <= TOLERANCE:
        raise VerificationError(f"{what}: file and model differ by {gap:.3g} of the largest value")


def _largest(x: NDArray[np.float32]) -> float:
    return max(float(np.abs(x).max()), math.ulp(0.0) * 2**60)


def _layer_of(proxy_name: str) -> str:
    """The layer a Brevitas proxy belongs to."""
    return proxy_name.rpartition(".")[0]
