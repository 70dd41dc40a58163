"""Operations on codes, onnxruntime's QOperator format, as Q/DQ nodes around the same operation on real numbers.

QLinearConv and its kin multiply or add codes less their zero points and round what that is worth to the codes of their
result. So does the operation between DequantizeLinear and QuantizeLinear in exact arithmetic; onnxruntime's own
kernels multiply by a float32 ratio of the scales instead, so their codes can differ where float32 stands on a tie.
QLinearAdd and QLinearMul add the result's zero point before they round: where it is odd, every tie goes to the other
code (``findings/onnxruntime_qlinear_ties.sh``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from onnx import NodeProto, TensorProto, helper

from toolchain.ir.names import Names

MICROSOFT = "com.microsoft"
_OWN_ATTRIBUTES = frozenset({"channels_last", "opset"})
"""Attributes that the operation on real numbers lacks."""


@dataclass(frozen=True)
class Form:
    """The form of an operation on codes: ``op`` on real numbers, and the places of its inputs.

    Of each operand the codes stand at a place of ``operands``, behind them scale and zero point; those of the result
    begin at ``result``. ``bias`` is the place of int32 numbers worth the product of both operands' scales.
    """

    op: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None


FORMS: Mapping[tuple[str, str], Form] = {
    ("", "QLinearConv"): Form("Conv", (0, 3), 6, bias=8),
    ("", "QLinearMatMul"): Form("MatMul", (0, 3), 6),
    (MICROSOFT, "QGemm"): Form("Gemm", (0, 3), 7, bias=6),
    (MICROSOFT, "QLinearAdd"): Form("Add", (0, 3), 6),
    (MICROSOFT, "QLinearMul"): Form("Mul", (0, 3), 6),
    (MICROSOFT, "QLinearAveragePool"): Form("AveragePool", (0,), 3),
    (MICROSOFT, "QLinearGlobalAveragePool"): Form("GlobalAveragePool", (0,), 3),
    (MICROSOFT, "QLinearLeakyRelu"): Form("LeakyRelu", (0,), 3),
    (MICROSOFT, "QLinearSigmoid"): Form("Sigmoid", (0,), 3),
    (MICROSOFT, "QLinearSoftmax"): Form("Softmax", (0,), 3),
    (MICROSOFT, "QLinearConcat"): Form("Concat", (), 0),
}
"""The forms of the operations on codes, by domain and name."""


def is_on_codes(node: NodeProto) -> bool:
    """Return whether ``node`` is one of `FORMS`."""
    return _kind(node) in FORMS


def zero_point_of(node: NodeProto) -> str:
    """The zero point, of the type of the codes that one of FORMS puts out; "" where it puts out real numbers."""
    return _input(node, FORMS[_kind(node)].result + 1)


def _kind(node: NodeProto) -> tuple[str, str]:
    return "" if node.domain == "ai.onnx" else node.domain, node.op_type


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


@dataclass
class QOperators:
    """Writes the operations on codes of one graph as Q/DQ; a tensor of codes is dequantized once.

    ``nodes`` are all of the graph, ``constants`` its initializers.
    """

    nodes: Sequence[NodeProto]
    constants: Iterable[TensorProto]
    _names: Names = field(init=False)
    _numbers: dict[str, bytes] = field(init=False)
    _known: dict[tuple[object, ...], str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = Names(name for node in self.nodes for name in (*node.input, *node.output))
        self._numbers = {tensor.name: _content(tensor) for tensor in self.constants if prod(tensor.dims) == 1}
        pairs = [node for node in self.nodes if node.op_type == "DequantizeLinear" and node.input and node.output]
        self._known = {self._key(node.input): node.output[0] for node in pairs}

    def written(self, node: NodeProto) -> tuple[list[NodeProto], list[NodeProto]]:
        """Return the nodes that dequantize the operands of ``node``, and its operation on them; both empty if unknown.

        The second ends with what dequantizes its result for those that read it.
        """
        form = FORMS.get(_kind(node))
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if form is None:
            return [], []
        places = form.operands or range(2, len(node.input), 3)
        operands = [[name for name in node.input[place : place + 3] if name] for place in places]
        alpha = given.get("alpha", 1.0)
        whole = node.output and operands and min(map(len, operands)) > 1 and isinstance(alpha, float)
        if given.get("channels_last", 0) or not whole:
            return [], []  # refused by its own name
        made: list[NodeProto] = []
        axis = _weight_axis(form.op, given)
        inputs = [self._real(node, names, axis if i else 1, made) for i, names in enumerate(operands)]
        if form.bias is not None and _input(node, form.bias):
            inputs.append(self._bias(node, form.bias, alpha, made))
        scale, zero, output = _input(node, form.result), _input(node, form.result + 1), node.output[0]
        real = self._names.fresh(f"{output}_real") if scale else output
        kept = {key: value for key, value in given.items() if key not in _OWN_ATTRIBUTES}
        operation = [helper.make_node(form.op, inputs, [real], node.name, **kept)]
        if scale:
            numbers = [scale, *([zero] if zero else [])]
            quantize = helper.make_node("QuantizeLinear", [real, *numbers], [output], node.name, domain=MICROSOFT)
            operation.append(quantize)
            self._real(node, [output, *numbers], 1, operation)
        return made, operation

    def _key(self, inputs: Sequence[str]) -> tuple[object, ...]:
        """Tensor, scale and zero point, where these are single numbers by what they are."""
        return (inputs[0], *(self._numbers.get(name, name) for name in inputs[1:]))

    def _real(self, node: NodeProto, names: Sequence[str], axis: int, made: list[NodeProto]) -> str:
        """The tensor of codes of ``names``, in front of its scale and zero point, on real numbers."""
        key = self._key(names)
        if key not in self._known:
            self._known[key] = self._names.fresh(f"{names[0]}_dequantized")
            made.append(_dequantize(node, names, self._known[key], axis))
        return self._known[key]

    def _bias(self, node: NodeProto, place: int, alpha: float, made: list[NodeProto]) -> str:
        """The bias on real numbers: float64 holds the product of two float32 scales."""

        def step(op: str, *inputs: str, **attributes: Any) -> str:
            name = self._names.fresh(f"{node.input[place]}_scale")
            made.append(helper.make_node(op, inputs, [name], node.name, **attributes))
            return name

        scale = step("Mul", *(step("Cast", node.input[i], to=TensorProto.DOUBLE) for i in (1, 4)))
        if alpha != 1:
            number = helper.make_tensor("alpha", TensorProto.DOUBLE, (), [alpha])
            scale = step("Mul", scale, step("Constant", value=number))
        real = self._names.fresh(f"{node.input[place]}_dequantized")
        made.append(_dequantize(node, [node.input[place], scale], real, 0))
        return real


def _content(tensor: TensorProto) -> bytes:
    """Return ``tensor`` without its name, as bytes: equal constants have equal ones."""
    same = TensorProto()
    same.CopyFrom(tensor)
    same.ClearField("name")
    return bytes(same.SerializeToString())


def _dequantize(node: NodeProto, inputs: Sequence[str], output: str, axis: int) -> NodeProto:
    """A DequantizeLinear of the domain that has ``axis`` whatever the opset."""
    return helper.make_node("DequantizeLinear", inputs, [output], node.name, domain=MICROSOFT, axis=axis)


def _weight_axis(op: str, attributes: Mapping[str, object]) -> int:
    """The axis of the output channels in the second operand."""
    return 0 if op == "Conv" or (op == "Gemm" and attributes.get("transB", 0)) else 1
