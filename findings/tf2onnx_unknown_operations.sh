#!/usr/bin/env bash
# tf2onnx 1.17.0: a TensorFlow operation that it has no handler for is put into the ONNX file under TensorFlow's name, in
# the domain of ONNX. The conversion returns the file; only a line of the log tells. Keras layers that many networks have
# end so: a convolution with groups, and GELU and CELU as the activation of a layer. Seen: StatefulPartitionedCall, Erfc,
# Expm1; onnx's checker calls the files invalid, onnxruntime does not load them, convert() raises nothing. The same layer
# without groups or with ReLU is valid. Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
cat > unknown.py <<'PY'
import logging

import keras
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

logging.disable(logging.CRITICAL)
onnxruntime.set_default_logger_severity(4)


def converted(**settings):
    """The operations of a Keras convolution's file that ONNX lacks, and who refuses it."""
    layer = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(4, 3, **settings)])
    given = [tf.TensorSpec((1, 6, 6, 4), tf.float32, name="x")]
    model, _ = tf2onnx.convert.from_function(tf.function(layer, input_signature=given), given, opset=17)
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    unknown = [node.op_type for node in model.graph.node if node.domain == "" and node.op_type not in known]
    refused = []
    for name, load in (
        ("onnx", lambda: onnx.checker.check_model(model)),
        ("onnxruntime", lambda: onnxruntime.InferenceSession(model.SerializeToString())),
    ):
        try:
            load()
        except Exception:
            refused.append(name)
    return unknown, refused


both = ["onnx", "onnxruntime"]
expected = [
    ({}, ([], [])),
    ({"activation": "relu"}, ([], [])),
    ({"groups": 2}, (["StatefulPartitionedCall"], both)),
    ({"activation": "gelu"}, (["Erfc"], both)),
    ({"activation": "celu"}, (["Expm1"], both)),
]
found = [(settings, converted(**settings)) for settings, _ in expected]
for line in found:
    print(*line)
raise SystemExit(found != expected)
PY
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" -W ignore unknown.py 2> errors || { cat errors; exit 1; }
