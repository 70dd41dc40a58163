"""Files with several outputs: which are read, what they are called, and what each is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.onnx_models import PIXELS, Net
from tests.random_qonnx import agreement
from toolchain.errors import UserError
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.encode import decode, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.verify import Level, verify
from toolchain.lowering.lower import PIXELS as PIXEL_INPUT
from toolchain.lowering.pipeline import to_integer
from toolchain.train.ptq.onnx_source import read_float_onnx


def two_heads(path: Path, *, softmax: bool = False) -> Path:
    """A map of 6 channels, and the classes of what is left of it."""
    net = Net((1, 3, 8, 8), seed=5)
    net.metadata = dict(PIXELS)
    x = net.quant(
        net.add("Relu", net.conv("x", net.weight(4, 3, 3, 3), pads=[1] * 4, strides=[2, 2])), 4, 0.1, signed=0
    )
    boxes = net.conv(x, net.weight(6, 4, 1, 1))
    scores = net.linear(net.add("Flatten", net.quant(net.add("GlobalAveragePool", x), 8, 0.0137)), 4, 5)
    return net.save(path, boxes, net.add("Softmax", scores, axis=1) if softmax else scores)


def integer(path: Path) -> tuple[ModelFile, Graph]:
    model = read_qonnx(path)
    return model, verify(to_integer(model.graph, model.encoding or PIXEL_INPUT), Level.INTEGER)


def test_every_output_is_the_executors(tmp_path: Path) -> None:
    """In the file's order, each with its own decoding."""
    path = two_heads(tmp_path / "net.onnx")
    model, graph = integer(path)
    images = random_inputs(PIXEL_INPUT, (4, *graph.input.shape))
    theirs = execute_qonnx(path, model.layout.from_ir(images / np.float32(255)))
    ours = evaluate(graph, encode(graph, images))
    assert (
        [output.name for output in graph.outputs]
        == list(model.outputs)
        == [o.name for o in onnx.load(path).graph.output]
    )
    for output, tensor in zip(graph.outputs, model.outputs, strict=True):
        values = model.output_layout(tensor).from_ir(decode(output, ours[output.value]))
        np.testing.assert_allclose(values, theirs[tensor], rtol=1e-4, atol=1e-5)


def test_outputs_that_depend_on_no_input_are_left_out_and_told(tmp_path: Path) -> None:
    """As Brevitas' exporter writes them where the last layer returns a QuantTensor: a scale, and computed bits."""
    net = Net((1, 6), seed=3)
    values = net.quant(net.quant("x", 4, 0.25), 3, 0.5)
    scale, bits = net.const(0.5), net.add("Ceil", net.add("Log", net.const(5.0)))
    with_facts = read_qonnx(net.save(tmp_path / "facts.onnx", values, scale, bits))
    assert with_facts.outputs == (values,)
    assert with_facts.notes == (f"outputs that depend on no input are left out: {scale}, {bits}",)
    plain = read_qonnx(net.save(tmp_path / "plain.onnx", values))
    assert str(with_facts.graph.nodes) == str(plain.graph.nodes)


def test_a_softmax_at_the_end_of_one_head_is_left_out_there(tmp_path: Path) -> None:
    plain, soft = (integer(two_heads(tmp_path / f"{s}.onnx", softmax=s)) for s in (False, True))
    assert [o.decoding for o in soft[1].outputs] == [o.decoding for o in plain[1].outputs]
    assert any("Softmax" in note for note in soft[0].notes)


def test_an_inner_tensor_and_its_end_are_put_out(tmp_path: Path) -> None:
    """The sums in front of a quantizer, its codes, which are read too, and the index of the largest behind them."""
    net = Net((1, 3, 4, 4), seed=2)
    sums = net.conv(net.quant("x", 6, 0.05), net.weight(4, 3, 3, 3))
    codes = net.quant(sums, 4, 0.2)
    scores = net.linear(net.add("Flatten", codes), 16, 5)
    path = net.save(tmp_path / "net.onnx", sums, codes, net.add("ArgMax", scores, axis=1, keepdims=0))
    model, graph = integer(path)
    assert [output.decoding is None for output in graph.outputs] == [False, False, True]
    assert agreement(model, graph, seed=0).top1 == 1.0


NAMES = ["/head.0/Conv_output_0", "/head.0/conv:output.0", "output", "2", "class"]
IDENTIFIERS = ["head_0_Conv_output_0", "head_0_conv_output_0_2", "output", "out_2", "out_class"]


def test_names_are_identifiers_that_differ_where_case_does_not_count(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant("x", 4)
    outputs = [net.conv(x, net.weight(2, 3, 1, 1)) for _ in NAMES]
    for node, name in zip([node for node in net.nodes if node.op_type == "Conv"], NAMES, strict=True):
        node.output[0] = name
    assert len(outputs) == len(NAMES)
    model = read_qonnx(net.save(tmp_path / "net.onnx", *NAMES))
    assert [output.name for output in model.graph.outputs] == IDENTIFIERS


def test_a_network_whose_only_output_depends_on_no_input_is_refused(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    net.quant("x", 4)
    path = net.save(tmp_path / "net.onnx", net.quant(net.const(np.ones(3)), 4))
    with pytest.raises(UserError, match=r"^the output 't1' does not depend on the input \[net.onnx\]"):
        read_qonnx(path)


def test_a_float_network_of_two_outputs_is_not_quantized(tmp_path: Path) -> None:
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 3, 3]) for name in names]
        for names in (["x"], ["y", "z"])
    )
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    path = tmp_path / "float.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", inputs, outputs), ir_version=8), path)
    with pytest.raises(UserError, match=r"^the network has 2 outputs, 'y', 'z', and one is quantized"):
        read_float_onnx(path)
