"""What cannot be built is refused in one line: what, which node of which file, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.onnx_models import Net, conv_bn_relu
from toolchain.errors import UserError
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.text import to_text
from toolchain.lowering.pipeline import to_integer


def refusal(path: Path) -> str:
    """The message of the UserError that reading ``path`` raises."""
    with pytest.raises(UserError) as caught:
        read_qonnx(path)
    return str(caught.value)


def changed(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The file of conv_bn_relu after ``change``."""
    path = conv_bn_relu(tmp_path / "net.onnx")
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    assert refusal(path) == f"cannot read the model: No such file or directory [{path}]"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)), b"PK\x03\x04 a zip"])
def test_a_file_that_is_no_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert refusal(path) == f"this is not an ONNX file [{path}]; give a .onnx file, or the folder of a finished run"


def test_a_truncated_file(tmp_path: Path) -> None:
    path = conv_bn_relu(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    assert "this is not an ONNX file" in refusal(path)


def test_a_file_without_quantizers(tmp_path: Path) -> None:
    net = Net((1, 4))
    assert refusal(net.save(tmp_path / "net.onnx", net.add("Relu", "x"))) == (
        "this is not a QONNX file: it holds no Quant node [net.onnx]; "
        "quantize it first: fpgaflow quantize FILE --images x.npy, or train it with quantizers"
    )


@pytest.mark.parametrize("op", ["Add", "Max"])
def test_a_padded_operand_is_named_as_such(op: str, tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.add("Pad", net.quant("x"), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    assert refusal(net.save(tmp_path / "net.onnx", net.quant(net.add(op, x, net.const(1.0))))) == (
        f"a Pad in front of it [net.onnx, node '{op}_2' ({op})]; pad only in front of a convolution or a pool"
    )


@pytest.mark.parametrize("op", ["HardSigmoid", "Softmax"])
def test_a_padded_input_of_what_is_left_to_the_host_is_named_as_such(op: str, tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.conv(net.quant("x"), net.weight(2, 3, 1, 1))
    x = net.add("Pad", net.quant(x), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    assert refusal(net.save(tmp_path / "net.onnx", net.add(op, x))).startswith("a Pad in front of it [net.onnx, node")


def test_weights_that_cannot_be_joined_are_named(tmp_path: Path) -> None:
    net = Net((1, 6))
    parts = [net.quant(net.const(np.ones((rows, 6))), 4, 0.5) for rows in (3, 2)]
    x = net.add("Gemm", net.quant("x"), net.add("Concat", *parts, axis=5), transB=1)
    said = refusal(net.save(tmp_path / "net.onnx", x))
    assert said.startswith("this constant cannot be computed: ")
    assert said.endswith(" [net.onnx, node 'Concat_3' (Concat)]; export the model again")


def test_float_weights(tmp_path: Path) -> None:
    net = Net((1, 3, 5, 5))
    x = net.conv(net.quant("x"), net.const(np.ones((2, 3, 3, 3))))
    assert refusal(net.save(tmp_path / "net.onnx", x)) == (
        "the weight 'c3' is not quantized [net.onnx, node 'Conv_1' (Conv)]; put a Quant node on it: "
        "train with quantized layers, e.g. brevitas.nn.QuantConv2d or QuantLinear"
    )


def test_a_dynamic_image_size(tmp_path: Path) -> None:
    net = Net(("N", 3, "height", 8))
    assert refusal(net.save(tmp_path / "net.onnx", net.quant("x"))) == (
        "input 'x' has the shape (N, 3, height, 8); only the batch may be left open [net.onnx]; "
        "export with a fixed image size, e.g. (1, 3, 32, 32)"
    )


def test_no_output(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda model: model.graph.output.pop())
    assert refusal(path) == "the network has no output [net.onnx]; export the model again"


def test_an_output_named_twice(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda model: model.graph.output.append(helper.make_empty_tensor_value_info("t5")))
    assert refusal(path) == "the network names an output twice [net.onnx]; export the model again"


def test_a_missing_initializer_counts_as_a_missing_tensor(tmp_path: Path) -> None:
    def drop(model: onnx.ModelProto) -> None:
        del model.graph.initializer[0]

    assert refusal(changed(tmp_path, drop)) == (
        "tensor 'c0' is read but never defined [net.onnx, node 'Quant_0' (Quant)]; "
        "the file is damaged or its initializer is missing: export it again"
    )


def test_a_cycle(tmp_path: Path) -> None:
    net = Net((1, 4))
    net.add("Add", net.quant("x"), "back", out="t")
    net.add("Relu", "t", out="back")
    assert refusal(net.save(tmp_path / "net.onnx", "back")) == (
        "the graph has a cycle [net.onnx, node 'Add_1' (Add)]; only feed-forward networks can be built"
    )


def test_an_input_that_nothing_reads(tmp_path: Path) -> None:
    path = changed(
        tmp_path, lambda m: m.graph.input.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 2)))
    )
    assert "nothing reads the input 'y'" in refusal(path)


def test_unused_initializers_are_left_alone(tmp_path: Path) -> None:
    """An initializer that no node reads is not even decoded: this one could not be."""

    def add(model: onnx.ModelProto) -> None:
        model.graph.initializer.add(name="unused", data_type=onnx.TensorProto.FLOAT, dims=[1 << 40])

    assert len(read_qonnx(changed(tmp_path, add)).graph.nodes) == 5


def test_300_megabytes_of_unused_initializers(tmp_path: Path) -> None:
    """The graph is the one without them. Messages one behind the other are merged: zeros are appended as a hole."""
    path = conv_bn_relu(tmp_path / "net.onnx")
    expected = to_text(read_qonnx(path).graph)
    size = 300 << 20

    def field(number: int, length: int) -> bytes:
        head, rest = bytes([number << 3 | 2]), length
        while rest > 127:
            head, rest = head + bytes([rest & 127 | 128]), rest >> 7
        return head + bytes([rest])

    tensor = onnx.TensorProto(name="unused", data_type=onnx.TensorProto.INT8, dims=[size]).SerializeToString()
    tensor += field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, size)
    inner = field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(tensor) + size) + tensor
    content = path.read_bytes() + field(onnx.ModelProto.GRAPH_FIELD_NUMBER, len(inner) + size) + inner
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + size)

    assert "unused" in [t.name for t in onnx.load(path).graph.initializer]
    assert to_text(read_qonnx(path).graph) == expected


