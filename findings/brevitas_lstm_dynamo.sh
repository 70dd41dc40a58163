#!/usr/bin/env bash
# Brevitas 0.13.4, torch 2.13.0: export_qonnx with the dynamo exporter, which is the default, leaves a QuantLSTM out of the
# file and ends without an error or a warning of it: a constant of zeros stands in its place, and no node reads the
# input, so every frame gets one answer. With dynamo=False the file has the node QuantLSTMCell. Seen, an LSTM and a linear
# layer: nodes Quant, Transpose, MatMul; onnx.checker takes the file.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 brevitas==0.13.4 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1 \
  onnxscript==0.7.2 onnxoptimizer==0.4.2
cd "$folder"
cat > lstm.py <<'PY'
import warnings
from importlib.metadata import version

import brevitas.nn as qnn
import onnx
import torch
from brevitas.export import export_qonnx


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = qnn.QuantLSTM(4, 3, batch_first=True)
        self.linear = qnn.QuantLinear(3, 2, bias=False)

    def forward(self, x):
        return self.linear(self.lstm(x)[0])


def exported(name, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        export_qonnx(network, args=torch.randn(1, 5, 4), export_path=name, **options)
    graph = onnx.load(name).graph
    reads = any(graph.input[0].name in node.input for node in graph.node)
    operations = [node.op_type for node in graph.node]
    lost = [str(warning.message) for warning in told if "lstm" in str(warning.message).lower()]
    print(f"{options}: {operations}, the input is read: {reads}, warnings that name it: {len(lost)}")
    return operations, reads, lost


print("brevitas", version("brevitas"), "torch", version("torch"))
torch.manual_seed(0)
network = Network().eval()
operations, reads, lost = exported("default.onnx")
older, read, _ = exported("older.onnx", dynamo=False)
left_out = "QuantLSTMCell" not in operations and not reads and not lost
raise SystemExit(0 if left_out and "QuantLSTMCell" in older and read else 1)
PY
"$folder/venv/bin/python" lstm.py 2>/dev/null | grep -v "torch.onnx"
