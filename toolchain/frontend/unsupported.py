"""The reasons why an operation cannot be built, each with a form that does the same."""

from __future__ import annotations

import re

import onnx

_STATIC = "quantize statically: onnxruntime's quantize_static(quant_format=QuantFormat.QDQ)"
_QDQ = "write QuantizeLinear and DequantizeLinear: onnxruntime's quantize_static(quant_format=QuantFormat.QDQ)"
_VENDOR = "export with the standard operations: quant_format=QuantFormat.QDQ of the same tool"
_MOMENTS = "train with BatchNormalization"
_RECURRENT = (
    "its states are real numbers: take brevitas' QuantLSTM, exported with dynamo=False, or unroll it over a fixed "
    "number of steps x[:, t]: linear layers, Sigmoid, Tanh and products with a quantizer behind each"
)
HINTS = {
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "QuantLSTMCell": "give its sequence a fixed length of at most 256 steps, as the node of brevitas' QuantLSTM",
    "RNN": _RECURRENT,
    "GroupNormalization": _MOMENTS,
    "InstanceNormalization": _MOMENTS,
}
"""The remedies for operations of the standard that cannot be built."""
_DYNAMIC = re.compile(r"Dynamic.*|MatMulInteger.*|ConvInteger")
_INTEGER = re.compile(r"QLinear.*|QGemm|QAttention|QEmbed.*|QGlobal.*")
QONNX = "qonnx.custom_op.general"
VENDORS = frozenset({"com.vai.quantize", "com.amd.quark"})


def quantized_otherwise(op: str, domain: str) -> tuple[str, str] | None:
    """Return the fault of a quantization that is neither Quant nor Q/DQ and its remedy, or None if ``op`` is none."""
    if op == "FloatQuant":
        return "a minifloat quantizer: numbers of the accelerator are integers", "use Quant nodes, e.g. brevitas' Int8"
    if op == "DynamicQuantizeLSTM":
        return f"{op}: dynamic quantization, whose scales differ from input to input, is not supported", _RECURRENT
    if _DYNAMIC.fullmatch(op):
        return f"{op}: dynamic quantization, whose scales differ from input to input, is not supported", _STATIC
    if _INTEGER.fullmatch(op):
        return f"the operation {op} on integers is not supported", _QDQ
    if domain in VENDORS:
        return f"the operation {op} of domain '{domain}' is not supported", _VENDOR
    return None


def unknown_to_onnx(op: str, domain: str) -> tuple[str, str] | None:
    """Return the fault of an operation that ONNX lacks and its remedy, or None if it has ``op``.

    tf2onnx writes what it has no handler for under TensorFlow's name.
    """
    if domain or onnx.defs.has(op):
        return None
    return f"{op} is no operation of ONNX", "the converter did not know it and said so in its log: write it otherwise"


def why_not(op: str, domain: str, supported: str) -> tuple[str, str]:
    """Return why the operation cannot be built, and a remedy; ``supported`` lists the operations that can."""
    where = f" of domain '{domain}'" if domain else ""
    hint = HINTS.get(op, "") if not domain or domain == QONNX else ""
    plain = f"the operation {op}{where} is not supported", hint or f"supported: {supported}"
    return quantized_otherwise(op, domain) or unknown_to_onnx(op, domain) or plain
