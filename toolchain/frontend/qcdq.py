"""QuantizeLinear and DequantizeLinear: quantizers written as two standard nodes, with a Clip between for few bits.

A zero point is subtracted from the codes: QuantizeLinear rounds before it adds the zero point, so a quantizer with zero
point 0 and a shifted range is the same function, and pads with the code 0.
"""

from __future__ import annotations

import numpy as np

from toolchain.frontend.constants import Constants, QuantConst
from toolchain.frontend.layout import Tensor
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.reader import Codes, Reader
from toolchain.ir.model_ops import Quantize
from toolchain.ir.types import Quantizer


def read_quantize_linear(reader: Reader, node: OnnxNode) -> None:
    """QuantizeLinear of an activation: remembered until DequantizeLinear gives its codes their value."""
    source = reader.tensor(node)
    scale, zero = _parameters(reader.file, node, reader.constants)
    if zero.size and (zero != zero.flat[0]).any():
        raise reader.file.fault(node, "the zero point differs between channels", "use one zero point a tensor")
    limits = np.iinfo(zero.dtype if zero.size else np.uint8)
    point = int(zero.flat[0]) if zero.size else 0
    low, high = int(limits.min) - point, int(limits.max) - point
    reader.codes[node.outputs[0]] = Codes(
        source, _along_axis(reader.file, node, scale, len(source.layout.axes)), point, low, high, (node.name,)
    )


def narrow_codes(reader: Reader, node: OnnxNode, low: float, high: float) -> None:
    """A Clip of codes: narrows the range of the quantizer."""
    codes = reader.codes[node.input(0)]
    bottom = codes.low if np.isinf(low) else max(codes.low, int(low) - codes.zero_point)
    top = codes.high if np.isinf(high) else min(codes.high, int(high) - codes.zero_point)
    if bottom >= top:
        raise reader.file.fault(node, "a Clip that leaves a single code", "export the model again")
    origin = (*codes.origin, node.name)
    reader.codes[node.outputs[0]] = Codes(codes.source, codes.scale, codes.zero_point, bottom, top, origin)


def read_dequantize_linear(reader: Reader, node: OnnxNode) -> None:
    """DequantizeLinear of codes that QuantizeLinear made with the same scale and zero point: one quantizer."""
    codes = reader.codes.get(node.input(0))
    if codes is None:
        reader.tensor(node)
        raise reader.file.fault(node, "its input is no output of QuantizeLinear", "export the model again")
    scale, zero = _parameters(reader.file, node, reader.constants)
    source: Tensor = codes.source
    same = _along_axis(reader.file, node, scale, len(source.layout.axes))
    if not np.array_equal(same, codes.scale) or (zero != codes.zero_point).any():
        raise reader.file.fault(
            node, "its scale or zero point is not that of its QuantizeLinear", "export the model again"
        )
    per_channel = reader.per_channel(node, codes.scale, source.layout, "scale")
    quantizer = Quantizer(
        tuple(float(s) for s in source.layout.permute(per_channel)), zero_point=0, low=codes.low, high=codes.high
    )
    reader.emit(
        node,
        source.layout,
        lambda name, value: Quantize(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(*codes.origin, node.name),
            quantizer=quantizer,
            tensor=node.outputs[0],
        ),
    )


def quantize_constant(file: OnnxFile, node: OnnxNode, constants: Constants) -> np.ndarray:
    """QuantizeLinear of a constant: its codes, zero point included, in the float32 arithmetic of the operation."""
    x = constants.get(node.inputs[0]).astype(np.float32)
    if not np.isfinite(x).all():
        raise file.fault(node, f"constant '{node.inputs[0]}' holds NaN or infinity", "train the model again")
    scale, zero = _parameters(file, node, constants)
    limits = np.iinfo(zero.dtype if zero.size else np.uint8)
    scale, zero = (_along_axis(file, node, a, x.ndim) if a.size else np.zeros((), np.uint8) for a in (scale, zero))
    codes = np.rint(x / scale).astype(np.int64) + zero.astype(np.int64)
    return np.clip(codes, limits.min, limits.max).astype(limits.dtype)


def dequantize_constant(file: OnnxFile, node: OnnxNode, constants: Constants) -> QuantConst:
    """DequantizeLinear of constant codes: a quantized constant whose codes have no zero point."""
    raw = constants.get(node.inputs[0])
    if raw.dtype.kind not in "iu" and "int" not in raw.dtype.name:
        raise file.fault(node, f"codes of type {raw.dtype}", "give integers")
    scale, zero = _parameters(file, node, constants)
    codes = raw.astype(np.int64)
    if zero.size:
        codes = codes - _along_axis(file, node, zero, codes.ndim).astype(np.int64)
    bits = max(int(codes.max(initial=0)).bit_length(), int(-codes.min(initial=0) - 1).bit_length()) + 1
    origin = tuple(n.name for n in (_maker(file, node.inputs[0]), node) if n is not None)
    return QuantConst(codes, _along_axis(file, node, scale, codes.ndim), max(bits, 2), True, origin)


def _maker(file: OnnxFile, name: str) -> OnnxNode | None:
    return next((node for node in file.nodes if name in node.outputs), None)


def _parameters(file: OnnxFile, node: OnnxNode, constants: Constants) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point (an empty array when absent)."""
    if node.attributes.get("block_size", 0):
        raise file.fault(node, "scales in blocks", "use one scale a tensor or one an output channel")
    arrays = []
    for index, what in ((1, "scale"), (2, "zero point")):
        name = node.input(index)
        if not name and index == 2:
            arrays.append(np.zeros(0, dtype=np.uint8))
            continue
        if name not in constants:
            raise file.fault(node, f"the {what} is not a constant", "export the trained model in eval mode")
        arrays.append(constants.get(name))
    scale, zero = arrays
    if scale.dtype.name not in ("float32", "float64") or not scale.size:
        raise file.fault(node, f"a scale of type {scale.dtype}", "use float32 scales")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise file.fault(node, "the scale is not a positive number everywhere", "train again")
    if "int" not in zero.dtype.name:
        raise file.fault(node, f"a zero point of type {zero.dtype}", "quantize to integers")
    return scale, _widened(zero)


def _widened(zero: np.ndarray) -> np.ndarray:
    """Integers of fewer than 8 bits as int8 or uint8, which hold them; their range stays with the Clip or the codes."""
    if zero.dtype.kind in "iu":
        return zero
    return zero.astype(np.uint8 if zero.dtype.name.startswith("u") else np.int8)


def _along_axis(file: OnnxFile, node: OnnxNode, array: np.ndarray, rank: int) -> np.ndarray:
    """A scalar, or a vector along the node's axis, with ``rank`` axes."""
    if array.size == 1:
        return array.reshape((1,) * rank)
    axis = int(node.attributes.get("axis", 1))
    if array.ndim != 1 or not -rank <= axis < rank:
        raise file.fault(
            node, f"parameters of shape {array.shape} along axis {axis}", "use one a tensor or one a channel"
        )
    shape = [1] * rank
    shape[axis] = -1
    return array.reshape(shape)