def test_external_weights_that_are_gone(tmp_path: Path) -> None:
    def move_out(model: onnx.ModelProto) -> None:
        onnx.external_data_helper.convert_model_to_external_data(model, location="gone.bin", size_threshold=0)
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")

    assert "the weights kept outside the file cannot be read" in refusal(changed(tmp_path, move_out))


def test_an_unknown_operation(tmp_path: Path) -> None:
    net = Net((1, 4))
    message = refusal(net.save(tmp_path / "net.onnx", net.add("Sinh", net.quant("x"), name="act")))
    assert message.startswith(
        "the operation Sinh is not supported [net.onnx, node 'act' (Sinh)]; supported: Quant, Abs, Add, ArgMax,"
    )


OTHER_FORMS = {
    "DynamicQuantizeLinear": ("", "dynamic quantization, whose scales differ from input to input", "quantize_static("),
    "DynamicQuantizeMatMul": ("com.microsoft", "dynamic quantization", "quantize_static(quant_format=QuantFormat.QDQ)"),
    "MatMulInteger": ("", "dynamic quantization", "quantize_static(quant_format=QuantFormat.QDQ)"),
    "QLinearConv": ("", "the operation QLinearConv on integers", "quantize_static(quant_format=QuantFormat.QDQ)"),
    "QLinearAdd": ("com.microsoft", "the operation QLinearAdd on integers", "quant_format=QuantFormat.QDQ"),
    "FloatQuant": ("qonnx.custom_op.general", "a minifloat quantizer", "use Quant nodes"),
    "VitisQuantFormat": ("com.vai.quantize", "of domain 'com.vai.quantize'", "export with the standard operations"),
    "MXQuantizeDequantize": ("com.amd.quark", "of domain 'com.amd.quark'", "quant_format=QuantFormat.QDQ"),
}


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("op", OTHER_FORMS)
def test_what_stands_in_the_way_is_named_with_what_helps(op: str, constant: bool, tmp_path: Path) -> None:
    """Of an activation, and of a constant: whatever else the file holds."""
    domain, what, hint = OTHER_FORMS[op]
    net = Net((1, 4))
    x = net.add(op, net.const(np.ones(4)) if constant else "x", name="at fault", domain=domain)
    x = net.add("Add", net.quant("x"), x) if constant else net.add("Relu", x)
    message = refusal(net.save(tmp_path / "net.onnx", x))
    assert what in message
    assert hint in message
    assert "node 'at fault'" in message


