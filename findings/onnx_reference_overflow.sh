#!/usr/bin/env bash
# onnx 1.20.1: the ReferenceEvaluator, ONNX' own definition in Python, gives infinity in two functions of small numbers.
# Softplus is written log(exp(x) + 1), so that 89 gives inf in float32, where the function is 89; LogSoftmax is the
# logarithm of a Softmax, which is 0 from 104 below the largest on, so that it is -inf where the function is -110. Seen,
# [0, 88, 89, 110]: Softplus ends in [..., 88, inf, inf], by onnxruntime 1.31.1 in [..., 88, 89, 110]; LogSoftmax begins
# with -inf, by onnxruntime with -110. Mish, whose formula holds a Softplus, is right in both.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > overflow.py <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
NUMBERS = {"x": np.array([[0, 88, 89, 110]], dtype=np.float32)}
seen = []
for op in ("Softplus", "LogSoftmax", "Mish"):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(all="ignore"):
        reference, other = (run(None, NUMBERS)[0].ravel() for run in (ReferenceEvaluator(model).run, session.run))
    print(f"{op}: reference {reference.tolist()}, onnxruntime {other.tolist()}")
    seen.append((int(np.isinf(reference).sum()), int(np.isinf(other).sum())))
raise SystemExit(0 if seen == [(2, 0), (1, 0), (0, 0)] else 1)
PY
"$folder/venv/bin/python" overflow.py
