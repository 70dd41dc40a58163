"""fpgaflow: quantized neural networks to verified Vitis HLS accelerators."""

import warnings

__version__ = "0.1.0"

# Brevitas warns at import about an optional speed-up of a method that is not used here.
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