DOMAINS = {"": "", "com.microsoft": "", "com.vai.quantize": "Vitis", "com.amd.quark": "Extended"}
"""Domains of quantizers, and what they put before the names of the standard ones."""


def test_quantizers_of_other_domains_are_the_standard_ones(tmp_path: Path) -> None:
    files = []
    for domain, prefix in DOMAINS.items():
        net = Net((1, 3, 5, 5), seed=4)
        scale, zero = net.const(2.0**-6), net.const(3, np.uint8)
        x = net.add(f"{prefix}QuantizeLinear", "x", scale, zero, domain=domain)
        x = net.add(f"{prefix}DequantizeLinear", x, scale, zero, domain=domain)
        codes = net.const(np.arange(-6, 6).reshape(4, 3, 1, 1), np.int8)
        dequantize = f"{prefix}DequantizeLinear"
        weight = net.add(dequantize, codes, net.const(0.125), net.const(0, np.int8), domain=domain)
        files.append(net.save(tmp_path / f"net{len(domain)}.onnx", net.quant(net.conv(x, weight), scale=1 / 32)))
    x = np.random.default_rng(0).normal(0, 2, (3, 3, 5, 5)).astype(np.float32)
    first, *others = (execute_qonnx(path, x) for path in files)
    graph, *same = (to_text(to_integer(read_qonnx(path).graph)).splitlines()[1:] for path in files)
    graph = [line.replace("QuantizeLinear_0", "{0}QuantizeLinear_0") for line in graph]
    for prefix, other, lines in zip(list(DOMAINS.values())[1:], others, same, strict=True):
        assert [np.array_equal(first[name], other[name]) for name in first] == [True]
        assert lines == [line.replace("{0}", prefix) for line in graph]


def test_control_flow(tmp_path: Path) -> None:
    net = Net((1, 4))
    body = helper.make_graph([], "body", [], [])
    x = net.add("If", net.quant("x"), then_branch=body, else_branch=body)
    assert refusal(net.save(tmp_path / "net.onnx", x)) == (
        "control flow is not supported [net.onnx, node 'If_1' (If)]; trace the model instead of scripting it"
    )


@pytest.mark.parametrize("attributes", [{"padz": [1, 1, 1, 1]}, {"group": 1.0}])
def test_attributes_that_the_operation_does_not_have(attributes: dict[str, Any], tmp_path: Path) -> None:
    net = Net((1, 2, 3, 3))
    path = net.save(tmp_path / "net.onnx", net.conv(net.quant("x"), net.weight(2, 2, 1, 1), **attributes))
    assert refusal(path) == (
        f"the attribute '{next(iter(attributes))}' does not fit the operation [net.onnx, node 'Conv_2' (Conv)]; "
        "the file is damaged or not written for its opset: export it again"
    )


