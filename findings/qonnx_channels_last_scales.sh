#!/usr/bin/env bash
# qonnx 1.0.0: ConvertToChannelsLastAndClean turns tensors and leaves their scales as they are. It pulls a Transpose
# through the Quant in front of a convolution, whose scales a channel then lie along the rows of the map; and it sorts
# the weights behind a Flatten anew without their scales an input. No warning. Seen, 4 channels of 4 x 4: 28 of 64
# numbers differ for scales 1, 2, 4, 8 of the activations, 3 of 3 for scales of the weights' inputs, none for single
# scales. (Where the map is not as high as it has channels, the first one raises ValueError.)
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > scales.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"
X = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
ONCE = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
FEW = np.float32([1, 2, 4, 8])


def quant(source, scale, result):
    inputs = [source, scale, "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def numbers(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values())).ravel()


def differing(name, nodes, shape, scales):
    values = {
        "scales": scales,
        "one": 1,
        "zero": 0,
        "bits": 8,
        "eye": np.eye(4).reshape(4, 4, 1, 1),
        "matrix": np.arange(192).reshape(64, 3) % 7,
    }
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), called) for called, value in values.items()]
    shapes = {"x": X.shape, "y": shape}
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end, shape in shapes.items()]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    first, last = numbers(model), numbers(cleanup_model(model.transform(ConvertToChannelsLastAndClean())))
    if first.size == last.size:
        print(f"{name}: {first[:6].tolist()} ..., channels last {last[:6].tolist()} ...")
    return int((first != last).sum())


activations = [quant("x", "scales", "q"), helper.make_node("Conv", ["q", "eye"], ["y"], **ONCE)]
weights = [
    helper.make_node("Conv", ["x", "eye"], ["c"], **ONCE),
    helper.make_node("Flatten", ["c"], ["f"]),
    quant("matrix", "scales", "w"),
    helper.make_node("MatMul", ["f", "w"], ["y"]),
]
found = [
    differing("scales of the activations", activations, X.shape, FEW.reshape(1, 4, 1, 1)),
    differing("scales of the weights' inputs", weights, [1, 3], np.repeat(FEW, 16).reshape(64, 1)),
    differing("one scale of the activations", activations, X.shape, 4),
    differing("one scale of the weights", weights, [1, 3], 4),
]
print(f"numbers that differ: {found}")
raise SystemExit(0 if found[0] and found[1] and not found[2] and not found[3] else 1)
PY
"$folder/venv/bin/python" scales.py 2>/dev/null
