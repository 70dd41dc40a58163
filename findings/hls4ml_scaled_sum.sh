#!/usr/bin/env bash
# hls4ml 1.3.0 from QONNX: a sum of two linear layers loses the scale of one of them. Weights with a scale of 0.3 become
# integers, with a multiplication by 0.3 behind the layer; where the other layer has none, the multiplication stands in
# the project and the sum reads the number in front of it. No warning. Without the sum the scale is applied. Seen,
# io_parallel, C simulation by g++, x + 0.3 x for x of 1 to 4: 2, 4, 6, 8, and 1.3, 2.6, 3.9, 5.2 in qonnx.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hls4ml==1.3.0 numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > sum.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import hls4ml
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"
X = np.float32([[1, 2, 3, 4]])


def quant(source, scale, result):
    inputs = [source, scale, "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def multiply(left, right, result):
    return helper.make_node("MatMul", [left, right], [result])


def difference(name, nodes):
    numbers = {"one": 1.0, "step": 0.3, "zero": 0.0, "bits": 8.0, "eye": np.eye(4), "less": 0.3 * np.eye(4)}
    used = {source for node in nodes for source in node.input}
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, X.shape) for end in "xy"]
    constants = [numpy_helper.from_array(np.asarray(numbers[n], np.float32), n) for n in numbers if n in used]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said = next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values())).ravel()
    config = hls4ml.utils.config_from_onnx_model(
        model, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    project = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=name, backend="Vitis", io_type="io_parallel", hls_config=config
    )
    project.compile()
    made = np.ravel(project.predict(X))
    print(f"result: {name} {made.astype(float).round(3).tolist()}, qonnx {said.astype(float).round(3).tolist()}")
    return float(abs(made - said).max())


code, scaled = quant("x", "one", "code"), quant("less", "step", "scaled")
both = [code, scaled, quant("eye", "one", "plain"), multiply("code", "plain", "a"), multiply("code", "scaled", "b")]
alone = difference("alone", [code, scaled, multiply("code", "scaled", "y")])
summed = difference("summed", [*both, helper.make_node("Add", ["a", "b"], ["y"])])
raise SystemExit(0 if alone < 0.01 and summed > 0.5 else 1)
PY
"$folder/venv/bin/python" sum.py 2>/dev/null | grep "^result"
