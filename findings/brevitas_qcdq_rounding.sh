#!/usr/bin/env bash
# Brevitas 0.13.4: export_onnx_qcdq writes QuantizeLinear, which rounds to nearest, for activations and truncating pools
# that are trained with FLOOR or CEIL. No warning: the file computes another function than PyTorch (the QONNX export
# says the mode). Seen, 64 inputs in steps of 1/4, 4 bits: of an activation 22 differ for FLOOR, 23 for CEIL, none for
# ROUND; of a pool of 2 x 2 it is 8, 8 and none of 16.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 brevitas==0.13.4 numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1 \
  onnxscript==0.7.2 onnxoptimizer==0.4.2
cd "$folder"
cat > modes.py <<'PY'
import brevitas.nn as qnn
import onnxruntime
import torch
from brevitas.export import export_onnx_qcdq
from brevitas.quant import Int8ActPerTensorFloat

X = torch.arange(-32, 32).reshape(1, 1, 8, 8) / 4


def differing(name, *layers):
    network = torch.nn.Sequential(*layers)
    network.train()(X)  # takes the range
    network.eval()
    with torch.no_grad():
        trained = network(X)
    export_onnx_qcdq(network, args=X, export_path="network.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession("network.onnx", options, ["CPUExecutionProvider"])
    exported = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: X.numpy()})[0])
    wrong = int(((trained - exported).abs() > 1e-4).sum())
    print(f"{name}: {wrong} of {trained.numel()} differ")
    print("  PyTorch", *(f"{number:.3g}" for number in trained.flatten()[8:16]))
    print("  file   ", *(f"{number:.3g}" for number in exported.flatten()[8:16]))
    return wrong


def activation(mode):
    class Quantizer(Int8ActPerTensorFloat):
        bit_width = 4
        float_to_int_impl_type = mode

    return differing(f"activation, {mode}", qnn.QuantIdentity(act_quant=Quantizer))


def pool(mode):
    codes = qnn.QuantIdentity(return_quant_tensor=True)
    average = qnn.TruncAvgPool2d(2, bit_width=4, float_to_int_impl_type=mode, return_quant_tensor=False)
    return differing(f"pool, {mode}", codes, average)


found = {mode: (activation(mode), pool(mode)) for mode in ("FLOOR", "CEIL", "ROUND")}
raise SystemExit(0 if all(found["FLOOR"] + found["CEIL"]) and not any(found["ROUND"]) else 1)
PY
"$folder/venv/bin/python" modes.py 2>/dev/null | grep -v "torch.onnx"
