#!/usr/bin/env bash
# qonnx 1.0.0: QCDQToQuant multiplies weights that a file holds as codes by their scales as numpy broadcasts, before it
# reads the axis that the scales belong to. A scale for each output channel (axis 0) is so applied along the last axis,
# and the Quant that is left behind rounds and cuts the result by the right ones. Silent where the last axis is as
# long, as in a square layer; another length is a ValueError. Seen: [[1, 2], [3, 4]] with scales 1 and 10 is
# [[1, 2], [30, 40]] in the file and [[1, 20], [0, 40]] behind the pass; with axis 1 both are the same.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > axis.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model


def weights_of(model):
    """The weights as the layer applies them: its answer to the unit vectors."""
    (name,) = (value.name for value in model.graph.input)
    return next(iter(execute_onnx(model, {name: np.eye(2, dtype=np.float32)}).values())).T


def same(axis):
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weights"], axis=axis),
        helper.make_node("Gemm", ["x", "weights"], ["y"], transB=1),  # rows are output channels, as PyTorch has them
    ]
    constants = {"codes": np.int8([[1, 2], [3, 4]]), "scales": np.float32([1, 10]), "zeros": np.int8([0, 0])}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    numbers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = cleanup_model(ModelWrapper(model))
    said = weights_of(model)
    made = weights_of(model.transform(QCDQToQuant()))
    print(f"axis {axis}: {said.tolist()}, behind the pass {made.tolist()}")
    return bool((said == made).all())


found = [same(0), same(1)]
raise SystemExit(0 if found == [False, True] else 1)
PY
"$folder/venv/bin/python" axis.py
