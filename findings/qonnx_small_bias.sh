#!/usr/bin/env bash
# qonnx 1.0.0: GemmToMatMul, which hls4ml and FINN ask for, ends with RemoveIdentityOps on the whole file. That takes an
# Add of numbers within 1e-5 of zero for an Add of zero. The size of a step does not count: where the sums of a
# layer are in steps of 1e-6, biases of up to 10 steps are gone. The one warning is of the opset. Seen, biases of
# 9, -9, 5 and 2 steps: all left out; with 11 for the 9 all stay. ExtractQuantScaleZeroPt does the same, silently.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > qonnx_small_bias.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.extract_quant_scale_zeropt import ExtractQuantScaleZeroPt
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"
STEP = 2.0**-20  # about 1e-6
X = np.float32([[1, 2, 3, 4]]) * np.float32(STEP)


def quant(source, scale, result):
    inputs = [source, scale, "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def steps(model):
    (answer,) = execute_onnx(model, {model.graph.input[0].name: X}).values()
    return (answer.ravel() / STEP).astype(float).round(3).tolist()


def same(change, biases):
    """Whether y = x + biases stays so, x in steps of STEP."""
    nodes = [
        quant("x", "step", "codes"),
        quant("eye", "one", "weights"),
        helper.make_node("Gemm", ["codes", "weights", "biases"], ["y"]),
    ]
    numbers = {"step": STEP, "one": 1, "zero": 0, "bits": 8, "eye": np.eye(4), "biases": STEP * np.array(biases)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(number, np.float32), name) for name, number in numbers.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said = steps(model)
    made = steps(change(model))
    print(f"biases of {biases} steps: {said}, behind the pass {made}")
    return said == made


def to_matmul(model):
    return model.transform(GemmToMatMul())


def extracted(model):
    """The Gemm written as MatMul and Add by hand, then the other pass."""
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    x, weights, biases = gemm.input
    product = helper.make_node("MatMul", [x, weights], ["product"])
    added = helper.make_node("Add", ["product", biases], [gemm.output[0]])
    model.graph.node.remove(gemm)
    model.graph.node.extend([product, added])
    return model.transform(ExtractQuantScaleZeroPt())


found = [same(change, biases) for change in (to_matmul, extracted) for biases in ([9, -9, 5, 2], [11, -9, 5, 2])]
raise SystemExit(0 if found == [False, True, False, True] else 1)
PY
"$folder/venv/bin/python" qonnx_small_bias.py 2>/dev/null
