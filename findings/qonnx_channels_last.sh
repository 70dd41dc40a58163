#!/usr/bin/env bash
# qonnx 1.0.0: ConvertToChannelsLastAndClean moves a Transpose in front of a Quant and leaves the scales of the Quant as
# they are. Of an activation with a scale a channel, [1, C, 1, 1], the scales are then those of the rows of the map:
# silent where the map is as high as it has channels, a ValueError elsewhere. hls4ml asks for this pass. Seen, a map of
# 4 x 4 with 4 channels in steps of 1, 2, 4 and 8: 28 of 64 numbers differ; with one scale for all none does.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > qonnx_channels_last.py <<'PY'
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


def quant(source, scale, result):
    inputs = [source, scale, "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def numbers_of(model):
    return next(iter(execute_onnx(model, {model.graph.input[0].name: X}).values()))


def differing(scales):
    """How many numbers of a convolution change that passes on what it reads."""
    once = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    nodes = [
        quant("x", "scales", "codes"),
        quant("eye", "one", "weights"),
        helper.make_node("Conv", ["codes", "weights"], ["y"], **once),
    ]
    numbers = {"zero": 0, "bits": 8, "one": 1, "eye": np.eye(4).reshape(4, 4, 1, 1)}
    numbers["scales"] = np.reshape(scales, (1, -1, 1, 1))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(number, np.float32), name) for name, number in numbers.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said = numbers_of(model)
    made = numbers_of(model.transform(ConvertToChannelsLastAndClean()))
    print(f"steps of {scales}: channel 3 is {said[0, 3].ravel()[:8]} ..., behind the pass {made[0, 3].ravel()[:8]} ...")
    return int((said != made).sum())


found = [differing([1, 2, 4, 8]), differing([2])]
print(f"numbers of {X.size} that differ: {found}")
raise SystemExit(0 if found[0] and not found[1] else 1)
PY
"$folder/venv/bin/python" qonnx_channels_last.py 2>/dev/null
