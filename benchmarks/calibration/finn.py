"""FINN's published resource formulas, as the comparison.

Ported from Xilinx/finn (commit 39f0c9a: MVAU_hls, ConvolutionInputGenerator); the constants are those of the FINN-R
paper (Blott et al., TRETS 2018). FINN gives no flip-flops and one number for all stages. Types that a published row
does not state are taken as the row's own model takes them.
"""

from __future__ import annotations

from math import ceil, log2

from benchmarks.calibration.finn_kinds import MatrixVector, SlidingWindow
from benchmarks.calibration.rows import Row


def finn_estimate(row: Row) -> dict[str, float]:
    """FINN's numbers for a row by resource; empty for kinds without a formula and rows without a shape."""
    try:
        if row.kind in ("mvau", "mvau_rtl"):
            unit = MatrixVector.of(row)
            dsp = unit.lanes[0] * unit.lanes[1] if row.text("resType") == "dsp" else 0
            return {"LUT": matrix_vector_lut(unit), "BRAM18": matrix_vector_bram18(unit), "DSP": dsp}
        if row.kind == "swg":
            window = SlidingWindow.of(row)
            return {"LUT": 300 + window.bits * ceil(window.rows * window.depth / 38) * window.in_luts}
    except KeyError:
        pass
    return {}


def matrix_vector_lut(unit: MatrixVector) -> float:
    """LUTs of an HLS matrix-vector unit."""
    simd, pe = unit.lanes
    w, a = unit.weight_bits, unit.act_bits
    depth, _ = unit.weight_memory
    alpha = log2(unit.matrix[0]) + w + a - 1
    total = min(unit.sum_bits, ceil(alpha + log2(1 + 2**-alpha) + 1))
    multiplier = simd * (2 * ceil((w + a) / 6) - 1) * (w + a)
    threshold = unit.steps * total * (ceil(unit.turns / 64) + 1)
    weights = 0 if unit.streamed or depth > 64 else pe * simd * w * ceil(depth / 64)
    return 300 + 1.1 * pe * (multiplier + (w + a) * (2 * simd - 1) + total + threshold) + weights


def matrix_vector_bram18(unit: MatrixVector) -> int:
    """Block RAMs of the weights: one shape chosen by width, not the best one."""
    simd, pe = unit.lanes
    depth, _ = unit.weight_memory
    width = simd * pe * unit.weight_bits
    if depth <= 64:
        return 0
    if width == 1:
        return ceil(depth / 16384)
    if width == 2:
        return ceil(depth / 8192)
    if width <= 4:
        return ceil(depth / 4096) * ceil(width / 4)
    if width <= 9:
        return ceil(depth / 2048) * ceil(width / 9)
    if width <= 18 or depth > 512:
        return ceil(depth / 1024) * ceil(width / 18)
    return ceil(depth / 512) * ceil(width / 36)
