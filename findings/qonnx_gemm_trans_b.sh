#!/usr/bin/env bash
# qonnx 1.0.0: AbsorbChanFirstIntoMatMul, a part of ConvertToChannelsLastAndClean, asks whether a Gemm has the attribute
# transB and not whether it is 1: a Gemm that writes the default, transB=0, has its weights permuted as if they were
# transposed. A square matrix is then wrong without a word. Seen, a channels-first Transpose, Flatten and a Gemm with 8 x
# 8 weights: the same results before and behind the step without the attribute and with transB=1; with transB=0
# 0 2 6 12 13 16 21 28 becomes 0 10 1 15 3 21 6 28.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > gemm.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.channels_last import AbsorbChanFirstIntoMatMul
from qonnx.transformation.infer_shapes import InferShapes

X = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
SUMS = np.triu(np.ones((8, 8), np.float32))


def result(model):
    return execute_onnx(model, {"x": X})["y"].ravel().astype(int).tolist()


def differs(attributes):
    weights = SUMS.T.copy() if attributes.get("transB") else SUMS
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Flatten", ["t"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w"], ["y"], **attributes),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", X.shape), ("y", [1, 8]))]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = ModelWrapper(model).transform(InferShapes())
    before = result(model)
    after = result(model.transform(AbsorbChanFirstIntoMatMul()).transform(InferShapes()))
    print(f"{attributes or 'no transB'}: {before}, behind the step {after}")
    return before != after


found = [differs(attributes) for attributes in ({}, {"transB": 1}, {"transB": 0})]
raise SystemExit(0 if found == [False, False, True] else 1)
PY
"$folder/venv/bin/python" gemm.py 2>/dev/null
