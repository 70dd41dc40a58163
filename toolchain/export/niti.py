"""A frozen integer network as a QONNX file, proven to compute the same.

All scales are powers of two, so that the file lowers to shifts. Activations round halves away from zero (HALF_UP), as
the integer network does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from toolchain import files
from toolchain.errors import VerificationError
from toolchain.export.qonnx import OPSET
from toolchain.frontend.agreement import Agreement, compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.types import Encoding, InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.train.inputs import PixelMap
from toolchain.train.niti.freeze import Shifts, frozen_exponents, run_frozen
from toolchain.train.niti.inputs import InputFormat, to_block
from toolchain.train.niti.layers import AvgPool, Conv, Flatten, Linear, MaxPool, ReLU, Residual
from toolchain.train.niti.network import Network
from toolchain.train.niti.numbers import MANTISSA_BITS
from toolchain.train.statistics import Shape

_DOMAIN = "qonnx.custom_op.general"
_IR_VERSION = 10


class _Graph:
    """Nodes and constants under construction; ``value`` is the tensor that the next node reads."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.value = "input"

    def constant(self, name: str, array: NDArray[np.float64]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
        return name

    def node(self, op: str, name: str, *others: str, domain: str = "", **attributes: Any) -> None:
        """A node that reads the current value, and ``others`` behind it."""
        output = f"{name}_out"
        self.nodes.append(helper.make_node(op, [self.value, *others], [output], name, domain=domain, **attributes))
        self.value = output

    def quantizer(self, name: str, exponent: int, bits: int, *, signed: bool) -> None:
        """A Quant node of scale 2**exponent; signed ranges are symmetric."""
        numbers = {"scale": 2.0**exponent, "zero_point": 0.0, "bits": float(bits)}
        parameters = [self.constant(f"{name}.{key}", np.array(value)) for key, value in numbers.items()]
        attributes = {"signed": int(signed), "narrow": int(signed), "rounding_mode": "HALF_UP"}
        self.node("Quant", name, *parameters, domain=_DOMAIN, **attributes)

    def conv(self, name: str, layer: Conv, given: int) -> None:
        """A convolution of the current value, of the exponent ``given``, not yet quantized."""
        constants = [self.weight(name, _arranged(layer, None), layer.exponent), *self.bias(name, layer, given)]
        window: dict[str, Any] = {
            "kernel_shape": [layer.kernel] * 2,
            "pads": [layer.padding] * 4,
            "strides": [layer.stride] * 2,
        }
        self.node("Conv", name, *constants, **window)

    def linear(self, name: str, layer: Linear, given: int, order: tuple[int, ...] | None) -> None:
        """A product with the current value, of the exponent ``given``, not yet quantized; see `_arranged`."""
        self.node("MatMul", name, self.weight(name, _arranged(layer, order), layer.exponent))
        for bias in self.bias(name, layer, given):
            self.node("Add", f"{name}.add", bias)

    def bias(self, name: str, layer: Linear, given: int) -> list[str]:
        """The bias of a layer, if it has one, in steps of its accumulators for an input of the exponent ``given``."""
        if layer.bias is None:
            return []
        value = layer.aligned_bias(given).cpu().numpy() * 2.0 ** (given + layer.exponent)
        return [self.constant(f"{name}.bias", value)]

    def relu(self, name: str, exponent: int) -> None:
        """The positive part, quantized."""
        self.node("Relu", name)
        self.quantizer(f"{name}.act_quant", exponent, MANTISSA_BITS, signed=False)

    def block(self, name: str, layer: Residual, exponents: Shifts, given: int) -> None:
        """A residual block of the current value: both operands of its sum have one scale."""
        value, scale, inner = self.value, exponents[f"{name}.operand"], exponents[f"{name}.conv1"]
        if layer.shortcut is not None:
            self.conv(f"{name}.shortcut", layer.shortcut, given)
        self.quantizer(f"{name}.rest", scale, MANTISSA_BITS + 1, signed=True)
        rest, self.value = self.value, value
        self.conv(f"{name}.conv1", layer.conv1, given)
        self.relu(f"{name}.act1", inner)
        self.conv(f"{name}.conv2", layer.conv2, inner)
        self.quantizer(f"{name}.branch", scale, MANTISSA_BITS + 1, signed=True)
        self.node("Add", f"{name}.add", rest)
        self.relu(f"{name}.act2", exponents[name])

    def weight(self, name: str, mantissas: Tensor, exponent: int) -> str:
        """The quantized weight of a layer; leaves the current value alone."""
        value = self.value
        self.value = self.constant(f"{name}.weight", mantissas.cpu().numpy() * 2.0**exponent)
        self.quantizer(f"{name}.weight_quant", exponent, MANTISSA_BITS + 1, signed=True)
        quantized, self.value = self.value, value
        return quantized


def to_model(
    network: Network, shifts: Shifts, inputs: InputFormat, shape: Shape, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """The QONNX model of batch size 1 for an input (1, C, H, W); nodes are named after the layers."""
    graph = _Graph()
    graph.quantizer("input_quant", inputs.exponent, MANTISSA_BITS + 1, signed=True)
    exponents = frozen_exponents(network, shifts, inputs.exponent)
    layers = list(network.named_layers())
    last = network.weighted()[-1][0]
    order, given = None, inputs.exponent
    for (name, layer), (_, following) in zip(layers, [*layers[1:], ("", None)], strict=True):
        match layer:
            case Linear():
                if isinstance(layer, Conv):
                    graph.conv(name, layer, given)
                else:
                    graph.linear(name, layer, given, order)
                order = None
                if name != last and not isinstance(following, ReLU):
                    graph.quantizer(f"{name}.act_quant", exponents[name], MANTISSA_BITS + 1, signed=True)
            case ReLU():
                graph.relu(name, exponents[name])
            case Residual():
                graph.block(name, layer, exponents, given)
            case AvgPool():
                graph.node("GlobalAveragePool", name)
                graph.quantizer(f"{name}.act_quant", exponents[name], MANTISSA_BITS + 1, signed=True)
            case MaxPool():
                graph.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
            case Flatten():
                graph.node("Flatten", name, axis=1)
                order = tuple(layer.shape[1:])
        given = exponents.get(name, given)
    classes = network.weighted()[-1][1].weight.shape[0]
    ends = [
        helper.make_tensor_value_info(value, TensorProto.FLOAT, sizes)
        for value, sizes in (("input", [1, *shape]), (graph.value, [1, classes]))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "niti", ends[:1], ends[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_DOMAIN, 2)],
        ir_version=_IR_VERSION,
    )
    helper.set_model_props(model, dict(sorted(metadata.items())))
    return model


def _arranged(layer: Linear, flattened: tuple[int, ...] | None) -> Tensor:
    """Weights as ONNX wants them: (outputs, inputs, k, k), or (inputs, outputs) with the inputs in (C, H, W) order."""
    if isinstance(layer, Conv):
        return layer.weight.view(-1, layer.kernel, layer.kernel, layer.inputs).permute(0, 3, 1, 2)
    if flattened is None:
        return layer.weight.t()
    return layer.weight.view(-1, *flattened).permute(0, 3, 1, 2).flatten(1).t()


def export_frozen(
    network: Network,
    shifts: Shifts,
    inputs: InputFormat,
    table: Tensor,
    images: Tensor,
    path: Path,
    metadata: Mapping[str, str],
) -> Agreement:
    """Write a frozen network as a QONNX file, provided the file computes what the network computes.

    Args:
        network: the trained network.
        shifts: its frozen shifts.
        inputs: how a pixel becomes a mantissa, by ``table``.
        images: pixels (N, C, H, W) in uint8 that file and network are compared on.
        path: the file to write; left alone when the comparison fails.
        metadata: ONNX metadata properties.

    Returns:
        how the file's float32 execution agrees with the integer network.

    Raises:
        VerificationError: the lowered file differs from the network in any sum of any image, or its float32 execution
            by more than rounding.
    """
    sums = run_frozen(network, shifts, to_block(images, table, inputs.exponent))
    expected = sums.mantissa.cpu().numpy() * 2.0**sums.exponent
    shape = (images.shape[1], images.shape[2], images.shape[3])
    data = to_model(network, shifts, inputs, shape, metadata).SerializeToString(deterministic=True)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / path.name
        candidate.write_bytes(data)
        report = _compared(candidate, inputs.pixels, images.permute(0, 2, 3, 1).numpy(), expected)
    files.write_bytes(path, data)
    return report


def _compared(path: Path, pixels: PixelMap, images: NDArray[np.uint8], expected: NDArray[np.float64]) -> Agreement:
    """Compare the lowered file with the network's sums, exactly, and then with its own float32 execution."""
    file = read_qonnx(path)
    integer = to_integer(file.graph, Encoding(InputType(0, 255, pixels.scale, pixels.offset)))
    (output,) = integer.outputs
    assert output.decoding is not None
    scale, offset = (np.array([float(x) for x in part]) for part in (output.decoding.scale, output.decoding.offset))
    codes = evaluate(integer, encode(integer, images))[output.value].reshape(expected.shape)
    differing = int((codes * scale + offset != expected).any(axis=1).sum())  # multiples of powers of two: no rounding
    if differing:
        raise VerificationError(f"the file's integer network differs from the trained one on {differing} images")
    return compare(file, integer, images)
