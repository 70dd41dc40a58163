#!/usr/bin/env bash
# Brevitas 0.13.4 writes the raw weights of a layer into its QONNX file and always says rounding_mode ROUND, whatever the
# weight quantizer rounds by. A layer that is trained with FLOOR computes one thing in PyTorch and another from the file.
# The export warns of nothing. Seen: largest difference 0.082, steps of the weights 0.048.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 brevitas==0.13.4 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1 \
  onnxscript==0.7.2 onnxoptimizer==0.4.2
cd "$folder"
cat > layer.py <<'PY'
import warnings

warnings.simplefilter("ignore")
import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_qonnx
from brevitas.inject.enum import FloatToIntImplType
from brevitas.quant import Int8WeightPerTensorFloat
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model


class Floor(Int8WeightPerTensorFloat):
    bit_width = 4
    float_to_int_impl_type = FloatToIntImplType.FLOOR


torch.manual_seed(0)
layer = qnn.QuantLinear(8, 4, bias=False, weight_quant=Floor).eval()
x = torch.randn(1, 8)
with torch.no_grad():
    trained = layer(x).numpy()
export_qonnx(layer, args=x, export_path="layer.onnx")
file = cleanup_model(ModelWrapper("layer.onnx"))
(exported,) = execute_onnx(file, {file.graph.input[0].name: x.numpy()}).values()
quant = next(node for node in file.graph.node if node.op_type == "Quant")
mode = next(a.s.decode() for a in quant.attribute if a.name == "rounding_mode")
largest = float(np.abs(exported - trained).max())
print(f"brevitas {__import__('importlib.metadata').metadata.version('brevitas')}: FLOOR is exported as {mode}")
print(f"PyTorch {trained.astype(float).round(4).tolist()}")
print(f"file    {exported.astype(float).round(4).tolist()}, largest difference {largest:.4f}")
raise SystemExit(0 if mode == "ROUND" and largest > 1e-3 else 1)
PY
"$folder/venv/bin/python" layer.py 2>/dev/null | grep -v "torch.onnx"
