"""Operations on codes, as onnxruntime's QOperator format has them, are their Q/DQ equals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.onnx_models import Net
from tests.verdicts import demand_one_verdict, lowered
from toolchain.errors import UserError
from toolchain.frontend.agreement import Agreement, compare
from toolchain.frontend.execute import execute_in_parts, execute_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.model import Quantize
from toolchain.ir.types import UNIT_PIXEL, Encoding, QInt
from toolchain.lowering.pipeline import to_integer

MICROSOFT = "com.microsoft"


class CodedNet(Net):
    """A graph of operations on codes of one type, with scales that are powers of two where ``dyadic``."""

    def __init__(self, kind: Any, *, dyadic: bool, seed: int = 0) -> None:
        super().__init__((1, 3, 6, 6), seed=seed)
        self.kind, self.dyadic = kind, dyadic

    def scale(self, low: float = 0.02, high: float = 0.04, channels: int | None = None) -> str:
        """A scale, or one a channel."""
        values = self.rng.uniform(low, high, () if channels is None else channels)
        return self.const(2.0 ** np.round(np.log2(values)) if self.dyadic else values)

    def pair(self, low: float = 0.02, high: float = 0.04) -> tuple[str, str]:
        """Scale and zero point of an activation."""
        limits = np.iinfo(self.kind)
        return self.scale(low, high), self.const(int(self.rng.integers(limits.min, limits.max)), self.kind)

    def codes(self) -> tuple[str, str, str]:
        """The input's codes with scale and zero point."""
        middle = (self.scale(), self.const(np.iinfo(self.kind).min + 100, self.kind))
        return (self.add("QuantizeLinear", "x", *middle), *middle)

    def weight(self, *shape: int, axis: int = 0, kind: Any = np.int8, **_: Any) -> tuple[str, str, str]:  # type: ignore[override]
        """Weights with a scale a channel and the zero point of their type."""
        limits, channels = np.iinfo(kind), shape[axis]
        zero = self.const([128 if kind is np.uint8 else 0] * channels, kind)
        codes = self.const(self.rng.integers(limits.min, limits.max + 1, shape), kind)
        return codes, self.scale(0.002, 0.008, channels), zero

    def end(self, path: Path, codes: str, pair: tuple[str, str]) -> Path:
        """The file whose output are the real values of ``codes``."""
        return self.save(path, self.add("DequantizeLinear", codes, *pair))

    def save(self, path: Path, output: str, *, index: bool = False) -> Path:
        """Beside the domains of a Net that of onnxruntime."""
        super().save(path, output, index=index)
        model = onnx.load(path)
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
        path.write_bytes(model.SerializeToString())
        return path


def conv(net: CodedNet) -> tuple[str, tuple[str, str]]:
    x, w, y = net.codes(), net.weight(4, 3, 3, 3), net.pair(0.03, 0.1)
    bias = net.const(net.rng.integers(-5000, 5000, 4), np.int32)
    return net.add("QLinearConv", *x, *w, *y, bias, pads=[1, 1, 0, 1], strides=[2, 1], name="conv"), y


def depthwise(net: CodedNet) -> tuple[str, tuple[str, str]]:
    x, y = net.codes(), net.pair(0.03, 0.1)
    kind = net.kind if net.kind is np.uint8 else np.int8
    return net.add("QLinearConv", *x, *net.weight(3, 1, 3, 3, kind=kind), *y, group=3, pads=[1] * 4), y


def gemm(net: CodedNet, **attributes: Any) -> tuple[str, tuple[str, str]]:
    codes, *numbers = net.codes()
    x = net.add("MaxPool", codes, kernel_shape=[6, 6])
    x, y = net.add("Flatten", x), net.pair(0.02, 0.05)
    bias = net.const(net.rng.integers(-500, 500, 5), np.int32)
    inputs = (x, *numbers, *net.weight(5, 3), bias, *y)
    return net.add("QGemm", *inputs, domain=MICROSOFT, transB=1, alpha=1.0, **attributes), y


def matmul(net: CodedNet) -> tuple[str, tuple[str, str]]:
    codes, *numbers = net.codes()
    x, y = net.add("Flatten", net.add("MaxPool", codes, kernel_shape=[6, 6])), net.pair(0.02, 0.05)
    return net.add("QLinearMatMul", x, *numbers, *net.weight(3, 5, axis=1), *y), y


