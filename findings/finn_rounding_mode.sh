#!/usr/bin/env bash
# finn-plus 1.6.1: ConvertQONNXtoFINN makes thresholds of a Quant node by half steps and never reads its rounding_mode.
# Whatever the file says, the thresholds round to nearest, halves up: FLOOR and CEIL become another function, and ROUND
# another one at each half that lies over an even code. No warning. Seen, 4 bits, scale 1, inputs in steps of 1/4 behind
# a ReLU: of 64 codes 30 differ for FLOOR, 15 for CEIL, 8 for ROUND (0.5 is 0 in QONNX, 1 in FINN's thresholds).
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.21.0 onnxruntime==1.25.1 protobuf==5.29.6 \
  rich==13.9.4
"$folder/venv/bin/pip" install --quiet --no-deps finn-plus==1.6.1  # its other dependencies are for synthesis
cd "$folder"
cat > modes.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"
X = np.arange(64, dtype=np.float32).reshape(1, 64) / 4


def codes(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values())).ravel().astype(int)


def differing(mode):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node(
            "Quant", ["r", "scale", "zero", "bits"], ["y"], domain=QONNX, signed=0, narrow=0, rounding_mode=mode
        ),
    ]
    numbers = {"scale": 1.0, "zero": 0.0, "bits": 4.0}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy"]
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "quantizer", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said, made = codes(model), codes(model.transform(ConvertQONNXtoFINN()))
    print(f"{mode:6}", *(f"{x:g}: {a}, {b};" for x, a, b in zip(X[0, :8], said, made)), "...")
    return int((said != made).sum())


print("input: code in QONNX, in FINN's thresholds")
found = {mode: differing(mode) for mode in ("ROUND", "FLOOR", "CEIL")}
print(f"codes of {X.size} that differ: {found}")
raise SystemExit(0 if all(found.values()) else 1)
PY
"$folder/venv/bin/python" modes.py
