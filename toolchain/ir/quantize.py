"""The rule of QONNX ``Quant`` on floats."""

from __future__ import annotations

import numpy as np

from toolchain.ir.types import Array, Quantizer


def quantize(quantizer: Quantizer, x: Array) -> Array:
    """Codes (int64) of ``x`` (..., C) by the QONNX rule, in the float type of ``x``."""
    if quantizer.bipolar:
        return np.where(x >= 0, 1, -1).astype(np.int64)
    scale = np.asarray(quantizer.scale, dtype=x.dtype)
    position = x / scale
    if quantizer.grid > 1:
        position = np.rint(position * quantizer.grid) / quantizer.grid
    clamped = np.clip(position + x.dtype.type(quantizer.zero_point), quantizer.low, quantizer.high)
    return quantizer.rounding.floats(clamped).astype(np.int64)
