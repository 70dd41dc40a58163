"""fpgaflow: quantized neural networks to verified Vitis HLS accelerators."""

import os
import warnings

__version__ = "0.1.0"

# onnxruntime sends names and digests of the models that it runs to its maker; its import reads the variable.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Brevitas warns at import about an optional speed-up of a method that is not used here.
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
