"""What hls4ml is given: the same function, in names and attributes of this tool's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from tests.onnx_models import Net, conv_bn_relu, flatten_linear, multi_threshold, old_style, residual
from toolchain.errors import UserError
from toolchain.frontend.read import read_qonnx
from toolchain.hls4ml_backend.network import freed, onnx_shape, quant_form, to_onnx
from toolchain.hls4ml_backend.precision import average_precisions, input_precision
from toolchain.hls4ml_backend.refusals import demand_no_refusal, refusals
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Quantizer
from toolchain.ir.verify import IDENTIFIER
from toolchain.lowering.pipeline import to_integer


def grouped(path: Path) -> Path:
    """A grouped and a depthwise convolution, a pool, a zero point, a float bias, a scale a channel."""
    net = Net((1, 4, 8, 8), seed=3)
    x = net.quant(net.conv(net.quant("x", 6, 0.05), net.weight(6, 2, 3, 3), group=2, bias=net.const(0.3)), 6, 0.05)
    x = net.quant(net.conv(x, net.weight(6, 1, 3, 3), group=6, pads=[1, 1, 1, 1]), 6, 0.1, signed=0)
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.quant(net.add("LeakyRelu", x, alpha=0.125), 6, 0.1)
    x = net.quant(net.add("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1]), 8, 0.03, 2.0)
    return net.save(path, net.linear(net.add("Flatten", x), 6, 3))


def hostile(path: Path) -> Path:
    """Names that would end a string or a statement, and a final Softmax."""
    net = Net((1, 6), seed=3)
    x = net.quant("x", 6, 0.05, name='"); system("touch pwned"); //')
    x = net.add("Gemm", x, net.weight(4, 6), name="`touch pwned`", out="$(touch pwned)", transB=1)
    return net.save(path, net.add("Softmax", net.quant(x, 6, 0.1, name="int"), axis=1))


@pytest.mark.parametrize("build", [conv_bn_relu, residual, flatten_linear, old_style, grouped, hostile])
def test_the_onnx_given_to_hls4ml_computes_the_graph(build: Callable[[Path], Path], tmp_path: Path) -> None:
    """The QONNX executor on it, channels last, equals the graph in float64."""
    graph = read_qonnx(build(tmp_path / "net.onnx")).graph
    demand_no_refusal(graph)
    given = ModelWrapper(to_onnx(graph))
    x = np.random.default_rng(0).normal(0, 1, (1, *graph.input.shape)).astype(np.float32)
    found = execute_onnx(given, {graph.input.name: x.reshape(onnx_shape(graph.input))})[graph.output]
    expected = evaluate(graph, x.astype(np.float64))[graph.output]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)  # float32 sums


def test_names_and_metadata_of_the_file_do_not_reach_it(tmp_path: Path) -> None:
    """Every name is an identifier that this tool made; every shape is known."""
    model = to_onnx(read_qonnx(hostile(tmp_path / "net.onnx")).graph)
    names = {model.graph.name, *(n.name for n in model.graph.node), *(t.name for t in model.graph.initializer)}
    names |= {name for node in model.graph.node for name in (*node.input, *node.output)}
    known = {info.name for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)}

    assert all(IDENTIFIER.fullmatch(name) for name in names)
    assert {name for node in model.graph.node for name in (*node.input, *node.output)} <= known
    assert not model.metadata_props and b'pwned")' not in model.SerializeToString()
    onnx.checker.check_model(model, skip_opset_compatibility_check=True)


def test_the_global_average_is_one_over_the_whole_map(tmp_path: Path) -> None:
    """Channels last, with the map as kernel and stride; hls4ml reads GlobalAveragePool as channels first."""
    net = Net((1, 2, 4, 6), seed=1)
    x = net.quant(net.add("GlobalAveragePool", net.quant("x", 8, 1 / 64)), 8, 1 / 64)
    pool = to_onnx(graph_of(net, x, tmp_path / "net.onnx")).graph.node[1]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in pool.attribute}

    assert (pool.op_type, pool.domain) == ("AveragePool", "qonnx.custom_op.channels_last")
    assert attributes == {"kernel_shape": [4, 6], "strides": [4, 6], "pads": [0] * 4}


@pytest.mark.parametrize("flattened", [False, True])
def test_a_flattening_at_the_end_is_left_out(tmp_path: Path, *, flattened: bool) -> None:
    """hls4ml removes one and then does not find the output."""
    net = Net((1, 2, 4, 6), seed=1)
    x = net.add("GlobalAveragePool", net.quant("x", 8, 1 / 64))
    graph = graph_of(net, net.add("Flatten", x) if flattened else x, tmp_path / "net.onnx")
    model = to_onnx(graph)
    (output,) = model.graph.output
    assert [node.op_type for node in model.graph.node] == ["Quant", "AveragePool"]
    assert list(model.graph.node[-1].output) == [output.name]
    assert [d.dim_value for d in output.type.tensor_type.shape.dim] == [1, 1, 1, 2]


def graph_of(net: Net, output: str, path: Path) -> Graph:
    return read_qonnx(net.save(path, output)).graph


def test_types_that_hls4ml_cuts_short_are_stated(tmp_path: Path) -> None:
    """An average of 2 x 2 of codes a quarter apart needs 4 fraction bits; input codes of 1/64 need 6, 1/255 has 24."""
    net = Net((1, 2, 4, 4), seed=1)
    x = net.quant(net.add("Relu", net.quant("x", 8, 1 / 64)), 4, 0.25, signed=0)
    graph = graph_of(net, net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), tmp_path / "a.onnx")
    assert average_precisions(graph) == {graph.nodes[-1].name: "fixed<8,4>"}
    assert input_precision(to_integer(graph)) == "fixed<10,4>"

    net = Net((1, 2, 4, 4), seed=1)  # of two channels the finer one says how many
    x = net.quant(net.add("Relu", net.quant("x", 8, 1 / 64)), 4, np.array([[[0.5]], [[0.0625]]]), signed=0)
    graph = graph_of(net, net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), tmp_path / "c.onnx")
    assert average_precisions(graph) == {graph.nodes[-1].name: "fixed<11,5>"}

    net = Net((1, 2, 4, 4), seed=1)
    pixels = graph_of(net, net.quant(net.conv("x", net.weight(2, 2, 1, 1)), 4, 0.25), tmp_path / "b.onnx")
    assert input_precision(to_integer(pixels)) == "fixed<27,3>"


@pytest.mark.parametrize(
    ("limits", "form"),
    [((-8, 7), (4, 1, 0)), ((-7, 7), (4, 1, 1)), ((0, 15), (4, 0, 0)), ((0, 14), (4, 0, 1)), ((-5, 9), None)],
)
def test_limits_of_a_quantizer_as_quant_attributes(limits: tuple[int, int], form: tuple[int, int, int] | None) -> None:
    assert quant_form(Quantizer((1.0,), 0, *limits)) == form


def refused(build: Callable[[Net], str], path: Path) -> list[str]:
    net = Net((1, 4, 8, 8), seed=2)
    return [reason for _, reason in refusals(graph_of(net, build(net), path))]


def test_what_hls4ml_gets_wrong_is_refused(tmp_path: Path) -> None:
    """Each by its own reason, and a network in FINN's form at every threshold."""

    def quantized(op: Callable[[Net, str], str]) -> Callable[[Net], str]:
        return lambda net: net.quant(op(net, net.quant("x", 6, 0.25)), 6, 0.25)

    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    cases = {
        "aborts on a pool whose stride is not its kernel": quantized(lambda n, x: n.add("MaxPool", x, **pool)),
        "aborts on a pool with pads": quantized(
            lambda n, x: n.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1])
        ),
        "gets the shape of a dilated convolution wrong": quantized(
            lambda n, x: n.conv(x, n.weight(4, 4, 3, 3), dilations=[2, 2])
        ),
        "gets a bipolar activation wrong": quantized(
            lambda n, x: n.add("BipolarQuant", x, n.const(1.0), domain="qonnx.custom_op.general")
        ),
        "cuts an average of what is not quantized to the bits of its input": quantized(
            lambda n, x: n.add("AveragePool", n.conv(x, n.weight(4, 4, 1, 1)), kernel_shape=[8, 8], strides=[8, 8])
        ),
        "is given no Crop": quantized(lambda n, x: n.add("Slice", x, *(n.const([v], np.int64) for v in (1, 5, 2)))),
        "is given no DepthToSpace": quantized(lambda n, x: n.add("DepthToSpace", x, blocksize=2)),
        "has no Clip": quantized(lambda n, x: n.add("Clip", x, n.const(-0.3), n.const(0.6))),
        "has no narrow unsigned quantizer": quantized(lambda n, x: n.quant(x, 4, 0.3, signed=0, narrow=1)),
        "does not round by CEIL": quantized(lambda n, x: n.quant(x, 4, 0.3, rounding_mode="CEIL")),
    }
    for reason, build in cases.items():
        assert refused(build, tmp_path / "net.onnx") == [reason]
    graph = read_qonnx(multi_threshold(tmp_path / "net.onnx")).graph
    assert [reason for _, reason in refusals(graph)] == ["has no MultiThreshold"] * 3
    with pytest.raises(UserError, match=r"^hls4ml \S+ has no MultiThreshold \[\S+, ONNX MultiThreshold_3\]; export "):
        demand_no_refusal(graph)


def test_names_that_hls4ml_keeps_for_itself_are_others_in_what_it_is_given(tmp_path: Path) -> None:
    """An exported nn.Sequential calls its input "input"; the network stays the same one."""
    graph = read_qonnx(flatten_linear(tmp_path / "net.onnx")).graph
    readers = [replace(n, inputs=tuple("input" if i == graph.input.name else i for i in n.inputs)) for n in graph.nodes]
    given = replace(graph, input=replace(graph.input, name="input"), nodes=tuple(readers))
    model = to_onnx(freed(given))

    assert [value.name for value in model.graph.input] == ["input__free"]
    assert "input" not in {name for node in model.graph.node for name in (node.name, *node.input, *node.output)}
    x = np.random.default_rng(0).normal(0, 1, (2, *graph.input.shape))
    expected = evaluate(graph, x)[graph.output]
    np.testing.assert_array_equal(evaluate(freed(given), x)[graph.output], expected)
    assert freed(graph).input == graph.input
