#!/usr/bin/env bash
# torch 2.13.0: torch.onnx.export drops divisor_override of an average pool, by both of its exporters and without a
# warning: the file divides by the window's size. Seen, windows of 2 x 2 with divisor_override=3 over a map of ones:
# 1.333 by PyTorch, 1.0 by onnxruntime on both files.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.20.1 onnxscript==0.7.2 onnxruntime==1.31.1
cd "$folder"
cat > divisor.py <<'PY'
import contextlib
import io
import logging

import onnxruntime
import torch
from torch import nn

logging.disable(logging.WARNING)
model, x = nn.Sequential(nn.AvgPool2d(2, divisor_override=3)).eval(), torch.ones(1, 1, 4, 4)
right = float(model(x).mean())
print(f"PyTorch {right:.3f}")
found = []
for dynamo in (True, False):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(model, (x,), "pool.onnx", input_names=["x"], dynamo=dynamo)
    session = onnxruntime.InferenceSession("pool.onnx", providers=["CPUExecutionProvider"])
    found.append(float(session.run(None, {"x": x.numpy()})[0].mean()))
    print(f"dynamo={dynamo}: onnxruntime {found[-1]:.3f}")
raise SystemExit(0 if abs(right - 4 / 3) < 1e-6 and found == [1.0, 1.0] else 1)
PY
"$folder/venv/bin/python" -W ignore divisor.py 2>/dev/null
