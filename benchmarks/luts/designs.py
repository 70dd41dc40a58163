"""The arithmetic cores of this project's units as small Verilog modules, and what the cost model says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from toolchain.dse.cost_model import parts


class Design(NamedTuple):
    """A module called ``core`` and its predicted LUTs."""

    unit: str
    shape: str
    verilog: str
    predicted: float


def designs() -> Iterator[Design]:
    """Lanes of the matrix-vector unit, threshold units and multiply-shift requantizers over their usual widths."""
    for weight, act in ((1, 4), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8)):
        for simd in (4, 9):
            yield matrix_vector_lane(weight, act, simd)
    for bits in (8, 12, 20):
        for levels in (3, 7, 15):
            yield threshold(bits, levels)
    for bits, factor, out in ((12, 6, 4), (16, 8, 4), (16, 12, 8), (20, 12, 8), (24, 16, 8)):
        yield multiply_shift(bits, factor, out)


def matrix_vector_lane(weight: int, act: int, simd: int) -> Design:
    """``simd`` products of a signed weight and an unsigned activation, their tree, and the sum over the steps."""
    total = weight + act + 10
    terms = " + ".join(
        f"$signed(w[{i * weight} +: {weight}]) * $signed({{1'b0, x[{i * act} +: {act}]}})" for i in range(simd)
    )
    verilog = f"""module core(input clk, input first, input [{simd * weight - 1}:0] w, input [{simd * act - 1}:0] x,
 output reg signed [{total - 1}:0] sum);
 wire signed [{total - 1}:0] dot = {terms};
 always @(posedge clk) sum <= (first ? {total}'sd0 : sum) + dot;
endmodule"""
    predicted = parts.dot_product(simd, weight, act) + total
    return Design("matrix-vector lane", f"w{weight} a{act} simd {simd}", verilog, predicted)


def threshold(bits: int, levels: int) -> Design:
    """``levels`` comparisons with thresholds from a memory, and their count."""
    count = levels.bit_length()
    compared = " + ".join(f"(x >= $signed(t[{i * bits} +: {bits}]))" for i in range(levels))
    verilog = f"""module core(input signed [{bits - 1}:0] x, input [{levels * bits - 1}:0] t, output [{count - 1}:0] y);
 assign y = {compared};
endmodule"""
    predicted = levels * parts.comparator(bits) + parts.adder_tree(levels, 1)
    return Design("threshold", f"x{bits} levels {levels}", verilog, predicted)


def multiply_shift(bits: int, factor: int, out: int) -> Design:
    """y = clip(round_half_even((x * mul + add) >> shift)) with factors from a memory."""
    total = bits + factor + 1
    shift = factor + 2
    high = 2**out - 1
    verilog = f"""module core(input signed [{bits - 1}:0] x, input signed [{factor - 1}:0] m,
 input signed [{total - 2}:0] a, output [{out - 1}:0] y);
 wire signed [{total - 1}:0] p = x * m;
 wire signed [{total - 1}:0] s = p + a;
 wire signed [{total - 1}:0] r = (s + {2 ** (shift - 1) - 1} + $signed({{1'b0, s[{shift}]}})) >>> {shift};
 assign y = r < 0 ? 0 : r > {high} ? {high} : r[{out - 1}:0];
endmodule"""
    predicted = parts.multiplier(bits, factor) + parts.requantizer(total, out)
    return Design("multiply-shift", f"x{bits} m{factor} y{out}", verilog, predicted)
