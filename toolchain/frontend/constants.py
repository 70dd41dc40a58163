"""Constants of an ONNX graph: folding of constant nodes, and QONNX quantizers applied to constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.unsupported import quantized_otherwise
from toolchain.ir.evaluate import ROUNDING
from toolchain.ir.input_types import Datatype, datatype
from toolchain.ir.types import QInt

MAX_BITS = 32
SYNONYMS = {"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}
_FOLDABLE = """
Abs Add Cast Ceil Clip Concat Constant ConstantOfShape Div Equal Exp Expand Flatten Floor Gather Identity Log Max Min
Mul Neg Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round Shape Sign Size
Slice Sqrt Squeeze Sub Sum Tile Transpose Unsqueeze Where
"""
LINEAR_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
FOLDABLE = frozenset(_FOLDABLE.split())


@dataclass(frozen=True)
class QuantRule:
    """What a Quant node says, before its scale is laid out along channels; ``scale`` is as in the file."""

    scale: np.ndarray
    zero_point: int
    low: int
    high: int
    bits: int
    signed: bool
    rounding: str
    bipolar: bool

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes (int64) of ``x``: clamp, then round, in the float type of ``x`` and the scale as the executor does.

        The executor's own arithmetic decides which side of a tie a weight falls on; a float64 quotient could differ.
        """
        if self.bipolar:
            return np.where(x >= 0, 1, -1).astype(np.int64)
        with np.errstate(over="ignore"):  # infinity is clamped
            quotient = x / self.scale
        clamped = np.clip(quotient + x.dtype.type(self.zero_point), self.low, self.high)
        return np.clip(ROUNDING[self.rounding](clamped).astype(np.int64), self.low, self.high)


@dataclass(frozen=True)
class QuantConst:
    """A constant behind a quantizer: value = codes * scale; ``scale`` has the rank of ``codes``."""

    codes: np.ndarray
    scale: np.ndarray
    bits: int
    signed: bool
    origin: tuple[str, ...]

    @property
    def real(self) -> np.ndarray:
        """The real values, float64."""
        return np.asarray(self.codes * self.scale.astype(np.float64))


