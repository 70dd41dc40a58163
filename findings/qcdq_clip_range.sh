#!/usr/bin/env bash
# qonnx 1.0.0: QCDQToQuant takes from the Clip between QuantizeLinear and DequantizeLinear only the number of codes, and
# the sign from the type of the codes. So int8 codes cut to 0..15 (a ReLU in the quantizer) become Quant of 4 bits,
# signed: -8..7; -8..5 becomes -8..7. No warning; only ranges that are a type's own come through. Seen, 41 inputs:
# 33 codes differ for 0..15, 15 for -8..5, none for -8..7 and -7..7.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > clip.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model

X = np.arange(-20, 21, dtype=np.float32).reshape(1, 41)  # the scale is 1: inputs are codes


def codes(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values())).ravel().astype(int)


def differing(low, high):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("Clip", ["q", "low", "high"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "scale", "zero"], ["y"]),
    ]
    numbers = {"scale": np.float32(1), "zero": np.int8(0), "low": np.int8(low), "high": np.int8(high)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "quantizer", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = cleanup_model(ModelWrapper(model))
    before, after = codes(model), codes(model.transform(QCDQToQuant()))
    print(f"Clip to {low}..{high}: {before.min()}..{before.max()}, after QCDQToQuant {after.min()}..{after.max()}")
    return int((before != after).sum())


found = {ends: differing(*ends) for ends in ((0, 15), (-8, 5), (-8, 7), (-7, 7))}
print(f"codes of {X.size} that differ, by range: {found}")
right = found[-8, 7] == 0 and found[-7, 7] == 0
raise SystemExit(0 if right and found[0, 15] and found[-8, 5] else 1)
PY
"$folder/venv/bin/python" clip.py
