"""QuantizeLinear and DequantizeLinear: quantizers written as two standard nodes, with a Clip between for few bits.

A zero point is subtracted from the codes: QuantizeLinear rounds before it adds the zero point, so a quantizer with zero
point 0 and a shifted range is the same function, and pads with the code 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from toolchain.frontend.codes import quantizer_of, shifted
from toolchain.frontend.constants import Constants, QuantConst
from toolchain.frontend.layout import Tensor
from toolchain.frontend.linear import emit_affine
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.reader import Codes, Reader
from toolchain.ir.model_ops import Quantize
from toolchain.ir.types import QInt

MAX_BITS = 16
"""Of the codes that QuantizeLinear puts out."""


@dataclass(frozen=True)
class Parameters:
    """Scale (float32) and zero point (int64) of a node, a scalar or of the tensor's rank; ``type`` is of its codes."""

    scale: np.ndarray
    zero: np.ndarray
    type: QInt


def read_quantize_linear(reader: Reader, node: OnnxNode) -> None:
    """QuantizeLinear of an activation: remembered until DequantizeLinear gives its codes their value."""
    source = reader.tensor(node)
    given = _parameters(reader.file, node, reader.constants, reader.shape(source))
    if (given.zero != given.zero.flat[0]).any():
        raise reader.file.fault(node, "the zero point differs between channels", "use one zero point a tensor")
    point = int(given.zero.flat[0])
    low, high = given.type.min - point, given.type.max - point
    reader.codes[node.outputs[0]] = Codes(node, source, given.scale, point, low, high, (node.name,), given.type)


def narrow_codes(reader: Reader, node: OnnxNode, low: float, high: float) -> None:
    """A Clip of codes: narrows the range of the quantizer."""
    codes = reader.codes[node.input(0)]
    bottom = codes.low if np.isinf(low) else max(codes.low, int(low) - codes.zero_point)
    top = codes.high if np.isinf(high) else min(codes.high, int(high) - codes.zero_point)
    if bottom >= top:
        raise reader.file.fault(node, "a Clip that leaves a single code", "export the model again")
    origin = (*codes.origin, node.name)
    reader.codes[node.outputs[0]] = Codes(
        node, codes.source, codes.scale, codes.zero_point, bottom, top, origin, codes.type
    )


def read_dequantize_linear(reader: Reader, node: OnnxNode) -> None:
    """DequantizeLinear of codes that QuantizeLinear made with the same scale and zero point: one quantizer."""
    codes = reader.codes.get(node.input(0))
    if codes is None or node.input(0) in reader.integers:
        _dequantize(reader, node)
        return
    source: Tensor = codes.source
    given = _parameters(reader.file, node, reader.constants, reader.shape(source))
    if not np.array_equal(given.scale, codes.scale) or (given.zero != codes.zero_point).any():
        raise reader.file.fault(
            node, "its scale or zero point is not that of its QuantizeLinear", "export the model again"
        )
    if node.input(2) and given.type != codes.type:
        raise reader.file.fault(node, "its zero point is of another type than the codes", "export the model again")
    quantizer = quantizer_of(reader, node, codes)
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


def _dequantize(reader: Reader, node: OnnxNode) -> None:
    """DequantizeLinear of codes that have been moved, or that are the network's input: times the scale."""
    name = node.input(0)
    if name not in reader.integers:
        reader.tensor(node)
        raise reader.file.fault(node, "its input is no output of QuantizeLinear", "export the model again")
    found = reader.integers[name]
    layout = found.tensor.layout
    given = _parameters(reader.file, node, reader.constants, reader.shape(found.tensor))
    if node.input(2) and given.type != found.type:
        raise reader.file.fault(node, "its zero point is of another type than the codes", "export the model again")
    shift = found.zero_point - reader.per_channel(node, given.zero, layout, "zero point")
    scale = reader.per_channel(node, given.scale, layout, "scale")
    emit_affine(reader, node, shifted(reader, node, found.tensor, shift), scale, np.zeros(1))


def quantize_constant(file: OnnxFile, node: OnnxNode, constants: Constants) -> np.ndarray:
    """QuantizeLinear of a constant: its codes, zero point included, in the float32 arithmetic of the operation."""
    x = constants.get(node.inputs[0]).astype(np.float32)
    if not np.isfinite(x).all():
        raise file.fault(node, f"constant '{node.inputs[0]}' holds NaN or infinity", "train the model again")
    given = _parameters(file, node, constants, x.shape)
    codes = np.rint(x / given.scale).astype(np.int64) + given.zero
    bits = max(given.type.bits, 8)  # fewer are kept in a byte, as numpy has no type for them
    return np.clip(codes, given.type.min, given.type.max).astype(f"{'' if given.type.signed else 'u'}int{bits}")