def of_two(op: str, *, odd: bool = False) -> Callable[[CodedNet], tuple[str, tuple[str, str]]]:
    """The input and a convolution of it meet; the result's zero point is even, or ``odd``."""

    def made(net: CodedNet) -> tuple[str, tuple[str, str]]:
        x, between = net.codes(), net.pair(0.03, 0.1)
        y = (net.scale(0.2, 0.3), net.const(np.iinfo(net.kind).min + 120 + odd, net.kind))
        branch = net.add("QLinearConv", *x, *net.weight(3, 3, 1, 1), *between)
        return net.add(op, *x, branch, *between, *y, domain=MICROSOFT), y

    return made


def concat(net: CodedNet) -> tuple[str, tuple[str, str]]:
    x, between, y = net.codes(), net.pair(0.03, 0.1), net.pair(0.03, 0.1)
    branch = net.add("QLinearConv", *x, *net.weight(2, 3, 1, 1), *between)
    return net.add("QLinearConcat", *y, *x, branch, *between, domain=MICROSOFT, axis=1), y


def single(op: str, **attributes: Any) -> Callable[[CodedNet], tuple[str, tuple[str, str]]]:
    def made(net: CodedNet) -> tuple[str, tuple[str, str]]:
        x, y = net.codes(), net.pair(0.012, 0.03)
        return net.add(op, *x, *y, domain=MICROSOFT, **attributes), y

    return made


