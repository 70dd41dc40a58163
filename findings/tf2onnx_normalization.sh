#!/usr/bin/env bash
# tf2onnx 1.17.0 with Keras 3.15.1: the constants of keras.layers.Normalization(mean=..., variance=...) become inputs of
# the ONNX file. The Keras network has one input; the file has three, of which one, the variance, nothing reads, and it
# cannot run unless its user feeds the mean and the variance anew with every image. Nothing is raised, and the file is
# valid. A Rescaling layer with the same numbers stays constant. Seen: inputs x, .../Sub/y:0, .../Sqrt/x:0.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
cat > normalization.py <<'PY'
import logging

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

logging.disable(logging.CRITICAL)
onnxruntime.set_default_logger_severity(4)


def converted(layer):
    """The ends of the names of the file's inputs, those that nothing reads, and whether it runs on the first alone."""
    network = keras.Sequential([keras.Input((4,)), layer])
    given = [tf.TensorSpec((1, 4), tf.float32, name="x")]
    model, _ = tf2onnx.convert.from_function(tf.function(network, input_signature=given), given, opset=17)
    onnx.checker.check_model(model)
    inputs = [value.name for value in model.graph.input]
    read = {name for node in model.graph.node for name in node.input}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        session.run(None, {"x": np.ones((1, 4), np.float32)})
        runs = True
    except Exception:
        runs = False
    ends = ["/".join(name.split("/")[-2:]) for name in inputs]
    return ends, [end for end, name in zip(ends, inputs, strict=True) if name not in read], runs


found = (
    converted(keras.layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 9.0, 16.0])),
    converted(keras.layers.Rescaling(scale=0.5, offset=-1.0)),
)
for line in found:
    print(*line)
expected = ((["x", "Sub/y:0", "Sqrt/x:0"], ["Sqrt/x:0"], False), (["x"], [], True))
raise SystemExit(found != expected)
PY
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" -W ignore normalization.py 2> errors || {
    cat errors
    exit 1
}