def dequantize_constant(file: OnnxFile, node: OnnxNode, constants: Constants) -> QuantConst:
    """DequantizeLinear of constant codes: a quantized constant whose codes have no zero point."""
    raw = constants.get(node.inputs[0])
    if raw.dtype.kind not in "iu" and "int" not in raw.dtype.name:
        raise file.fault(node, f"codes of type {raw.dtype}", "give integers")
    given = _parameters(file, node, constants, raw.shape)
    codes = raw.astype(np.int64) - given.zero
    bits = max(int(codes.max(initial=0)).bit_length(), int(-codes.min(initial=0) - 1).bit_length()) + 1
    origin = tuple(n.name for n in (_maker(file, node.inputs[0]), node) if n is not None)
    return QuantConst(codes, given.scale, max(bits, 2), True, origin)


def _maker(file: OnnxFile, name: str) -> OnnxNode | None:
    return next((node for node in file.nodes if name in node.outputs), None)


def _parameters(file: OnnxFile, node: OnnxNode, constants: Constants, shape: tuple[int, ...]) -> Parameters:
    """Scale and zero point of ``node``, which works on a tensor of ``shape``; an absent zero point is 0."""
    for index, what in ((1, "scale"), (2, "zero point")):
        if node.input(index) not in constants and (node.input(index) or what == "scale"):
            raise file.fault(node, f"the {what} is not a constant", "export the trained model in eval mode")
    scale = constants.get(node.input(1))
    zero = constants.get(node.input(2)) if node.input(2) else None
    if scale.dtype.name not in ("float32", "float64") or not scale.size:
        raise file.fault(node, f"a scale of type {scale.dtype}", "use float32 scales")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise file.fault(node, "the scale is not a positive number everywhere", "train again")
    kind = code_type(file, node, zero)
    zero = np.zeros(1) if zero is None else zero
    if zero.size not in (1, scale.size):
        raise file.fault(node, f"{zero.size} zero points and {scale.size} scales", "export the model again")
    return Parameters(_laid_out(file, node, scale, shape), _laid_out(file, node, zero.astype(np.int64), shape), kind)


def code_type(file: OnnxFile, node: OnnxNode, zero: np.ndarray | None) -> QInt:
    """The type of the codes of ``node``: the ``zero`` point's, else QuantizeLinear's ``output_dtype``, else uint8.

    ``saturate`` rules only floats of 8 bits, which are refused.
    """
    stated = _type_attribute(node, "output_dtype")
    name = "uint8" if zero is None else zero.dtype.name
    if node.op == "DequantizeLinear":
        if stated not in ("", "float"):
            raise file.fault(node, f"an output of type {stated}", "dequantize to float32")
    else:
        if _type_attribute(node, "precision") not in ("", "float"):
            raise file.fault(node, f"a division in {_type_attribute(node, 'precision')}", "leave 'precision' out")
        if stated and zero is not None and stated != name:
            raise file.fault(node, f"output_dtype {stated} and a zero point of type {name}", "export the model again")
        name = stated if stated and zero is None else name
    found = re.fullmatch(r"(u?)int([0-9]+)", name)
    if found is None or (node.op == "QuantizeLinear" and int(found[2]) > MAX_BITS):
        raise file.fault(node, f"codes of type {name}", f"quantize to integers of at most {MAX_BITS} bits")
    return QInt(int(found[2]), not found[1])


def _type_attribute(node: OnnxNode, key: str) -> str:
    """The element type that the attribute ``key`` names, "" when it names none."""
    value = int(node.attributes.get(key, 0))
    return str(TensorProto.DataType.Name(value)).lower() if value in TensorProto.DataType.values() and value else ""


def _laid_out(file: OnnxFile, node: OnnxNode, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A scalar, a vector along the node's axis, or one number a block of it, as an array of the rank of ``shape``."""
    rank, axis, block = len(shape), int(node.attributes.get("axis", 1)), int(node.attributes.get("block_size", 0))
    if array.size == 1:
        return array.reshape((1,) * rank)
    fits = -rank <= axis < rank
    if fits and block > 0 and array.ndim == rank:
        whole = np.repeat(array, block, axis=axis).take(range(shape[axis]), axis=axis, mode="clip")
        blocks = -(-shape[axis] // block)
        if array.shape[axis] == blocks and whole.shape == shape:
            return _constant_axes_dropped(whole)
    elif fits and not block and array.ndim == 1 and array.size == shape[axis]:
        spread = [1] * rank
        spread[axis] = -1
        return array.reshape(spread)
    blocks_of = f" in blocks of {block}" if block else ""
    raise file.fault(
        node,
        f"parameters of shape {array.shape} along axis {axis}{blocks_of} do not fit the tensor's {shape}",
        "use one a tensor or one a channel",
    )


def _constant_axes_dropped(array: np.ndarray) -> np.ndarray:
    """``array`` with one entry along each axis that it does not differ along."""
    for axis in range(array.ndim):
        first = array.take([0], axis=axis)
        if (array == first).all():
            array = first
    return array
