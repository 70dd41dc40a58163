#!/usr/bin/env bash
# qonnx 1.0.0: ConvertToChannelsLastAndClean moves the Transpose behind a convolution past the first reader of its
# result and does not look for a second one, which then reads the first one's result, and that channels last. No warning
# where the shapes allow it (else onnxruntime refuses the graph). Seen, a convolution by the identity of two maps of 2 x
# 2, joined with its own Relu: -1 2 -3 4 -5 6 -7 8 becomes 0 0 2 6 0 0 4 8; joined with the input it comes through.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > readers.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.util.cleanup import cleanup_model

X = np.float32([-1, 2, -3, 4, -5, 6, -7, 8]).reshape(1, 2, 2, 2)
ONCE = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}


def first_map(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values())).ravel()[:8].tolist()


def differs(name, nodes, joined):
    nodes = [
        helper.make_node("Conv", ["x", "eye"], ["c"], **ONCE),
        *nodes,
        helper.make_node("Concat", ["c", joined], ["y"], axis=1),
    ]
    shapes = {"x": X.shape, "y": [1, 4, 2, 2]}
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end, shape in shapes.items()]
    eye = numpy_helper.from_array(np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1), "eye")
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], [eye])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = cleanup_model(ModelWrapper(model))
    before, after = first_map(model), first_map(cleanup_model(model.transform(ConvertToChannelsLastAndClean())))
    print(f"{name}: {before}, channels last {after}")
    return before != after


found = [
    differs("joined with its Relu", [helper.make_node("Relu", ["c"], ["r"])], "r"),
    differs("joined with the input", [], "x"),
]
raise SystemExit(0 if found == [True, False] else 1)
PY
"$folder/venv/bin/python" readers.py 2>/dev/null
