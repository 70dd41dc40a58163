#!/usr/bin/env bash
# qonnx 1.0.0: ModelWrapper.rename_tensor renames the first place of a node's inputs that holds the tensor. A node that
# reads a tensor twice, as x + x and x * x do, keeps the old name in the second place, which nothing writes any more:
# GiveReadableTensorNames, and with it cleanup_model, ends in a file that onnx's checker refuses, without a word.
# Seen, Relu and an Add of its output with itself: inputs Relu_0_out0 and r behind GiveReadableTensorNames, and "Nodes in
# a graph must be topologically sorted" from the checker; an Add of two tensors stays valid.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > repeated.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import onnx
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames


def refusal(second):
    """What the checker says of Relu(x) plus `second` behind qonnx's renaming; empty for a valid file."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", second], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    named = ModelWrapper(model).transform(GiveUniqueNodeNames()).transform(GiveReadableTensorNames())
    print(f"r + {second}: the Add reads {list(named.graph.node[1].input)}")
    try:
        onnx.checker.check_model(named.model)
    except onnx.checker.ValidationError as error:
        print(f"  checker: {str(error).splitlines()[0]}")
        return str(error)
    return ""


raise SystemExit(0 if "topologically sorted" in refusal("r") and not refusal("x") else 1)
PY
"$folder/venv/bin/python" repeated.py