def test_damaged_bytes_are_a_user_error_or_another_network(tmp_path: Path) -> None:
    content = conv_bn_relu(tmp_path / "net.onnx").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / "damaged.onnx"
        path.write_bytes(bytes(damaged))
        try:
            read_qonnx(path)
        except UserError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "bits,scale,zero,message",
    [
        (2.5, 1.0, 0.0, "the bit width 2.5 is not an integer"),
        (33, 1.0, 0.0, "a bit width of 33"),
        (0, 1.0, 0.0, "a bit width of 0"),
        (4, 0.0, 0.0, "the scale is not a positive number everywhere"),
        (4, -1.0, 0.0, "the scale is not a positive number everywhere"),
        (4, np.nan, 0.0, "the scale is not a positive number everywhere"),
        (4, np.inf, 0.0, "the scale is not a positive number everywhere"),
        (4, 1.0, 0.5, "the zero point 0.5 is not an integer"),
        (4, 1.0, np.arange(2).reshape(2, 1, 1), "the zero point differs between channels"),
        (4, np.ones((1, 3, 1, 1)), 0.0, "the scale of shape (1, 3, 1, 1) does not fit the tensor's (1, 2, 3, 3)"),
        (4, np.arange(1, 4).reshape(3, 1), 0.0, "the scale differs along H"),
    ],
)
def test_quantizer_parameters(bits: float, scale: Any, zero: Any, message: str, tmp_path: Path) -> None:
    net = Net((1, 2, 3, 3))
    path = net.save(tmp_path / "net.onnx", net.quant("x", bits, scale, zero))
    assert refusal(path).startswith(f"{message} [net.onnx, node 'Quant_0' (Quant)]; ")


def test_a_scale_that_is_computed_from_the_data(tmp_path: Path) -> None:
    net = Net((1, 4))
    x = net.add("Quant", net.quant("x"), "x", net.const(0), net.const(4), domain="onnx.brevitas", name="q")
    assert refusal(net.save(tmp_path / "net.onnx", x)) == (
        "the scale is not a constant [net.onnx, node 'q' (Quant)]; "
        "export the trained model in eval mode, so that quantizer parameters are constants"
    )


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    net = Net((1, 2))
    weight = net.quant(net.const([[np.nan, 1.0]]))
    path = net.save(tmp_path / "net.onnx", net.add("Gemm", net.quant("x"), weight, transB=1))
    assert refusal(path) == (
        "constant 'c0' holds NaN or infinity [net.onnx, node 'Quant_0' (Quant)]; train the model again"
    )


def test_a_flattened_map_as_output(tmp_path: Path) -> None:
    net = Net((1, 2, 3, 3))
    assert refusal(net.save(tmp_path / "net.onnx", net.add("Flatten", net.quant("x")))) == (
        "the output 't1' is a flattened map; the accelerator puts it out as (height, width, channels) [net.onnx]; "
        "end the network before the flatten, or behind a linear layer"
    )


Builder = Callable[[Net], str]


def _more(net: Net, output: str, *others: str) -> str:
    """``output``, of a last node that has ``others`` too."""
    net.nodes[-1].output.extend(others)
    return output


def _around(net: Net) -> str:
    return net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


