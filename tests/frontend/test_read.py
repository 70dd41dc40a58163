"""What reads, reads right: the MODEL-level graph computes what the QONNX executor computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.onnx_models import NETS, Net, flatten_linear, old_style
from toolchain.frontend.execute import execute_reference
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.model import Affine, Quantize, RealConv, RealPool, Relu
from toolchain.ir.types import Encoding, InputType, QInt, Quantizer
from toolchain.ir.verify import Level, verify

# float32 sums of the executor against float64: far below a quantizer's step, far above rounding
CLOSE = 1e-4


def assert_same_function(path: Path, images: int = 5) -> ModelFile:
    """The graph, in float64, agrees with the QONNX executor at every quantizer and at the output."""
    model = read_qonnx(path)
    verify(model.graph, Level.MODEL)
    shape = model.layout.onnx_shape(images)
    x = np.random.default_rng(7).normal(0, 1, shape).astype(np.float32)
    taps = [node.tensor for node in model.graph.nodes if isinstance(node, Quantize)]
    expected = execute_reference(path, x, taps)
    inputs = model.layout.to_ir(x).astype(np.float64)
    computed = evaluate(model.graph, inputs, taps=[model.values[tap] for tap in taps])
    for tap in [*taps, model.output]:
        layout = model.layouts[tap]
        value = computed[model.values[tap]]
        np.testing.assert_allclose(value, layout.to_ir(expected[tap]), atol=CLOSE, rtol=CLOSE, err_msg=tap)
        np.testing.assert_array_equal(layout.to_ir(layout.from_ir(value)), value)
    return model


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_the_graph_computes_what_the_executor_computes(build: Callable[[Path], Path], tmp_path: Path) -> None:
    assert_same_function(build(tmp_path / "net.onnx"))


def test_reading_twice_gives_the_same_names(tmp_path: Path) -> None:
    path = old_style(tmp_path / "net.onnx")
    first, second = (
        [(n.name, n.inputs, n.output.name, n.origin) for n in read_qonnx(path).graph.nodes] for _ in range(2)
    )
    assert first == second


def test_origin_names_the_onnx_nodes(tmp_path: Path) -> None:
    graph = read_qonnx(old_style(tmp_path / "net.onnx")).graph
    assert [node.origin for node in graph.nodes][:3] == [
        ("Quant_0",),
        ("Flatten_1",),
        ("MatMul_4", "Quant_2", "Transpose_3"),
    ]


def test_old_quantizers_are_signed_and_wide_and_round_to_even(tmp_path: Path) -> None:
    node = read_qonnx(old_style(tmp_path / "net.onnx")).graph.nodes[0]
    assert isinstance(node, Quantize)
    assert node.quantizer == Quantizer(scale=(float(np.float32(0.2)),), zero_point=0, low=-8, high=7)


def test_names_become_unique_c_identifiers_and_origin_keeps_them(tmp_path: Path) -> None:
    net = Net((1, 4))
    x = net.quant("x", name='größe "1"')
    x = net.add("Relu", x, name="7", out="int")
    x = net.add("Relu", x, name="7", out="größe/1")
    graph = read_qonnx(net.save(tmp_path / "9 net.onnx", net.add("Relu", x, name="__a__"))).graph
    assert graph.name == "net_9_net"
    assert [node.name for node in graph.nodes] == ["gr_e_1", "n_7", "n_7_2", "a"]
    assert [node.output.name for node in graph.nodes] == ["t0", "t_int", "gr_e_1_2", "t3"]
    assert [node.origin for node in graph.nodes] == [('größe "1"',), ("7",), ("7",), ("__a__",)]


def test_counts_weights_biases_and_multiplications(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    x = net.conv(net.quant("x"), net.weight(8, 2, 3, 3), bias=net.const(np.zeros(8)), group=2, pads=[1] * 4)
    model = read_qonnx(net.save(tmp_path / "net.onnx", net.quant(x)))
    assert model.params == 8 * 2 * 9 + 8
    assert model.macs == 36 * 8 * 2 * 9


def test_weight_codes_are_clamped_then_rounded_half_to_even(tmp_path: Path) -> None:
    net = Net((1, 6))
    raw = net.const([[0.5, 1.5, 2.5, -0.5, 9.0, -9.0]])
    x = net.add("Gemm", net.quant("x"), net.quant(raw, 3, 1.0, narrow=1), transB=1)
    conv = read_qonnx(net.save(tmp_path / "net.onnx", x)).graph.nodes[1]
    assert isinstance(conv, RealConv)
    assert conv.codes.reshape(-1).tolist() == [0, 2, 2, 0, 3, -3]
    assert conv.codes.dtype == np.int64
    assert conv.weight_type == QInt(3, True)
    assert conv.bias is None


@pytest.mark.parametrize("attributes", [{}, {"transB": 0}, {"transB": 1}])
def test_weights_are_transposed_only_where_trans_b_is_one(tmp_path: Path, attributes: dict[str, int]) -> None:
    net = Net((1, 4))
    x = net.add("Gemm", net.quant("x"), net.quant(net.const(np.triu(np.ones((4, 4)))), 3, 1.0), **attributes)
    gemm = assert_same_function(net.save(tmp_path / "net.onnx", net.quant(x))).graph.nodes[1]
    assert isinstance(gemm, RealConv)
    of_first_output = [1, 1, 1, 1] if attributes.get("transB") else [1, 0, 0, 0]
    assert gemm.codes[0].reshape(-1).tolist() == of_first_output


def test_a_weight_quantizer_shared_by_two_layers(tmp_path: Path) -> None:
    net = Net((1, 4, 5, 5))
    weight = net.weight(4, 4, 3, 3)
    x = net.quant(net.conv(net.quant("x"), weight, pads=[1] * 4))
    path = net.save(tmp_path / "net.onnx", net.quant(net.conv(x, weight)))
    convs = [node for node in assert_same_function(path).graph.nodes if isinstance(node, RealConv)]
    np.testing.assert_array_equal(convs[0].codes, convs[1].codes)


def test_batch_norm_constants_are_float32_numbers(tmp_path: Path) -> None:
    net = Net((1, 4))
    graph = read_qonnx(net.save(tmp_path / "net.onnx", net.batch_norm(net.quant("x"), 4))).graph
    node = graph.nodes[1]
    assert isinstance(node, Affine)
    for array in (node.scale, node.shift):
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, array.astype(np.float32))


@pytest.mark.parametrize("order", [("Sub", 0), ("Sub", 1), ("Div", 0), ("Mul", 1), ("Add", 1)])
def test_arithmetic_with_a_constant_on_either_side(order: tuple[str, int], tmp_path: Path) -> None:
    op, position = order
    net = Net((1, 3, 2, 2))
    operands = [net.quant("x")]
    operands.insert(position, net.const(net.rng.uniform(0.5, 2, (3, 1, 1))))
    if op == "Div":
        operands.reverse()
    x = net.add(op, *operands)
    assert_same_function(net.save(tmp_path / "net.onnx", net.quant(x, 8, 0.0237)))


@pytest.mark.parametrize("zero,rounding", [(3.0, "ROUND"), (0.0, "FLOOR"), (0.0, "ceil"), (0.0, "HALF_UP")])
def test_zero_points_and_rounding_modes(zero: float, rounding: str, tmp_path: Path) -> None:
    net = Net((1, 5))
    path = net.save(tmp_path / "net.onnx", net.quant("x", 4, 0.3, zero, signed=0, rounding_mode=rounding))
    node = assert_same_function(path).graph.nodes[0]
    assert isinstance(node, Quantize)
    assert node.quantizer.rounding == rounding.upper()
    assert (node.quantizer.zero_point, node.quantizer.low, node.quantizer.high) == (int(zero), 0, 15)


WINDOWS: tuple[dict[str, Any], ...] = (
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"kernel_shape": [7, 7]},
    {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},  # hangs over the edge, which an average may not
)


@pytest.mark.parametrize("attributes", WINDOWS)
def test_max_pools(attributes: dict[str, Any], tmp_path: Path) -> None:
    net = Net((1, 3, 7, 7))
    x = net.add("MaxPool", net.quant("x"), **attributes)
    pool = assert_same_function(net.save(tmp_path / "net.onnx", net.quant(x, 8, 0.0137))).graph.nodes[1]
    assert isinstance(pool, RealPool)
    assert pool.kind == "max"


@pytest.mark.parametrize("attributes", WINDOWS[:4])
def test_average_pools(attributes: dict[str, Any], tmp_path: Path) -> None:
    net = Net((1, 3, 7, 7))
    x = net.add("AveragePool", net.quant("x"), count_include_pad=1, **attributes)
    pool = assert_same_function(net.save(tmp_path / "net.onnx", net.quant(x, 8, 0.0137))).graph.nodes[1]
    assert isinstance(pool, RealPool)
    assert pool.kind == "average"


def test_a_weight_that_is_quantized_twice_falls_to_the_executors_side_of_a_tie(tmp_path: Path) -> None:
    """The second quantizer reads the first one's values in float32, where 31 / 2 steps round down."""
    step, net = np.float32(0.13102272), Net((1, 1, 3, 3))
    once = net.quant(net.const(np.full((1, 1, 1, 1), 31 * step)), 7, step)
    twice = net.quant(once, 7, np.float32(2 * step))
    conv = assert_same_function(net.save(tmp_path / "net.onnx", net.conv(net.quant("x"), twice))).graph.nodes[-1]
    assert isinstance(conv, RealConv) and conv.codes.item() == 15


