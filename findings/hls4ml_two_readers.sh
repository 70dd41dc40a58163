#!/usr/bin/env bash
# hls4ml 1.3.0 from QONNX: a tensor with a scale that is no power of two, read by two layers, is scaled for one of them
# only. The pass that moves the multiplication by the scale behind a MatMul takes it from the tensor, so that the other
# layer reads integer codes. No warning; a scale of 0.25 needs no multiplication and is right. Seen, io_parallel,
# C simulation by g++, inputs of 1 to 4 in steps of 0.3: one layer says 0.9, 2.1, 3, 3.9, the other 3, 7, 10, 13.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hls4ml==1.3.0 numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > readers.py <<'PY'
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


def differences(name, step):
    """The largest difference of each of the two layers, which pass on what they read."""
    nodes = [quant("x", "step", "codes")]
    for end in "ab":
        nodes += [
            quant(f"eye_{end}", "one", f"weights_{end}"),
            helper.make_node("MatMul", ["codes", f"weights_{end}"], [end]),
        ]
    numbers = {"one": 1.0, "step": step, "zero": 0.0, "bits": 8.0, "eye_a": np.eye(4), "eye_b": np.eye(4)}
    x, *ends = (helper.make_tensor_value_info(end, TensorProto.FLOAT, X.shape) for end in "xab")
    constants = [numpy_helper.from_array(np.asarray(number, np.float32), n) for n, number in numbers.items()]
    graph = helper.make_graph(nodes, name, [x], ends, constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    answers = execute_onnx(model, {model.graph.input[0].name: X})
    said = [answers[value.name].ravel() for value in model.graph.output]
    config = hls4ml.utils.config_from_onnx_model(
        model, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    project = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=name, backend="Vitis", io_type="io_parallel", hls_config=config
    )
    project.compile()
    made = [np.ravel(answer) for answer in project.predict(X)]
    for pair in zip(made, said):
        one, other = (answer.astype(float).round(3).tolist() for answer in pair)
        print(f"result: steps of {step:g}: {one}, qonnx {other}")
    return [float(abs(one - other).max()) for one, other in zip(made, said)]


quarter, third = differences("quarter", 0.25), differences("third", 0.3)
raise SystemExit(0 if max(quarter) < 0.01 and min(third) < 0.01 and max(third) > 0.5 else 1)
PY
"$folder/venv/bin/python" readers.py 2>/dev/null | grep "^result"
