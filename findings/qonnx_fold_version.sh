#!/usr/bin/env bash
# qonnx 1.0.0: cleanup_model computes constants by the version that the file's first opset import states, whosever it is.
# ONNX does not order the imports. Where QONNX' own domain, version 1, stands first, nodes of ONNX 13 are run as ONNX 1's:
# Softmax over axis 1 of a constant (1, 2, 2, 2) is then taken over all eight values, as it was before ONNX 13. Seen: the
# constant sums up to 4, one a position, with ONNX first, and to 1 with QONNX first; no error, and the file's own
# execution is right. Files of PyTorch's exporter with Brevitas' quantizers have QONNX' domain first.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > fold.py <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model

onnxruntime.set_default_logger_severity(4)
SHAPE = [1, 2, 2, 2]
IMPORTS = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
CONSTANTS = {"table": np.arange(8.0).reshape(SHAPE), "scale": 0.125, "zero": 0, "bits": 8}
seen = []
for imports in (IMPORTS, IMPORTS[::-1]):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    nodes = [
        helper.make_node("Softmax", ["table"], ["soft"], axis=1),
        helper.make_node("Quant", ["x", "scale", "zero", "bits"], ["codes"], domain="qonnx.custom_op.general",
                         signed=1, narrow=0, rounding_mode="ROUND"),
        helper.make_node("Add", ["codes", "soft"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = ModelWrapper(helper.make_model(graph, opset_imports=imports, ir_version=8))
    sums = []
    for each in (model.transform(InferShapes()), cleanup_model(model)):
        zeros = {each.graph.input[0].name: np.zeros(SHAPE, dtype=np.float32)}
        sums.append(round(float(execute_onnx(each, zeros)[each.graph.output[0].name].sum()), 3))
    print(f"{imports[0].domain or 'ONNX'} first: the constant sums up to {sums[0]}, cleaned up to {sums[1]}")
    seen.append(tuple(sums))
raise SystemExit(0 if seen == [(4.0, 4.0), (4.0, 1.0)] else 1)
PY
"$folder/venv/bin/python" fold.py