def test_weights_that_are_joined_cut_and_picked_keep_the_scale_of_each_channel(tmp_path: Path) -> None:
    """As layers that are fused or split behind their quantizers have them."""
    net = Net((1, 6))
    one, other = (
        net.quant(net.const(net.rng.normal(0, 0.3, (3, 6))), bits, step) for bits, step in ((4, 0.1), (3, 0.17))
    )
    x = net.quant(net.add("Gemm", net.quant("x", 4, 0.31), net.add("Concat", one, other, axis=0), transB=1), 4, 0.173)
    many = net.quant(net.const(net.rng.normal(0, 0.3, (1, 8, 6))), 4, np.linspace(0.1, 0.2, 8).reshape(1, 8, 1))
    many = net.add("Reshape", many, net.const([8, 6], np.int64))
    bounds = (net.const([value], np.int64) for value in (2, 6, 0))
    x = net.quant(net.add("Gemm", x, net.add("Slice", many, *bounds), transB=1), 4, 0.137)
    picked = net.add("Gather", many, net.const([7, 0], np.int64), axis=0)
    picked = net.add("Slice", picked, *(net.const([value], np.int64) for value in (1, 5, 1)))
    assert_same_function(net.save(tmp_path / "net.onnx", net.add("Gemm", x, picked, transB=1)))


