#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): fake_quantize_per_tensor_affine multiplies by the float32 reciprocal of the scale. Its ONNX
# export writes QuantizeLinear, which divides (ONNX, onnxruntime 1.31.1), so that a network computes other codes in
# PyTorch than from its own file. No warning. Seen, scale 0.3 and 255 inputs half way between two steps: 33 codes
# differ; -38.25, which is -127.499995 of float32's 0.3, is -128 in PyTorch and -127 from the file. Scale 0.25: none.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.20.1 onnxruntime==1.31.1 onnxscript==0.7.2
cd "$folder"
cat > codes.py <<'PY'
import onnxruntime
import torch


class Quantizer(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return torch.fake_quantize_per_tensor_affine(x, self.scale, 0, -128, 127)


def differing(scale):
    x = (torch.arange(-128, 127) + 0.5) * scale
    quantizer = Quantizer(scale).eval()
    torch.onnx.export(quantizer, (x,), "quantizer.onnx", verbose=False)
    session = onnxruntime.InferenceSession("quantizer.onnx", providers=["CPUExecutionProvider"])
    exported = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    trained, exported = ((codes / scale).round().int().tolist() for codes in (quantizer(x), exported))
    rows = [row for row in zip(x.tolist(), trained, exported) if row[1] != row[2]]
    print(f"scale {scale}: {len(rows)} of {len(trained)} codes differ")
    for number, *codes in rows[:3]:
        print(f"  {number:.9g}: PyTorch {codes[0]}, its file {codes[1]}")
    return len(rows)


print(f"PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
raise SystemExit(0 if differing(0.3) > 0 and differing(0.25) == 0 else 1)
PY
"$folder/venv/bin/python" codes.py 2>/dev/null
