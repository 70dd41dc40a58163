#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU): the graph optimizations that are on unless one turns them off change the codes of a Q/DQ
# network, in two places. Of two quantizers in a row one is dropped, with its steps: what is rounded to multiples of 0.3
# and then of 0.5 comes out in multiples of 0.3. And the float bias of a convolution is rounded to integers of (scale of
# the input x scale of the weights), which the file does not say. Seen: 16 of 21 numbers, 8 of 16 codes.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1
cd "$folder"
cat > levels.py <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LEVEL = onnxruntime.GraphOptimizationLevel
LINEAR = {"q": "QuantizeLinear", "d": "DequantizeLinear"}


def linear(op, source, scale, result, zero="zero"):
    return helper.make_node(LINEAR[op], [source, scale, zero], [result])


def differing(name, nodes, constants, x, shape, kind):
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, x.shape)], [value("y", kind, shape)]
    numbers = [numpy_helper.from_array(np.asarray(number), called) for called, number in constants.items()]
    graph = helper.make_graph(nodes, "network", *ends, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    results = []
    for level in (LEVEL.ORT_DISABLE_ALL, LEVEL.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": x})[0].ravel())
    off, on = results
    print(f"{name}: {int((off != on).sum())} of {off.size} differ")
    print("  off", *(f"{number:.3g}" for number in off))
    print("  on ", *(f"{number:.3g}" for number in on))
    return int((off != on).sum())


zero = np.uint8(0)
rows = [
    linear("q", "x", "s1", "a"),
    linear("d", "a", "s1", "b"),
    linear("q", "b", "s2", "c"),
    linear("d", "c", "s2", "d"),
    helper.make_node("Relu", ["d"], ["y"]),
]
scales = {"s1": np.float32(0.3), "s2": np.float32(0.5), "zero": zero}
x = np.linspace(0, 3, 21, dtype=np.float32)
found = [differing("steps of 0.3, then of 0.5", rows, scales, x, [21], TensorProto.FLOAT)]

layer = [
    linear("q", "x", "s", "a"),
    linear("d", "a", "s", "b"),
    linear("d", "codes", "s", "w", "none"),
    helper.make_node("Conv", ["b", "w", "bias"], ["c"]),
    linear("q", "c", "s", "y"),
]
weights = {"codes": np.full((1, 1, 1, 1), 2, np.int8), "none": np.int8(0), "bias": np.float32([0.37])}
x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) / 2
constants = {"s": np.float32(0.5), "zero": zero} | weights
found.append(differing("weight 1, bias 0.37, steps of 0.5", layer, constants, x, list(x.shape), TensorProto.UINT8))
raise SystemExit(0 if all(found) else 1)
PY
"$folder/venv/bin/python" levels.py