def test_flatten_of_a_channels_last_map_keeps_the_order(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.add("Transpose", net.quant("x"), perm=[0, 2, 3, 1])
    x = net.add("Reshape", x, net.const([1, -1], np.int64))
    model = assert_same_function(net.save(tmp_path / "net.onnx", net.linear(x, 48, 3)))
    assert all(not layout.order for layout in model.layouts.values())


def test_flatten_of_channels_first_permutes_the_layer_behind_it(tmp_path: Path) -> None:
    model = read_qonnx(flatten_linear(tmp_path / "net.onnx"))
    orders = [layout.order for layout in model.layouts.values() if layout.order]
    assert orders[0][:4] == (0, 4, 8, 1)  # (3, 2, 2): channel 0, 1, 2 of the first pixel, then the second pixel


def test_squeeze_and_unsqueeze_of_a_single_pixel(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.add("GlobalAveragePool", net.quant("x"))
    x = net.add("Squeeze", x, net.const([2, 3], np.int64))
    x = net.add("Unsqueeze", net.quant(x, 8, 0.0137), net.const([2, 3], np.int64))
    assert_same_function(net.save(tmp_path / "net.onnx", net.conv(x, net.weight(2, 3, 1, 1))))


def test_constants_from_constant_nodes(tmp_path: Path) -> None:
    net = Net((1, 4))
    x = net.quant("x")
    parameters = [net.add("Constant", value_float=v) for v in (0.5, 0.0, 4.0)]
    x = net.add("Quant", x, *parameters, domain="qonnx.custom_op.general", signed=1, narrow=0, rounding_mode="ROUND")
    assert_same_function(net.save(tmp_path / "net.onnx", x))


def test_a_clip_that_the_quantizer_implies_is_a_relu_or_nothing(tmp_path: Path) -> None:
    net = Net((1, 4))
    x = net.add("Clip", net.quant("x", 8, 0.1), net.const(0.0), net.const(6.0))
    x = net.quant(x, 4, 0.4, signed=1)  # reaches 2.8
    x = net.add("Clip", x, net.const(-1.0), net.const(1.0))
    x = net.quant(x, 2, 1.0, narrow=1)
    graph = assert_same_function(net.save(tmp_path / "net.onnx", x)).graph
    assert [type(node) for node in graph.nodes] == [Quantize, Relu, Quantize, Quantize]


def test_bounds_of_infinity_are_none(tmp_path: Path) -> None:
    """Those of a Clip, and the value of a Pad in front of a maximum, which is then the pool's own."""
    net = Net((1, 3, 6, 6))
    x = net.quant(net.add("Clip", net.quant("x", 8, 0.1), net.const(0.0), net.const(np.inf)), 4, 0.4)
    x = net.add("Pad", x, net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const(-np.inf))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    graph = assert_same_function(net.save(tmp_path / "net.onnx", net.quant(x, 3, 0.5))).graph
    assert [type(node) for node in graph.nodes] == [Quantize, Relu, Quantize, RealPool, Quantize]


def test_a_pad_of_nothing_and_a_cast_of_real_numbers_are_no_nodes(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.add("Pad", net.quant("x"), net.const([0] * 8, np.int64), net.const(3.0))
    x = net.quant(net.add("Relu", net.add("Cast", x, to=onnx.TensorProto.FLOAT)))
    graph = assert_same_function(net.save(tmp_path / "net.onnx", x)).graph
    assert [type(node) for node in graph.nodes] == [Quantize, Relu, Quantize]


@pytest.mark.parametrize("end", ["ArgMax", "TopK"])
def test_argmax_behind_a_softmax(end: str, tmp_path: Path) -> None:
    net = Net((1, 6))
    x = net.add("Softmax", net.linear(net.quant("x"), 6, 4), name="soft")
    if end == "ArgMax":
        x = net.add("ArgMax", x, axis=1)
    else:
        x = net.add("TopK", x, net.const([1], np.int64))
        net.nodes[-1].output.append("indices")
        x = "indices"
    model = read_qonnx(net.save(tmp_path / "net.onnx", x, index=True))
    assert isinstance(model.graph.nodes[-1], ArgMax)
    assert model.notes == ("Softmax 'soft' is left out: it does not change the order of the classes",)
    data = np.random.default_rng(0).normal(0, 1, (9, 6)).astype(np.float32)
    expected = execute_reference(model.path, data)[model.output].reshape(9)
    computed = evaluate(model.graph, model.layout.to_ir(data).astype(np.float64))[model.graph.output]
    np.testing.assert_array_equal(computed.reshape(9), expected)


def test_the_final_softmax_is_left_out(tmp_path: Path) -> None:
    net = Net((1, 6))
    logits = net.linear(net.quant("x"), 6, 4)
    model = read_qonnx(net.save(tmp_path / "net.onnx", net.add("Softmax", logits, axis=-1)))
    assert isinstance(model.graph.nodes[-1], RealConv)
    assert len(model.notes) == 1


def test_what_is_left_to_the_host_is_told(tmp_path: Path) -> None:
    """A function at the end, and a Softmax with its quantizer: the output is what they read."""
    net = Net((1, 6))
    logits = net.linear(net.quant("x"), 6, 4)
    model = read_qonnx(net.save(tmp_path / "sigmoid.onnx", net.add("Sigmoid", logits, name="act")))
    assert model.output == logits
    assert model.notes == ("Sigmoid 'act' is left out: the accelerator puts out what it reads, the host applies it",)

    net = Net((1, 6))
    logits = net.linear(net.quant("x"), 6, 4)
    codes = net.add("QuantizeLinear", net.add("Softmax", logits, axis=-1, name="soft"), net.const(1 / 256))
    model = read_qonnx(net.save(tmp_path / "softmax.onnx", net.add("DequantizeLinear", codes, net.const(1 / 256))))
    assert model.output == logits
    assert isinstance(model.graph.nodes[-1], RealConv)
    assert model.notes == (
        "Softmax 'soft' is left out: it does not change the order of the classes; nor are quantizers behind it built",
    )


def test_metadata(tmp_path: Path) -> None:
    net = Net((1, 3, 2, 2))
    text = '{"pixel": {"scale": ["1/255", "1/127", "2"], "offset": ["-1/2"]}}'
    net.metadata = {"fpgaflow.input": text, "fpgaflow.data": "digits", "other": "kept"}
    model = read_qonnx(net.save(tmp_path / "net.onnx", net.quant("x")))
    scale, offset = (Fraction(1, 255), Fraction(1, 127), Fraction(2)), (Fraction(-1, 2),)
    assert model.encoding == Encoding(InputType(0, 255, scale, offset))
    assert model.data == "digits"
    assert model.metadata["other"] == "kept"


REAL = {
    "TFC_2W2A": (59_008, 59_008),
    "kws_w3a3_mlperf_tiny_v0.7": (259_584, 259_584),
    "resnet8_a8w8b16": (77_706, 12_501_632),
    "mobilenet_v2_a8w6b32": (3_487_816, 300_774_272),
}


@pytest.mark.needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    folder = os.environ.get("FPGAFLOW_DATA")
    path = Path(folder or "") / "models" / f"{name}.onnx"
    if not folder or not path.is_file():
        pytest.skip(f"set FPGAFLOW_DATA to a folder with models/{name}.onnx")
    model = assert_same_function(path, images=1 if "mobilenet" in name else 5)
    assert (model.params, model.macs) == REAL[name]
