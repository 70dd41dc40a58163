"""What the building blocks of a unit take: multipliers, adders, memories, FIFOs. Sources stand at each number."""

from __future__ import annotations

from math import ceil

from toolchain.dse.resources import Resources, total
from toolchain.hls_templates.fabric import use_dsp, use_lutram

UNIT_LUT = 300  # control of a looping unit; constant of FINN-R's published model (Blott et al., TRETS 2018)
STREAM_LUT = 40  # handshake and counter of a unit without state; assumption
AXI_LUT, AXI_FF, AXI_BRAM18 = 700, 1100, 4  # one 128-bit m_axi adapter with its burst buffer; assumption
BRAM18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))  # AMD UG573, simple dual port
SRL_DEPTH = 32  # AMD UG574: one SRLC32E a LUT
DSP_A, DSP_B = 26, 17  # AMD UG579: 27 x 18 signed, hence 26 x 17 magnitudes when operands are split


def logic(luts: int) -> Resources:
    """Pipelined logic: one flip-flop a result bit, about as many as LUTs."""
    return Resources(lut=luts, ff=luts)


def lut_multiplier(a: int, b: int) -> int:
    """LUTs of an a x b bit multiplier as a carry array: two partial-product rows a LUT6_2 row, then row adders.

    Up to six input bits in all, every product bit is one LUT.
    """
    n, m = sorted((a, b))
    if n == 1:
        return m
    if n + m <= 6:
        return n + m
    rows = ceil(n / 2)
    return rows * (m + 1) + (rows - 1) * (m + 2)


def multiplier(weight_bits: int, act_bits: int) -> Resources:
    """One multiplier in the fabric that ``use_dsp`` binds it to."""
    if not use_dsp(weight_bits, act_bits):
        return logic(lut_multiplier(weight_bits, act_bits))
    narrow, wide = sorted((weight_bits, act_bits))
    if narrow <= DSP_B + 1 and wide <= DSP_A + 1:
        return Resources(dsp=1)
    return Resources(dsp=ceil(narrow / DSP_B) * ceil(wide / DSP_A))


def adder_tree(terms: int, bits: int) -> Resources:
    """Sum of ``terms`` numbers of ``bits`` bits by two-input adders, one LUT a bit, growing one bit a level."""
    luts = 0
    while terms > 1:
        luts += (terms // 2) * (bits + 1)
        terms, bits = (terms + 1) // 2, bits + 1
    return logic(luts)


def comparator(bits: int) -> Resources:
    """x >= y on a carry chain, two bits a LUT."""
    return logic(ceil(bits / 2))


def bram18_count(depth: int, width: int) -> int:
    """Fewest 18 kbit block RAMs of one shape that hold ``depth`` words of ``width`` bits."""
    return min(ceil(depth / d) * ceil(width / w) for d, w in BRAM18_SHAPES)


def memory(depth: int, width: int) -> Resources:
    """A memory with one write and one read port. LUTRAM: RAM64M8 (64 x 7) or RAM32M16 (32 x 14), 8 LUTs (AMD UG574)."""
    if depth <= 1:
        return Resources(ff=width)
    if use_lutram(depth, width):
        luts = min(ceil(depth / 64) * ceil(width / 7), ceil(depth / 32) * ceil(width / 14)) * 8
        return Resources(lut=luts, ff=width)
    return Resources(ff=width, bram18=bram18_count(depth, width))


def rom(depth: int, width: int) -> Resources:
    """A memory of constants; a single word is wiring."""
    return memory(depth, width) if depth > 1 else Resources()


def fifo(depth: int, width: int) -> Resources:
    """A stream of ``depth`` words: two registers, shift-register LUTs, or a memory with its two pointers."""
    if depth <= 2:
        return Resources(lut=ceil(width / 2) + 4, ff=2 * width)
    if depth <= SRL_DEPTH:
        per_lut = 2 if depth <= SRL_DEPTH // 2 else 1
        return Resources(lut=ceil(width / per_lut) + 12, ff=width + 6)
    pointers = 2 * depth.bit_length()
    return total((memory(depth, width), logic(2 * pointers)))
