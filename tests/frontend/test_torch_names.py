"""Names from torch's notes: module paths where they can be read, and nothing that a note holds is run."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.onnx_models import conv_bn_relu
from toolchain.errors import UserError
from toolchain.frontend.read import read_qonnx
from toolchain.frontend.torch_names import SCOPES, module_names


def _node(op: str, note: str | None) -> onnx.NodeProto:
    node = onnx.helper.make_node(op, ["x"], ["y"], "node_7")
    if note is not None:
        node.metadata_props.add(key=SCOPES, value=note)
    return node


@pytest.mark.parametrize(
    ("op", "note", "name"),
    [
        ("Conv", "['', 'block', 'block.conv', 'conv2d']", "block.conv.Conv"),
        ("Quant", "['', 'a', 'a.act_quant', 'a.act_quant.export_handler', '_symbolic_4']", "a.act_quant"),
        ("Relu", "['', 'a', 'a.act_quant', 'a.act_quant.impl', 'relu_1']", "a.Relu"),
        ("Relu", "['', 'relu']", ""),
        ("Relu", None, ""),
        ("Relu", "", ""),
        ("Relu", "[1, 2, 3]", ""),
        ("Relu", "{'a': 'b'}", ""),
        ("Relu", "['a'", ""),
        ("Relu", "[__import__('os').system('touch ran'), 'x']", ""),
        ("Relu", "[" * 4000, ""),
        ("Relu", "['" + "a" * 5000 + "', 'x']", ""),
        ("Relu", "['x\0', 'y', 'z']", ""),
    ],
)
def test_the_innermost_module_names_a_node(op: str, note: str | None, name: str, tmp_path: Path) -> None:
    assert module_names([_node(op, note)]) == [name]
    assert not (Path.cwd() / "ran").exists()


def test_nodes_of_one_module_are_numbered() -> None:
    note = "['', 'net', 'add']"
    assert module_names([_node("Add", note), _node("Mul", note), _node("Add", note)]) == [
        "net.Add",
        "net.Mul",
        "net.Add_2",
    ]


def test_units_are_called_like_modules_and_keep_their_onnx_names(tmp_path: Path) -> None:
    path = conv_bn_relu(tmp_path / "net.onnx")
    model = onnx.load(path)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.metadata_props.add(key=SCOPES, value="['', 'stem', 'stem.conv', 'conv2d']")
    onnx.save(model, path)
    node = next(node for node in read_qonnx(path).graph.nodes if node.name == "stem_conv_Conv")
    assert node.origin[0] == conv.name
    conv.op_type = "Sinh"
    del conv.attribute[:]
    onnx.save(model, path)
    with pytest.raises(UserError, match=rf"node 'stem.conv.Sinh' \(Sinh, ONNX {conv.name}\)"):
        read_qonnx(path)
