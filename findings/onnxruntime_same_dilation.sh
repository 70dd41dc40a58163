#!/usr/bin/env bash
# onnxruntime 1.31.1: auto_pad=SAME_UPPER or SAME_LOWER with dilations. ONNX pads such that there are ceil(size / stride)
# outputs, for the dilated kernel. MaxPool and AveragePool pad for the kernel without its dilation: of 6 elements, kernel
# 3, dilation 2, they make 4 outputs where onnx infers 6, and only a warning of a shape tells. Conv raises an error when
# it runs. With the same pads as numbers all three are right. Seen: 4 and 4 outputs, InvalidArgument; 6 with numbers.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > same.py <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(4)
ELEMENTS = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 6)


def run(op, **pads):
    """What onnxruntime makes of one dilated window, and how many outputs onnx infers."""
    read = ["x", "w"] if op == "Conv" else ["x"]
    node = helper.make_node(op, read, ["y"], kernel_shape=[3], dilations=[2], **pads)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "n"])
    weight = [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3], [1, 10, 100])] if op == "Conv" else []
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], weight), opset_imports=[helper.make_opsetid("", 19)], ir_version=9
    )
    onnx.checker.check_model(model, full_check=True)
    shape = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(None, {"x": ELEMENTS})[0].ravel().tolist()
    except Exception as error:
        found = type(error).__name__
    return found, shape.dim[-1].dim_value


seen = []
for op in ("MaxPool", "AveragePool", "Conv"):
    (auto, inferred), (numbers, _) = run(op, auto_pad="SAME_UPPER"), run(op, pads=[2, 2])
    print(f"{op}: onnx infers {inferred} outputs; auto_pad {auto}; pads 2, 2 {numbers}")
    seen.append((inferred, auto if isinstance(auto, str) else len(auto), len(numbers)))
raise SystemExit(0 if seen == [(6, 4, 6), (6, 4, 6), (6, "InvalidArgument", 6)] else 1)
PY
"$folder/venv/bin/python" same.py 2>/dev/null
