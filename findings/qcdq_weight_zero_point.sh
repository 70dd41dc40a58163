#!/usr/bin/env bash
# qonnx 1.0.0: QCDQToQuant makes numbers of weights that a file holds as codes: (codes - zero point) x scale, with the
# subtraction in the codes' own type. So uint8 weights below their zero point wrap round and come out positive, as do
# int8 ones whose difference leaves -128..127. No warning; those above the zero point are right. Seen, scale 1: uint8
# code 3 with zero point 128 is -125 in the file and 127 behind the pass, int8 code -128 with 10 is -138 and 117.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > weights.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model


def weights_of(model):
    """The weights as the layer applies them: its answer to 1."""
    (name,) = (value.name for value in model.graph.input)
    return next(iter(execute_onnx(model, {name: np.ones((1, 1), np.float32)}).values())).ravel()


def wrong(codes, zero):
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["weights"]),
        helper.make_node("MatMul", ["x", "weights"], ["y"]),
    ]
    constants = {"codes": codes.reshape(1, -1), "scale": np.float32(1), "zero": codes.dtype.type(zero)}
    shapes = {"x": [1, 1], "y": [1, codes.size]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    numbers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = cleanup_model(ModelWrapper(model))
    said = weights_of(model)
    made = weights_of(model.transform(QCDQToQuant()))
    print(f"{codes.dtype} {codes.tolist()}, zero point {zero}: {said.tolist()}, behind the pass {made.tolist()}")
    return np.flatnonzero(said != made).tolist()


found = [
    wrong(np.uint8([3, 127, 128, 200, 255]), 128),
    wrong(np.int8([-128, -119, -118, 0, 127]), 10),
    wrong(np.int8([-128, -119, -118, 0, 127]), 0),
]
print(f"places that differ: {found}")
raise SystemExit(0 if found == [[0, 1], [0, 1], []] else 1)
PY
"$folder/venv/bin/python" weights.py