CASES: dict[str, tuple[Builder, str]] = {
    "inverted clip": (
        lambda net: net.add("Clip", net.quant("x"), net.const(6.0), net.const(0.0)),
        "Clip to [6, 0] [net.onnx, node 'Clip_1' (Clip)]; give a minimum below the maximum",
    ),
    "average pads": (
        lambda net: net.add(
            "AveragePool",
            net.add("Pad", net.quant("x"), net.const([0, 0, 1, 0, 0, 0, 0, 0], np.int64)),
            kernel_shape=[3, 3],
            pads=[1] * 4,
        ),
        "an average whose own pads do not count, those of a Pad in front do [net.onnx, node 'AveragePool_2' "
        "(AveragePool)]; set count_include_pad=True",
    ),
    "average ceil": (
        lambda net: net.add("AveragePool", net.quant("x"), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        "ceil_mode that adds windows beyond the pads",
    ),
    "product": (
        lambda net: net.add(
            "Mul", net.quant("x"), net.add("Slice", net.quant("x"), *(net.const([n], np.int64) for n in (0, 1, 1)))
        ),
        "the product of (1, 2, 3, 3) (NCHW) and (1, 1, 3, 3) (NCHW)",
    ),
    "quotient": (lambda net: net.add("Div", net.quant("x"), "x"), "Div of two activations"),
    "unequal add": (
        lambda net: net.add("Add", net.quant("x"), net.add("GlobalAveragePool", net.quant("x"))),
        "the sum of (1, 2, 3, 3) (NCHW) and (1, 2, 1, 1) (NCHW)",
    ),
    "divided constant": (lambda net: net.add("Div", net.const(1.0), net.quant("x")), "a constant divided by"),
    "zero divisor": (lambda net: net.add("Div", net.quant("x"), net.const(0.0)), "its constants are beyond"),
    "spatial constant": (
        lambda net: net.add("Mul", net.quant("x"), net.const(np.arange(3))),
        "the constant differs along W",
    ),
    "nan constant": (lambda net: net.add("Mul", net.quant("x"), net.const(np.nan)), "the constant holds NaN"),
    "transpose": (
        lambda net: net.add("Transpose", net.quant("x"), perm=[0, 1, 3, 2]),
        "it reads 't1' of shape (1, 2, 3, 3), whose elements are moved from (1, 2, 3, 3) (NCHW) ",
    ),
    "batch": (
        lambda net: net.add("Transpose", net.quant("x"), perm=[1, 0, 2, 3]),
        "it reads 't1' of shape (2, 1, 3, 3), whose elements are moved from (1, 2, 3, 3) (NCHW)",
    ),
    "reshape": (
        lambda net: net.add("Reshape", net.quant("x"), net.const([2, 9], np.int64)),
        "(1, 2, 3, 3) to (2, 9) changes more than the shape of a frame",
    ),
    "scale along inputs": (
        lambda net: net.conv(net.quant("x"), net.quant(net.const(np.ones((4, 2, 1, 1))), 4, [[[[1.0]], [[2.0]]]])),
        "a weight scale of shape (1, 2, 1, 1) differs along inputs",
    ),
    "conv channels": (lambda net: net.conv(net.quant("x"), net.weight(4, 3, 1, 1)), "weight (4, 3, 1, 1) in 1"),
    "window": (lambda net: net.conv(net.quant("x"), net.weight(4, 2, 5, 5)), "a window of 5x5 is larger than"),
    "softmax inside": (
        lambda net: net.add("Relu", net.add("Softmax", net.add("GlobalAveragePool", net.quant("x")), axis=1)),
        "a Softmax inside the network",
    ),
    "trunc": (
        lambda net: net.add("Trunc", net.quant("x"), *[net.const(1)] * 4, domain="onnx.brevitas"),
        "scale 1, zero point 1, 1 bits, 0 bits less",
    ),
    "trunc to bits by channel": (
        lambda net: net.add(
            "Trunc", net.quant("x"), *map(net.const, (1.0, 0.0, 8.0, [4.0, 6.0])), domain="onnx.brevitas"
        ),
        r"the parameter has the shape (2,)",
    ),
    "channels-last convolution": (
        lambda net: net.conv(net.add("Transpose", net.quant("x"), perm=[0, 2, 3, 1]), net.weight(4, 3, 1, 1)),
        "input 't1' has the axes NHWC, this operation takes NCHW",
    ),
    "top 2": (
        lambda net: net.add("TopK", net.add("Flatten", net.quant("x")), net.const([2], np.int64)),
        "the top 2 classes",
    ),
    "smallest class": (
        lambda net: _more(
            net, net.add("TopK", net.add("Flatten", net.quant("x")), net.const([1], np.int64), largest=0), "i"
        ),
        "the classes of the smallest values",
    ),
    "mean of channels": (lambda net: net.add("ReduceMean", net.quant("x"), axes=[1]), "a mean over the axes [1]"),
    "empty weight": (
        lambda net: net.conv(net.quant("x"), net.quant(net.const(np.zeros((0, 2, 1, 1))))),
        "a weight of shape (0, 2, 1, 1)",
    ),
    "empty bound": (lambda net: net.add("Clip", net.quant("x"), net.const([])), "the bound 'min' has the shape (0,)"),
    "huge zero point": (lambda net: net.quant("x", 4, 0.1, 1e30), "a zero point of 1e+30"),
    "huge pads": (lambda net: net.conv(net.quant("x"), net.weight(2, 2, 3, 3), pads=[10**9] * 4), "pads [1000000000,"),
    "few pads": (lambda net: net.add("Pad", net.quant("x"), net.const([1, 1], np.int64)), "2 pads for 4 axes"),
    "rounding": (lambda net: net.quant("x", rounding_mode="SOMEHOW"), "rounding mode 'SOMEHOW'"),
    "a single code": (
        lambda net: net.quant("x", 1, signed=0, narrow=1),
        "an unsigned narrow quantizer of 1 bit has no code but 0",
    ),
    "zero point of 25 bits": (lambda net: net.quant("x", 4, 0.1, 1 << 24), "a zero point of 1.67772e+07"),
    "zero points a channel": (
        lambda net: net.add("QuantizeLinear", "x", net.const([0.1] * 2), net.const([0, 1], np.int8), axis=1),
        "the zero point differs between channels",
    ),
    "turned Gemm": (
        lambda net: net.add("Gemm", net.add("Flatten", net.quant("x")), net.weight(5, 18), transA=1, transB=1),
        "transA=1",
    ),
    "two Pads": (
        lambda net: net.conv(
            net.add("Pad", net.add("Pad", net.quant("x"), _around(net)), _around(net), net.const(1.0)),
            net.weight(4, 2, 3, 3),
        ),
        "two Pads of unlike values",
    ),
    "training": (
        lambda net: _more(net, net.batch_norm(net.quant("x"), 2), "m", "v"),
        "batch normalization in training mode",
    ),
    "places of maxima": (
        lambda net: _more(net, net.add("MaxPool", net.quant("x"), kernel_shape=[2, 2]), "i"),
        "the indices of MaxPool are used",
    ),
    "values of TopK": (
        lambda net: _more(net, net.add("TopK", net.add("Flatten", net.quant("x")), net.const([1], np.int64)), "i"),
        "the values of TopK are used",
    ),
    "means of a norm": (
        lambda net: _more(
            net, net.add("LayerNormalization", net.add("Flatten", net.quant("x")), net.const(np.ones(18)), axis=-1), "m"
        ),
        "its mean and deviation are used",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    build, message = CASES[case]
    net = Net((1, 2, 3, 3))
    assert refusal(net.save(tmp_path / "net.onnx", build(net))).startswith(message)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pixel": 3}', '{"pixel": {"scale": ["1/0"], "offset": ["0"]}}',
             '{"pixel": {"scale": ["1", "2"], "offset": ["0"]}}', '{"pixel": {"scale": [], "offset": ["0"]}}',
             '{"pixel": {"scale": ["0"], "offset": ["0"]}}']
)  # fmt: skip
def test_bad_metadata(text: str, tmp_path: Path) -> None:
    net = Net((1, 3, 2, 2))
    net.metadata = {"fpgaflow.input": text}
    assert refusal(net.save(tmp_path / "net.onnx", net.quant("x"))) == (
        f"the metadata entry fpgaflow.input is malformed: {text} [net.onnx]; "
        'write {"pixel": {"scale": ["1/255"], "offset": ["0"]}}, one entry or one a channel, '
        'or {"type": "int8:0.05"}, with {"standard": {"mean": [0.1], "deviation": [2.5]}} for numbers as measured'
    )
