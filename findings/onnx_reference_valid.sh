#!/usr/bin/env bash
# onnx 1.20.1: the ReferenceEvaluator, ONNX' own definition in Python, takes auto_pad=VALID of a Conv for SAME: it pads,
# and makes as many outputs as inputs where ONNX (and its shape inference) has none of it. A dilated AveragePool under
# VALID gets zeros in place of the outputs that its undilated kernel would have had. Seen, 6 elements, kernel 3: Conv
# [210, 321, 432, 543, 654, 65], by onnxruntime 1.31.1 [321, 432, 543, 654]; average with dilation 2 [3, 4, 0, 0], by
# onnxruntime [3, 4]. A MaxPool is right.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > valid.py <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
ELEMENTS = {"x": np.arange(1, 7, dtype=np.float32).reshape(1, 1, 6)}


def outputs(op, dilation):
    """What the reference and onnxruntime make of one window without pads, and how many outputs onnx infers."""
    read = ["x", "w"] if op == "Conv" else ["x"]
    node = helper.make_node(op, read, ["y"], kernel_shape=[3], dilations=[dilation], auto_pad="VALID")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "n"])
    weight = [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3], [1, 10, 100])] if op == "Conv" else []
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], weight), opset_imports=[helper.make_opsetid("", 19)], ir_version=9
    )
    onnx.checker.check_model(model, full_check=True)
    shape = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    both = (run(None, ELEMENTS)[0].ravel().tolist() for run in (ReferenceEvaluator(model).run, session.run))
    return (*both, shape.dim[-1].dim_value)


seen = []
for op, dilation in (("Conv", 1), ("AveragePool", 2), ("MaxPool", 2)):
    reference, other, inferred = outputs(op, dilation)
    print(f"{op}, dilation {dilation}: reference {reference}, onnxruntime {other}, onnx infers {inferred} outputs")
    seen.append((len(reference), len(other), inferred, reference == other))
raise SystemExit(0 if seen == [(6, 4, 4, False), (4, 2, 2, False), (2, 2, 2, True)] else 1)
PY
"$folder/venv/bin/python" valid.py
