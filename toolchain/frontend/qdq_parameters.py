"""Scale, zero point and type that a QuantizeLinear or DequantizeLinear node states."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from toolchain.frontend.constants import Constants
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.ir.types import QInt

LINEAR_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
MAX_BITS = 16
"""The widest codes that QuantizeLinear puts out, in bits."""


@dataclass(frozen=True)
class Parameters:
    """Scale (float32) and zero point (int64) of a node, a scalar or of the tensor's rank; ``type`` is of its codes."""

    scale: np.ndarray
    zero: np.ndarray
    type: QInt


def parameters(file: OnnxFile, node: OnnxNode, constants: Constants, shape: tuple[int, ...]) -> Parameters:
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
    stated = type_attribute(node, "output_dtype")
    name = "uint8" if zero is None else zero.dtype.name
    if node.op == "DequantizeLinear":
        if stated not in ("", "float"):
            raise file.fault(node, f"an output of type {stated}", "dequantize to float32")
    else:
        if type_attribute(node, "precision") not in ("", "float"):
            raise file.fault(node, f"a division in {type_attribute(node, 'precision')}", "leave 'precision' out")
        if stated and zero is not None and stated != name:
            raise file.fault(node, f"output_dtype {stated} and a zero point of type {name}", "export the model again")
        name = stated if stated and zero is None else name
    found = re.fullmatch(r"(u?)int([0-9]+)", name)
    if found is None or (node.op == "QuantizeLinear" and int(found[2]) > MAX_BITS):
        raise file.fault(node, f"codes of type {name}", f"quantize to integers of at most {MAX_BITS} bits")
    return QInt(int(found[2]), not found[1])


def type_attribute(node: OnnxNode, key: str) -> str:
    """Return the element type that the attribute ``key`` names, "" where it names none."""
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
