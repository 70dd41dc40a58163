"""Nodes of an ONNX graph that read constants only, computed: quantizers to codes, other operations by the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from toolchain.frontend.constants import Constants, QuantConst, read_quant
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.qdq_parameters import LINEAR_OPS, parameters
from toolchain.frontend.unsupported import quantized_otherwise
from toolchain.ir.types import QInt

_FOLDABLE = """
Abs Add Cast Ceil Clip Concat Constant ConstantOfShape Div Equal Erf Exp Expand Flatten Floor Gather Gemm HardSigmoid
Identity Log MatMul Max Min Mod Mul Neg Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu
Reshape Round Shape Sigmoid Sign Size Slice Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where
"""
FOLDABLE = frozenset(_FOLDABLE.split())

_BEYOND = 2.0**31
"""Further than any two codes that QuantizeLinear puts out are apart."""
_MOVING = ("Transpose", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather")


def fold(constants: Constants, node: OnnxNode) -> bool:
    """Compute ``node`` when all it reads is constant; False when it is not."""
    if not all(name in constants for name in node.inputs if name) or not (node.inputs or node.op == "Constant"):
        return False
    if node.is_quant and node.op != "Trunc":
        _quantize(constants, node)
    elif node.op in LINEAR_OPS and not node.domain:
        if node.op == "QuantizeLinear":
            constants.set(node.outputs[0], _quantize_linear(constants, node))
        else:
            constants.quantized[node.outputs[0]] = _dequantize_linear(constants, node)
    elif not _move_codes(constants, node):
        _evaluate(constants, node)
    return True


def _quantize(constants: Constants, node: OnnxNode) -> None:
    rule = read_quant(constants.file, node, constants)
    x = constants.float32(node.inputs[0])
    if not np.isfinite(x).all():
        raise constants.file.fault(node, f"constant '{node.inputs[0]}' holds NaN or infinity", "train the model again")
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float32)
    try:
        codes = np.broadcast_to(rule.codes(x), np.broadcast_shapes(x.shape, rule.scale.shape, rule.zero.shape))
    except ValueError as error:
        given = f"a scale of shape {rule.scale.shape}"
        given += f" with zero points of shape {rule.zero.shape}" if rule.zero.size > 1 else ""
        raise constants.file.fault(node, f"{given} does not fit the tensor's {x.shape}", "export again") from error
    bits, signed = (2, True) if rule.bipolar else (rule.bits, rule.signed)
    if rule.zero.any():  # the value is (code - zero point) * scale
        codes = codes - rule.zero
        limits = QInt.holding(min(rule.low - int(rule.zero.max()), -1), rule.high - int(rule.zero.min()))
        bits, signed = limits.bits, limits.signed
    scale = rule.scale.reshape((1,) * (codes.ndim - rule.scale.ndim) + rule.scale.shape)
    constants.quantized[node.outputs[0]] = QuantConst(codes, scale, bits, signed, (node.own_name,))


def _move_codes(constants: Constants, node: OnnxNode) -> bool:
    """Apply a node that only moves elements to codes and scale alike; False when it is none such."""
    source = constants.coded(node.inputs[0]) if node.inputs else None
    if node.op == "Concat":
        return _join_codes(constants, node)
    if source is None or node.op not in _MOVING:
        return False
    codes, scale = source.codes, source.scale
    if node.op == "Transpose":
        perm = node.attributes.get("perm") or list(range(codes.ndim))[::-1]
        codes, scale = codes.transpose(perm), scale.transpose(perm)
    elif node.op != "Identity":
        full = np.broadcast_to(scale, codes.shape)
        (codes,) = _run(constants, node, codes)
        scale = _alike(*_run(constants, node, full)) if scale.size > 1 else scale.reshape((1,) * codes.ndim)
    constants.quantized[node.outputs[0]] = QuantConst(
        codes, scale, source.bits, source.signed, (*source.origin, node.own_name)
    )
    return True


def _join_codes(constants: Constants, node: OnnxNode) -> bool:
    """Concatenate codes and scales; False where a part is no codes, or they do not fit together."""
    parts = [part for name in node.inputs if (part := constants.coded(name)) is not None]
    if len(parts) < len(node.inputs):
        return False
    axis, signed = int(node.attributes.get("axis", 1)), any(part.signed for part in parts)
    try:
        codes = np.concatenate([part.codes for part in parts], axis)
    except ValueError:
        return False
    scale = _alike(np.concatenate([np.broadcast_to(part.scale, part.codes.shape) for part in parts], axis))
    bits = max(part.bits + (signed and not part.signed) for part in parts)
    origin = (*(name for part in parts for name in part.origin), node.own_name)
    constants.quantized[node.outputs[0]] = QuantConst(codes, scale, bits, signed, origin)
    return True


def _alike(scale: np.ndarray) -> np.ndarray:
    """``scale`` with one entry along each axis on which it does not change."""
    for axis in range(scale.ndim):
        first = np.split(scale, [1], axis)[0]
        scale = first if (scale == first).all() else scale
    return scale


def _evaluate(constants: Constants, node: OnnxNode) -> None:
    if node.op not in FOLDABLE or node.domain:
        what, hint = "this operation on constants is not supported", "fold it before: onnxsim, or constant weights"
        raise constants.file.fault(node, *(quantized_otherwise(node.op, node.domain) or (what, hint)))
    for name, value in zip(node.outputs, _run(constants, node), strict=False):
        constants.set(name, value)


def _run(constants: Constants, node: OnnxNode, first: np.ndarray | None = None) -> list[np.ndarray]:
    """The outputs of one standard node on its constants; ``first`` replaces its first input."""
    feeds = {name: constants.float32(name) for name in node.inputs if name}
    if first is not None:
        feeds[node.inputs[0]] = first
    try:
        results = run_node(node.proto, constants.file.opset, feeds)
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError) as error:
        raise constants.file.fault(
            node, f"this constant cannot be computed: {error}", "export the model again"
        ) from error
    return [np.asarray(result) for result in results]


def _quantize_linear(constants: Constants, node: OnnxNode) -> np.ndarray:
    """QuantizeLinear of a constant: its codes, zero point included, in the float32 arithmetic of the operation."""
    x = constants.get(node.inputs[0]).astype(np.float32)
    if not np.isfinite(x).all():
        raise constants.file.fault(node, f"constant '{node.inputs[0]}' holds NaN or infinity", "train the model again")
    given = parameters(constants.file, node, constants, x.shape)
    with np.errstate(over="ignore"):  # infinity is clamped
        steps = np.clip(x / given.scale, -_BEYOND, _BEYOND)
    codes = np.rint(steps).astype(np.int64) + given.zero
    bits = max(given.type.bits, 8)  # fewer are kept in a byte, as numpy has no type for them
    return np.clip(codes, given.type.min, given.type.max).astype(f"{'' if given.type.signed else 'u'}int{bits}")


def _dequantize_linear(constants: Constants, node: OnnxNode) -> QuantConst:
    """DequantizeLinear of constant codes: a quantized constant whose codes have no zero point."""
    raw = constants.get(node.inputs[0])
    if raw.dtype.kind not in "iu" and "int" not in raw.dtype.name:
        raise constants.file.fault(node, f"codes of type {raw.dtype}", "give integers")
    given = parameters(constants.file, node, constants, raw.shape)
    codes = raw.astype(np.int64) - given.zero
    bits = max(int(codes.max(initial=0)).bit_length(), int(-codes.min(initial=0) - 1).bit_length()) + 1
    origin = tuple(n.own_name for n in (_maker(constants.file, node.inputs[0]), node) if n is not None)
    return QuantConst(codes, given.scale, max(bits, 2), True, origin)


def _maker(file: OnnxFile, name: str) -> OnnxNode | None:
    return next((node for node in file.nodes if name in node.outputs), None)


def run_node(proto: onnx.NodeProto, opset: int, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of one standard ONNX node on numpy arrays."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output]
    graph = helper.make_graph([proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return list(ReferenceEvaluator(model).run(None, dict(feeds)))
