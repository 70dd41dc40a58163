"""Physical parts of a unit as pure functions of widths and counts, in LUTs or block RAMs.

The first half counts what a placed design takes (UltraScale+ LUT6 fabric, AMD UG574 and UG573), the second half what
Vivado HLS and Vitis HLS write into their csynth report for the same operator: medians of the operator lines of 1,429
published reports. The two differ by 2x and more.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from math import ceil

BRAM18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))  # AMD UG573, simple dual port
LUTRAM_DEPTH, LUTRAM_BITS = 64, 1024  # HLS keeps a memory in LUTs up to here; found on 79 published rows
HLS_MULTIPLIER_DSP_BITS = 11  # a csynth multiplier with an operand this wide is one DSP slice


def multiplier(a: int, b: int) -> float:
    """LUTs of an a x b bit multiplier as an array of carry chains.

    One chain adds two partial products (their ANDs fit in front of it), further chains join the pairs, and an odd row
    joins the last of them. One-bit operands select or negate; two one-bit operands are one XNOR.
    """
    n, m = sorted((a, b))
    if n == 1:
        return m
    pairs, odd = divmod(n, 2)
    return pairs * (m + 1) + (pairs - 1) * (m + 2) + odd * (m + 1)


def ones(bits: int) -> float:
    """LUTs to count set bits by compressors of six bits, a LUT6 a result bit, whose columns are counted in turn.

    Counts of columns are joined by adders, a LUT a bit but the lowest.
    """
    if bits <= 6:
        return (0, 0, 1, 2, 3, 3, 3)[bits]
    groups, rest = divmod(bits, 6)
    columns = (groups + (rest > 0), groups + (rest > 1), groups + (rest > 3))
    joins = (columns[1] + 2 * columns[2]).bit_length() - 1 + bits.bit_length() - 1
    return 3 * groups + ones(rest) + sum(map(ones, columns)) + joins


def common_ones(bits: int) -> float:
    """LUTs to count the bits set in both of two words: sum and carry of three products fit a LUT6 each."""
    groups = ceil(bits / 3)
    return 2 * groups + 2 * ones(groups) + (bits.bit_length() - 1 if groups > 1 else 0)


def plane_dot(terms: int, a: int, b: int) -> float:
    """LUTs of a dot product of ``a`` and ``b`` bit numbers by the common ones of every two of their bit planes."""
    return a * b * common_ones(terms) + (a * b - 1) * (a + b + terms.bit_length())


def product_bits(a: int, b: int) -> int:
    """Width of a product; two one-bit operands give one bit."""
    return 1 if a == b == 1 else a + b


def adder_tree(terms: int, bits: int) -> float:
    """LUTs to sum ``terms`` numbers of ``bits`` bits by two-input adders, one LUT a bit, growing one bit a level.

    Single bits are counted by compressors instead, 7/4 LUT a bit.
    """
    if bits == 1 and terms > 2:
        return max(1.75 * terms - 5, 1)
    luts = 0
    while terms > 1:
        luts += (terms // 2) * (bits + 1)
        terms, bits = (terms + 1) // 2, bits + 1
    return luts


def dot_product(terms: int, a: int, b: int) -> float:
    """LUTs of ``terms`` multipliers and the tree behind them."""
    return terms * multiplier(a, b) + adder_tree(terms, product_bits(a, b))


def comparator(bits: int) -> float:
    """LUTs of x >= y on a carry chain, two bits a LUT."""
    return ceil(bits / 2)


def selector(inputs: int, bits: int) -> float:
    """LUTs to choose one of ``inputs`` words: four a LUT6, joined by the F7 to F9 multiplexers of the slice."""
    return bits * ceil(inputs / 4) if inputs > 1 else 0


def lut_rom(depth: int, bits: int) -> float:
    """LUTs of constants addressed by a counter: 64 a LUT, two words of 32 share one."""
    if depth <= 1:
        return 0
    return ceil(bits / 2) if depth <= 32 else bits * ceil(depth / 64)


def lutram(depth: int, bits: int) -> float:
    """LUTs of a memory with one write and one read port: RAM64M8 (64 x 7) or RAM32M16 (32 x 14), 8 LUTs each."""
    return min(ceil(depth / 64) * ceil(bits / 7), ceil(depth / 32) * ceil(bits / 14)) * 8


def in_lutram(depth: int, bits: int) -> bool:
    """Return whether HLS keeps an array of this shape in LUTs without being told: it is shallow and small."""
    return depth <= LUTRAM_DEPTH and depth * bits <= LUTRAM_BITS


def bram18(depth: int, bits: int) -> int:
    """Fewest 18 kbit block RAMs of one shape for ``depth`` words of ``bits`` bits."""
    return min(ceil(depth / d) * ceil(bits / w) for d, w in BRAM18_SHAPES)


def uram(depth: int, bits: int) -> int:
    """UltraRAMs for ``depth`` words of ``bits`` bits: always 4096 x 72 (AMD UG573)."""
    return ceil(depth / 4096) * ceil(bits / 72)


def hls_memory_bram18(depth: int, bits: int) -> int:
    """Block RAMs of an array whose storage HLS chooses."""
    return 0 if in_lutram(depth, bits) else bram18(depth, bits)


def streamed_memory_bram18(depth: int, bits: int) -> int:
    """Block RAMs of FINN's weight streamer: true dual port, so RAMB36 of 8Kx4, 4Kx9 or 2Kx18; small ones are LUTs.

    The three shapes and the limit of 4,096 bits are those of four routed nodes of one project.
    """
    if depth * bits <= 4096:
        return 0
    return 2 * min(ceil(depth / d) * ceil(bits / w) for d, w in ((8192, 4), (4096, 9), (2048, 18)))


def hls_adder(bits: int) -> float:
    """csynth LUTs of an addition: width + 7 from 8 bits on, less below."""
    return bits + 7 if bits >= 8 else 1.5 * bits + 5


def hls_comparator(bits: int) -> float:
    """csynth LUTs of a comparison, Vivado HLS 2018 to Vitis HLS 2022: 9 for 4 bits, 13 for 16, 20 for 32."""
    return 8 + bits / 3


def hls_multiplier(a: int, b: int) -> float:
    """csynth LUTs of a multiplier in LUTs: 12 for 4 x 4 bits, 24 for 6 x 6, 40 for 8 x 8; one LUT for one bit."""
    return 1.0 if a == b == 1 else 2 + 0.6 * a * b


def hls_multiplier_in_dsp(a: int, b: int) -> bool:
    """Return whether HLS puts a product of two variables of ``a`` and ``b`` bits on a DSP slice by itself."""
    return max(a, b) >= HLS_MULTIPLIER_DSP_BITS and min(a, b) > 4


def hls_selector(inputs: int) -> float:
    """csynth LUTs of a multiplexer: 4.5 an input at any width (9 for 2, 41 for 8, 145 for 32)."""
    return 4.5 * inputs if inputs > 1 else 0


def hls_rom(depth: int, bits: int) -> float:
    """csynth LUTs of constants in LUTs: 64 bits a LUT (18 x 15 bits are 5)."""
    return depth * bits / 64 if depth > 1 else 0


def hls_mac_dsp(lanes: int, terms: int) -> int:
    """DSP slices of ``lanes`` dot products whose multipliers HLS may place freely: five of eight, rounded up.

    Read off csynth reports of FINN units with 4 x 4 to 8 x 8 bit operands (1 of 1, 2 of 3, 3 of 4).
    """
    return lanes * ceil(5 * terms / 8)


def signed_digits(value: int) -> int:
    """Nonzero digits of the canonical signed-digit form: a constant multiplier adds that many shifted inputs."""
    count, value = 0, abs(value)
    while value:
        if value & 1:
            count += 1
            value += 1 if value & 3 == 3 else -1
        value >>= 1
    return count


@cache
def digit_shares(largest: int) -> tuple[float, ...]:
    """Shares of the integers from -largest to largest that have 0, 1, 2, ... nonzero signed digits."""
    counts = Counter(signed_digits(value) for value in range(-largest, largest + 1))
    return tuple(counts[digits] / (2 * largest + 1) for digits in range(max(counts) + 1))


def constant_dot(digits: int, act_bits: int) -> float:
    """LUTs of a dot product with constants of ``digits`` nonzero signed digits in all: an adder tree of shifts."""
    return adder_tree(digits, act_bits) if act_bits > 1 or digits > 2 else 0


def constant_multiplier(factor: int, act_bits: int) -> float:
    """LUTs of one constant multiplier: an adder a digit but the first, or a table where the input has six bits."""
    chains = constant_dot(signed_digits(factor), act_bits)
    return min(chains, act_bits + factor.bit_length() - 1) if act_bits <= 6 else chains


def requantizer(bits: int, out_bits: int) -> float:
    """LUTs behind a requantizer's multiplier: two additions of ``bits`` bits (offset, rounding) and the clip."""
    return 2 * bits + bits / 2 + out_bits
