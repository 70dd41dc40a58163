#!/usr/bin/env bash
# Brevitas 0.13.4 exports an activation that is trained with ROUND_TO_ZERO as a Quant node of rounding_mode
# ROUND_TO_ZERO. QONNX calls that rounding DOWN, and qonnx 1.0.0 knows no other word: it cleans the file up and raises
# ValueError when it runs it. Seen: with the word changed to DOWN all 41 numbers are those of PyTorch.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 brevitas==0.13.4 qonnx==1.0.0 onnx==1.20.1 onnxruntime==1.31.1 \
  onnxscript==0.7.2 onnxoptimizer==0.4.2
cd "$folder"
cat > word.py <<'PY'
import brevitas.nn as qnn
import torch
from brevitas.export import export_qonnx
from brevitas.inject.enum import FloatToIntImplType
from brevitas.quant import Int8ActPerTensorFloat
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

X = torch.arange(-20, 21).reshape(1, 41) / 4


class Quantizer(Int8ActPerTensorFloat):
    bit_width = 4
    float_to_int_impl_type = FloatToIntImplType.ROUND_TO_ZERO


network = qnn.QuantIdentity(act_quant=Quantizer)
network.train()(X)  # takes the range
network.eval()
with torch.no_grad():
    trained = network(X)
export_qonnx(network, args=X, export_path="network.onnx")
model = cleanup_model(ModelWrapper("network.onnx"))
(word,) = (a for node in model.graph.node for a in node.attribute if a.name == "rounding_mode")
exported = word.s.decode()


def run():
    return torch.from_numpy(execute_onnx(model, {model.graph.input[0].name: X.numpy()})[model.graph.output[0].name])


try:
    run()
    refusal = ""
except ValueError as error:
    refusal = str(error)
word.s = b"DOWN"
same = int((run() == trained).sum())
print(f"rounding_mode {exported}: {refusal or 'runs'}; as DOWN {same} of {X.numel()} numbers are PyTorch's")
raise SystemExit(0 if refusal and same == X.numel() else 1)
PY
"$folder/venv/bin/python" word.py 2>/dev/null | grep -v "torch.onnx"
