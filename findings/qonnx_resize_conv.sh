#!/usr/bin/env bash
# qonnx 1.0.0: ResizeConvolutionToDeconvolution adds up the weights that lie in front of their Quant and lets the Quant
# round the sums: a sum of rounded weights becomes the rounded sum. Brevitas writes such weights as they were trained.
# No warning. Weights that are multiples of the scale come through. Seen, 3 x 3 weights of -1.4 steps on a map of ones
# that is doubled: the corners are -4 in the file and -6 behind the pass; with weights of -1 step -4 and -4.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > qonnx_resize_conv.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.resize_conv_to_deconv import ResizeConvolutionToDeconvolution
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"
X = np.ones((1, 1, 2, 2), np.float32)


def quant(source, result):
    inputs = [source, "one", "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def numbers_of(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values()))[0, 0].astype(int).tolist()


def same(weight):
    """Whether a map that is doubled and convolved, by 3 x 3 weights that are all ``weight``, stays the same."""
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}
    nodes = [
        quant("x", "codes"),
        helper.make_node("Resize", ["codes", "", "twice"], ["large"], mode="nearest"),
        quant("raw", "weights"),
        helper.make_node("Conv", ["large", "weights"], ["y"], **window),
    ]
    numbers = {"one": 1, "zero": 0, "bits": 8, "twice": [1, 1, 2, 2], "raw": np.full((1, 1, 3, 3), weight)}
    shapes = {"x": X.shape, "y": [1, 1, 4, 4]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(np.asarray(number, np.float32), name) for name, number in numbers.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said = numbers_of(model)
    made = numbers_of(model.transform(ResizeConvolutionToDeconvolution()))
    print(f"weights of {weight} steps: {said}, behind the pass {made}")
    return said == made


found = [same(-1.4), same(-1.0)]
raise SystemExit(0 if found == [False, True] else 1)
PY
"$folder/venv/bin/python" qonnx_resize_conv.py 2>/dev/null
