#!/usr/bin/env bash
# finn-plus 1.6.1: AvgPoolAndTruncToQuantAvgPool shifts an average by too few places. It gets the bits of the input back
# from those of the sum, rounded down, and QuantAvgPool2d the bits of the sum from these: where 9 numbers of 2 bits need
# 5 bits (0..27), it takes 1 bit for the input, 4 for the sum and shifts by 4 - 2. The averages are twice as large and
# leave the 2 bits. No warning. Seen, 3 x 3 windows of the largest code: of 2 bits 3 in the file and 6 behind the pass,
# of 3 bits 7 and 15. Inputs of 4 bits and windows of 2 x 2 come through.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 qonnx==1.0.0 onnx==1.21.0 onnxruntime==1.25.1 protobuf==5.29.6 \
  rich==13.9.4
"$folder/venv/bin/pip" install --quiet --no-deps finn-plus==1.6.1  # its other dependencies are for synthesis
cd "$folder"
cat > average.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from finn.transformation.qonnx.infer_quant_avg_pool_2d import AvgPoolAndTruncToQuantAvgPool
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

QONNX = "qonnx.custom_op.general"


def codes(model, x, step):
    (answer,) = execute_onnx(model, {model.graph.input[0].name: x}).values()
    return (answer.ravel() / step).round(3).tolist()


def same(bits, kernel):
    """Two windows, of the largest code and of half of it, averaged to as many bits as they have."""
    largest = 2**bits - 1
    bits_of_sum = (largest * kernel**2).bit_length()
    scale = 1 / kernel**2  # of a sum, read as an average
    step = scale * 2 ** (bits_of_sum - bits)
    numbers = {"one": 1, "zero": 0, "bits": bits, "scale": scale, "sum": bits_of_sum, "step": step}
    x = np.repeat(np.float32([largest, largest // 2 + 1]), kernel).reshape(1, 1, 1, -1).repeat(kernel, axis=2)
    kinds = {"domain": QONNX, "signed": 0, "narrow": 0}
    nodes = [
        helper.make_node("Quant", ["x", "one", "zero", "bits"], ["q"], rounding_mode="ROUND", **kinds),
        helper.make_node("AveragePool", ["q"], ["a"], kernel_shape=[kernel] * 2, strides=[kernel] * 2, pads=[0] * 4),
        helper.make_node("Trunc", ["a", "scale", "zero", "sum", "step", "bits"], ["y"], rounding_mode="FLOOR", **kinds),
    ]
    shapes = {"x": x.shape, "y": (1, 1, 1, 2)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(np.float32(number), name) for name, number in numbers.items()]
    graph = helper.make_graph(nodes, "average", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 2)]
    model = cleanup_model(ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    said = codes(model, x, step)
    made = codes(model.transform(AvgPoolAndTruncToQuantAvgPool()), x, step)
    print(f"{bits} bits, {kernel} x {kernel}: codes {said}, behind the pass {made}")
    return said == made


found = [same(2, 3), same(3, 3), same(4, 3), same(2, 2), same(3, 2)]
raise SystemExit(0 if found == [False, False, True, True, True] else 1)
PY
"$folder/venv/bin/python" average.py