OPERATIONS: dict[str, Callable[[CodedNet], tuple[str, tuple[str, str]]]] = {
    "QLinearConv": conv,
    "QLinearConv by channel": depthwise,
    "QLinearMatMul": matmul,
    "QGemm": gemm,
    "QLinearAdd": of_two("QLinearAdd"),
    "QLinearMul": of_two("QLinearMul"),
    "QLinearConcat": concat,
    "QLinearSigmoid": single("QLinearSigmoid"),
    "QLinearLeakyRelu": single("QLinearLeakyRelu", alpha=0.125),
    "QLinearAveragePool": single("QLinearAveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "QLinearGlobalAveragePool": single("QLinearGlobalAveragePool", channels_last=0),
}


def agreement(path: Path, images: int = 24) -> Agreement:
    """Of the file as onnxruntime's own kernels run it: random inputs, and those at the ends of the range."""
    model, integer = lowered(path)  # type: ignore[misc]  # it is built
    x = np.random.default_rng(3).normal(0, 1.5, (images, 6, 6, 3))
    x[0], x[1], x[2] = -10, 10, 0
    return compare(model, integer, x.astype(np.float32))


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("op", OPERATIONS)
def test_operations_on_codes_are_what_onnxruntime_computes(op: str, kind: Any, tmp_path: Path) -> None:
    """The file's own operations run, not what is read instead of them; a code differs only at a tie of float32."""
    net = CodedNet(kind, dyadic=False)
    path = net.end(tmp_path / "net.onnx", *OPERATIONS[op](net))
    found = agreement(path)
    assert found.codes > 500 or "Gemm" in op or "MatMul" in op or "Global" in op
    assert found.mismatches <= found.codes // 500


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("op", OPERATIONS)
def test_where_scales_are_powers_of_two_every_code_is_the_same(op: str, kind: Any, tmp_path: Path) -> None:
    """Float32 holds every number then, and a third of the results is a tie, which both round to even."""
    net = CodedNet(kind, dyadic=True)
    found = agreement(net.end(tmp_path / "net.onnx", *OPERATIONS[op](net)))
    assert found.mismatches == 0 < found.codes


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_onnxruntime_rounds_ties_of_two_with_the_zero_point_added(op: str, tmp_path: Path) -> None:
    """With an odd one they go to the other code than by QuantizeLinear; nothing but ties differs."""
    net = CodedNet(np.uint8, dyadic=True)
    found = agreement(net.end(tmp_path / "net.onnx", *of_two(op, odd=True)(net)))
    assert found.mismatches > 0 == found.worst


def test_a_softmax_on_codes_at_the_end_is_the_hosts(tmp_path: Path) -> None:
    net = CodedNet(np.uint8, dyadic=False)
    codes, numbers = gemm(net)
    y = (net.const(1 / 256), net.const(0, np.uint8))
    x = net.add("QLinearSoftmax", codes, *numbers, *y, domain=MICROSOFT, axis=1, opset=13)
    found = agreement(net.end(tmp_path / "net.onnx", x, y))
    assert found.mismatches == 0 and found.output_error < 1e-5


def test_a_tensor_of_codes_is_quantized_once_for_all_its_readers(tmp_path: Path) -> None:
    net = CodedNet(np.uint8, dyadic=False)
    path = net.end(tmp_path / "net.onnx", *of_two("QLinearAdd")(net))
    graph = read_qonnx(path).graph
    quantizers = [node for node in graph.nodes if isinstance(node, Quantize)]
    assert [node.origin for node in quantizers] == [
        ("QuantizeLinear_0", "QLinearConv_1"),
        ("QLinearConv_1",),
        ("QLinearAdd_2", "DequantizeLinear_3"),
    ]


def test_the_last_gemm_puts_out_real_numbers(tmp_path: Path) -> None:
    net = CodedNet(np.uint8, dyadic=False)
    codes, *numbers = net.codes()
    x = net.add("Flatten", net.add("MaxPool", codes, kernel_shape=[6, 6]))
    bias = net.const(net.rng.integers(-500, 500, 5), np.int32)
    inputs = (x, *numbers, *net.weight(3, 5, axis=1), bias)
    path = net.save(tmp_path / "net.onnx", net.add("QGemm", *inputs, domain=MICROSOFT, alpha=0.5))
    assert agreement(path).output_error < 1e-5


def test_codes_go_in_and_out(tmp_path: Path) -> None:
    """The output are the integers of onnxruntime."""
    net = CodedNet(np.int8, dyadic=True)
    net.input = net.output = TensorProto.INT8
    x, y = ("x", net.scale(), net.const(-3, np.int8)), net.pair(0.03, 0.1)
    path = net.save(tmp_path / "net.onnx", net.add("QLinearConv", *x, *net.weight(4, 3, 3, 3), *y))
    model = read_qonnx(path)
    integer = to_integer(model.graph, Encoding(UNIT_PIXEL) if model.encoding is None else model.encoding)
    assert model.integer
    assert integer.input.type == QInt(8, True)
    images = np.random.default_rng(0).integers(-128, 128, (6, 6, 6, 3), dtype=np.int8)
    assert compare(model, integer, images).output_error == 0


def test_a_large_file_of_codes_runs_in_pieces(tmp_path: Path) -> None:
    """Tensors of codes between the pieces have their types."""
    net = CodedNet(np.int8, dyadic=False)
    path = net.end(tmp_path / "net.onnx", *of_two("QLinearAdd")(net))
    x = np.random.default_rng(0).normal(0, 1, (1, 3, 6, 6)).astype(np.float32)
    model = read_qonnx(path)
    taps = {node.tensor: 108 for node in model.graph.nodes if isinstance(node, Quantize)}
    ((_, tensors),) = execute_in_parts(path, 1, lambda _: x, taps, batch=1, room=1)
    whole = execute_qonnx(path, x, list(taps))
    for name, array in tensors:
        np.testing.assert_array_equal(array, whole[name])


@pytest.mark.parametrize(
    ("op", "inputs", "what"),
    [
        ("QLinearConv", 2, "the operation QLinearConv on integers is not supported"),
        ("QLinearWhere", 3, "the operation QLinearWhere on integers is not supported"),
    ],
)
def test_what_is_not_written_in_full_or_unknown_is_refused_by_its_name(
    op: str, inputs: int, what: str, tmp_path: Path
) -> None:
    net = CodedNet(np.uint8, dyadic=False)
    x = net.add(op, *net.codes()[:inputs], name="at fault", domain="" if op == "QLinearConv" else MICROSOFT)
    fault = demand_one_verdict(net.save(tmp_path / "net.onnx", net.add("Relu", x)))
    assert isinstance(fault, UserError)
    assert what in fault.what
    assert f"'at fault' ({op})" in fault.where


def test_a_fault_of_what_stands_for_an_operation_names_the_file_s_own(tmp_path: Path) -> None:
    net = CodedNet(np.uint8, dyadic=False)
    x, y = net.codes(), net.pair()
    path = net.end(tmp_path / "net.onnx", net.add("QLinearConv", *x, *net.weight(4, 2, 3, 3), *y, name="conv"), y)
    fault = demand_one_verdict(path)
    assert fault is not None
    assert fault.what == "weight (4, 2, 3, 3) in 1 groups does not fit 3 channels"
    assert "'conv' (QLinearConv)" in fault.where
