#!/usr/bin/env bash
# hls4ml 1.3.0 from QONNX: a GlobalAveragePool averages over the wrong elements. qonnx's pass to channels last turns the
# convolution in front of it and leaves it as it is, behind a Transpose back to channels first; hls4ml's reader takes
# the shape as channels first and generates a pool that reads channels last. No warning. Seen, io_parallel, C simulation
# by g++, maps of 4 x 4 that are 1, 2 and 3 everywhere: the averages are 1.9375, 2, 2.0625, and 1, 2, 3 in qonnx.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hls4ml==1.3.0 numpy==2.4.6 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > average.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import hls4ml
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"


def quant(source, result):
    inputs = [source, "scale", "zero", "bits"]
    return helper.make_node("Quant", inputs, [result], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND")


once = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
nodes = [
    quant("x", "codes"),
    quant("weights", "w"),
    helper.make_node("Conv", ["codes", "w"], ["c"], **once),
    quant("c", "map"),
    helper.make_node("GlobalAveragePool", ["map"], ["y"]),
]
numbers = {"scale": 1.0, "zero": 0.0, "bits": 8.0, "weights": np.eye(3).reshape(3, 3, 1, 1)}
constants = [numpy_helper.from_array(np.asarray(number, np.float32), name) for name, number in numbers.items()]
shapes = {"x": [1, 3, 4, 4], "y": [1, 3, 1, 1]}
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))

x = np.broadcast_to(np.float32([1, 2, 3]).reshape(1, 3, 1, 1), shapes["x"]).copy()
said = next(iter(execute_onnx(model, {model.graph.input[0].name: x}).values())).ravel()
model = cleanup_model(model.transform(ConvertToChannelsLastAndClean()))
config = hls4ml.utils.config_from_onnx_model(
    model, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
)
project = hls4ml.converters.convert_from_onnx_model(
    model, output_dir="project", backend="Vitis", io_type="io_parallel", hls_config=config
)
project.compile()
made = np.ravel(project.predict(x))
print(f"hls4ml {hls4ml.__version__}: averages {made.tolist()}, qonnx {said.tolist()}")
raise SystemExit(0 if said.tolist() == [1, 2, 3] and abs(made - said).max() > 0.5 else 1)
PY
"$folder/venv/bin/python" average.py 2>/dev/null | tail -n 1