class Constants:
    """The constant tensors of ``file`` known so far, by name; ``quantized`` holds those that are codes with a scale."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._plain: dict[str, np.ndarray] = dict(file.constants)
        self.quantized: dict[str, QuantConst] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._plain or name in self.quantized

    def get(self, name: str) -> np.ndarray:
        """The tensor ``name``; a quantized one as its real values in float64."""
        quantized = self.quantized.get(name)
        return self._plain[name] if quantized is None else quantized.real

    def coded(self, name: str) -> QuantConst | None:
        """The tensor ``name`` as codes with a scale: behind a quantizer, or of a noted datatype; else None."""
        if name in self.quantized or name not in self._plain:
            return self.quantized.get(name)
        noted = number_type(self._file.datatypes.get(name, ""))
        array = self._plain[name]
        if noted is None or not array.size or not np.isfinite(array).all():
            return None
        step = float(noted.step)  # a power of two
        codes = np.rint(array / step).astype(np.int64)
        if (codes * step != array).any() or codes.min() < noted.low or codes.max() > noted.high:
            return None
        kind = QInt.holding(int(codes.min()), int(codes.max()))
        return QuantConst(codes, np.full((1,) * codes.ndim, step, np.float32), kind.bits, kind.signed, ())

    def set(self, name: str, array: np.ndarray) -> None:
        """Define the constant ``name``."""
        self._plain[name] = array

    def fold(self, node: OnnxNode) -> bool:
        """Compute ``node`` when all it reads is constant; False when it is not."""
        if not all(name in self for name in node.inputs if name) or not (node.inputs or node.op == "Constant"):
            return False
        if node.is_quant and node.op != "Trunc":
            self._quantize(node)
        elif node.op in LINEAR_OPS and not node.domain:
            from toolchain.frontend import qcdq  # it builds on this module

            if node.op == "QuantizeLinear":
                self._plain[node.outputs[0]] = qcdq.quantize_constant(self._file, node, self)
            else:
                self.quantized[node.outputs[0]] = qcdq.dequantize_constant(self._file, node, self)
        elif not self._move_codes(node):
            self._evaluate(node)
        return True

    def _quantize(self, node: OnnxNode) -> None:
        rule = read_quant(self._file, node, self)
        x = self.get(node.inputs[0])
        if not np.isfinite(x).all():
            raise self._file.fault(node, f"constant '{node.inputs[0]}' holds NaN or infinity", "train the model again")
        if not np.issubdtype(x.dtype, np.floating):
            x = x.astype(np.float32)
        try:
            codes = np.broadcast_to(rule.codes(x), np.broadcast_shapes(x.shape, rule.scale.shape))
        except ValueError as error:
            raise self._file.fault(
                node, f"a scale of shape {rule.scale.shape} does not fit the tensor's {x.shape}", "export again"
            ) from error
        bits, signed = (2, True) if rule.bipolar else (rule.bits, rule.signed)
        if rule.zero_point:  # the value is (code - zero point) * scale
            codes = codes - rule.zero_point
            limits = QInt.holding(min(rule.low - rule.zero_point, -1), rule.high - rule.zero_point)
            bits, signed = limits.bits, limits.signed
        scale = rule.scale.reshape((1,) * (codes.ndim - rule.scale.ndim) + rule.scale.shape)
        self.quantized[node.outputs[0]] = QuantConst(codes, scale, bits, signed, (node.name,))

    def _move_codes(self, node: OnnxNode) -> bool:
        """Apply a node that only moves elements to codes and scale alike; False when it is none such."""
        source = self.coded(node.inputs[0]) if node.inputs else None
        if source is None or node.op not in ("Transpose", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return False
        codes, scale = source.codes, source.scale
        if node.op == "Transpose":
            perm = node.attributes.get("perm") or list(range(codes.ndim))[::-1]
            codes, scale = codes.transpose(perm), scale.transpose(perm)
        elif node.op != "Identity":
            full = np.broadcast_to(scale, codes.shape)
            codes = self._run(node, codes)
            scale = self._run(node, full) if scale.size > 1 else scale.reshape((1,) * codes.ndim)
        self.quantized[node.outputs[0]] = QuantConst(
            codes, scale, source.bits, source.signed, (*source.origin, node.name)
        )
        return True

    def _evaluate(self, node: OnnxNode) -> None:
        if node.op not in FOLDABLE or node.domain:
            what, hint = "this operation on constants is not supported", "fold it before: onnxsim, or constant weights"
            raise self._file.fault(node, *(quantized_otherwise(node.op, node.domain) or (what, hint)))
        self._plain[node.outputs[0]] = self._run(node)

    def _run(self, node: OnnxNode, first: np.ndarray | None = None) -> np.ndarray:
        """Run one standard node on its constants; ``first`` replaces its first input."""
        feeds = {name: self._float32(name) for name in node.inputs if name}
        if first is not None:
            feeds[node.inputs[0]] = first
        try:
            (result,) = run_node(node.proto, self._file.opset, feeds)
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError) as error:
            raise self._file.fault(
                node, f"this constant cannot be computed: {error}", "export the model again"
            ) from error
        return np.asarray(result)

    def _float32(self, name: str) -> np.ndarray:
        return self.get(name).astype(np.float32) if name in self.quantized else self._plain[name]


def number_type(name: str) -> Datatype | None:
    """The QONNX datatype ``name`` of a constant; None unless it holds numbers of up to 32 bits."""
    found = datatype(name)
    return found if found is not None and QInt.holding(found.low, found.high).bits <= MAX_BITS else None


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


def read_quant(file: OnnxFile, node: OnnxNode, constants: Constants) -> QuantRule:
    """The rule of a Quant, IntQuant or BipolarQuant node; UserError when a parameter is not what hardware can do."""
    bipolar = node.op == "BipolarQuant"
    names = ("scale",) if bipolar else ("scale", "zero point", "bit width")
    given = [_parameter(file, node, constants, i + 1, what) for i, what in enumerate(names)]
    scale = given[0]
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise file.fault(
            node, "the scale is not a positive number everywhere", "train again, or raise the scale's minimum"
        )
    if bipolar:
        return QuantRule(scale, 0, -1, 1, 1, True, "ROUND", True)
    zero_point = _integer(file, node, given[1], "zero point")
    if abs(zero_point) >= 1 << 24:
        raise file.fault(node, f"a zero point of {zero_point:g}", "float32 holds zero points below 2**24")
    bits = _integer(file, node, given[2], "bit width")
    if not 1 <= bits <= MAX_BITS:
        raise file.fault(node, f"a bit width of {bits}", f"use 1 to {MAX_BITS} bits")
    signed = bool(node.attributes.get("signed", 1))
    narrow = bool(node.attributes.get("narrow", 0))
    rounding = rounding_of(file, node, "ROUND")
    if bits == 1 and signed:  # the QONNX executor reads a signed bit as -1 or +1
        if zero_point:
            raise file.fault(node, f"a 1-bit quantizer with zero point {zero_point}", "use zero point 0")
        return QuantRule(scale, 0, -1, 1, 1, True, rounding, True)
    low = -(1 << (bits - 1)) + narrow if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
    if low == high:
        raise file.fault(node, "an unsigned narrow quantizer of 1 bit has no code but 0", "use 2 bits, or narrow=0")
    return QuantRule(scale, zero_point, low, high, bits, signed, rounding, False)


def rounding_of(file: OnnxFile, node: OnnxNode, default: str) -> str:
    """The rounding mode of a quantizer, synonyms resolved; UserError for an unknown one."""
    mode = node.attributes.get("rounding_mode", default)
    mode = (mode.decode("utf-8", "replace") if isinstance(mode, bytes) else str(mode)).upper()
    if mode not in ROUNDING:
        raise file.fault(node, f"rounding mode '{mode}'", f"use one of {', '.join(ROUNDING)}")
    return SYNONYMS.get(mode, mode)


def _parameter(file: OnnxFile, node: OnnxNode, constants: Constants, index: int, what: str) -> np.ndarray:
    name = node.input(index)
    if not name or name not in constants:
        raise file.fault(
            node,
            f"the {what} is {'missing' if not name else 'not a constant'}",
            "export the trained model in eval mode, so that quantizer parameters are constants",
        )
    array = constants.get(name)
    if not np.issubdtype(array.dtype, np.number) or not array.size:
        raise file.fault(node, f"the {what} is not a number", "export the model again")
    return array


def _integer(file: OnnxFile, node: OnnxNode, array: np.ndarray, what: str) -> int:
    first = float(array.ravel()[0])
    if not np.isfinite(first) or first != int(first):
        raise file.fault(node, f"the {what} {first:g} is not an integer", "export the model again")
    if (array != first).any():
        raise file.fault(node, f"the {what} differs between channels", f"use one {what} a tensor")
    return int(first)
