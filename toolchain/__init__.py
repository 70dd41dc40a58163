"""fpgaflow: quantized neural networks to verified Vitis HLS accelerators."""

__version__ = "0.1.0"
