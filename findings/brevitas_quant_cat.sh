#!/usr/bin/env bash
# Brevitas 0.13.4: QuantCat, the layer that joins maps, cannot run: it calls QuantTensor.cat, which no class has had since
# QuantTensor became the base of IntQuantTensor. Its export forgets the axis that it was called with. Seen: an
# AttributeError for tensors and for QuantTensors, in training and in evaluation; torch.cat of the same QuantTensors
# joins them and keeps scale and bits.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 brevitas==0.13.4 numpy==2.4.6
cd "$folder"
cat > quant_cat.py <<'PY'
import brevitas.nn as qnn
import torch

X = torch.linspace(-1, 1, 24).reshape(1, 2, 3, 4)
identity = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
identity(X)
codes = identity.eval()(X)


def ran(name, join):
    try:
        joined = join()
    except AttributeError as error:
        print(f"{name}: AttributeError: {error}")
        return False
    print(f"{name}: shape {tuple(joined.shape)}, scale {float(joined.scale):.3f}, {float(joined.bit_width):g} bits")
    return True


found = []
for mode in (True, False):
    layer = qnn.QuantCat(return_quant_tensor=True).train(mode)
    for kind, x in (("tensors", X), ("QuantTensors", codes)):
        found.append(ran(f"QuantCat of {kind}, {'training' if mode else 'evaluation'}", lambda: layer([x, x], dim=1)))
works = ran("torch.cat of QuantTensors", lambda: torch.cat([codes, codes], 1))
raise SystemExit(0 if works and not any(found) else 1)
PY
"$folder/venv/bin/python" -W ignore quant_cat.py
