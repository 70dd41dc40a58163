#!/usr/bin/env bash
# An average pool with ceil_mode and count_include_pad whose last window hangs over the edge of a map without pads has
# three answers: AveragePool of onnxruntime 1.31.1 divides by the elements on the map, QLinearAveragePool of the same
# onnxruntime by the whole window, and the reference of onnx 1.20.1 moves all windows, so that the first ones hang over.
# No warning; without count_include_pad all three agree. Seen, a 6 x 6 map that is 100 everywhere, windows of 4 x 4 in
# steps of 4: 100, 100, 100, 100; 100, 50, 50, 25; 56.25, 75, 75, 100.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > pool.py <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

MICROSOFT = "com.microsoft"
OPSETS = [helper.make_opsetid("", 19), helper.make_opsetid(MICROSOFT, 1)]
X = np.full((1, 1, 6, 6), 100, np.float32)


def model_of(kind, node, **constants):
    """Of a map of 6 x 6, codes or real numbers, the pool."""
    value = helper.make_tensor_value_info
    numbers = [numpy_helper.from_array(number, name) for name, number in constants.items()]
    ends = [value("x", kind, X.shape)], [value("y", kind, [1, 1, 2, 2])]
    return helper.make_model(helper.make_graph([node], "pool", *ends, numbers), opset_imports=OPSETS, ir_version=9)


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel().tolist()


def answers(counted):
    window = {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1, "count_include_pad": counted}
    real = model_of(TensorProto.FLOAT, helper.make_node("AveragePool", ["x"], ["y"], **window))
    inputs = ["x", "scale", "zero", "scale", "zero"]
    node = helper.make_node("QLinearAveragePool", inputs, ["y"], domain=MICROSOFT, **window)
    codes = model_of(TensorProto.UINT8, node, scale=np.float32(1), zero=np.uint8(0))
    found = {
        "AveragePool": run(real, X),
        "QLinearAveragePool": run(codes, X.astype(np.uint8)),
        "reference": ReferenceEvaluator(real).run(None, {"x": X})[0].ravel().tolist(),
    }
    for name, answer in found.items():
        print(f"count_include_pad {counted}: {name} {answer}")
    return list(found.values())


agreed = all(answer == [100] * 4 for answer in answers(0))
apart = answers(1) == [[100, 100, 100, 100], [100, 50, 50, 25], [56.25, 75, 75, 100]]
raise SystemExit(0 if agreed and apart else 1)
PY
"$folder/venv/bin/python" pool.py
