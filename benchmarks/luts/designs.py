"""The arithmetic cores of this project's units as small Verilog modules, and what the cost model says of them."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.luts.design import Design
from benchmarks.luts.narrow import narrow_designs
from toolchain.engine.cost import rounding_cost
from toolchain.units.cost_model import parts


def designs() -> Iterator[Design]:
    """Lanes of the matrix-vector unit, threshold units and multiply-shift requantizers over their usual widths."""
    for weight, act in ((1, 4), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8)):
        for simd in (4, 9):
            yield matrix_vector_lane(weight, act, simd)
    for spacing, fields, chains, total in ((11, 4, 3, 13), (11, 4, 12, 16), (18, 2, 9, 24)):
        yield row_convolution_lane(spacing, fields, chains, total)
    for bits in (8, 12, 20):
        for levels in (3, 7, 15):
            yield threshold(bits, levels)
    for bits, factor, out in ((12, 6, 4), (16, 8, 4), (16, 12, 8), (20, 12, 8), (24, 16, 8)):
        yield multiply_shift(bits, factor, out)
    for bits, shift, out in ((42, 17, 8), (44, 21, 8), (33, 17, 4)):
        yield engine_rounding(bits, shift, out)
    yield from narrow_designs()


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


def row_convolution_lane(spacing: int, fields: int, chains: int, total: int) -> Design:
    """Sum ``chains`` of ``fields`` behind the slices over the steps, beginning with what the last step left waiting.

    Fields but the upper two begin with that, or with nothing in a row's first step, which adds nothing to the lowest.
    """
    width, waiting = spacing * fields, 2 if fields > 2 else 0
    lines = []
    for f in range(fields):
        terms = [
            f"$signed({{~p[{c * width + (f + 1) * spacing - 1}], p[{c * width + f * spacing} +: {spacing - 1}]}})"
            for c in range(chains)
        ]
        added = f"first ? {total}'sd0 : dot{f}" if waiting and f == 0 else f"dot{f}"
        waited = f"waited[{f * total} +: {total}]"
        start = {0: f"$signed({waited})", 1: f"(first ? {total}'sd0 : $signed({waited}))"}.get(
            f if waiting else -1, f"{total}'sd0"
        )
        lines.append(f" wire signed [{total - 1}:0] dot{f} = {' + '.join(terms)};")
        lines.append(f" always @(posedge clk) sum{f} <= (begins ? {start} : sum{f}) + ({added});")
    outputs = ", ".join(f"output reg signed [{total - 1}:0] sum{f}" for f in range(fields))
    verilog = f"""module core(input clk, input first, input begins, input [{chains * width - 1}:0] p,
 input [{2 * total - 1}:0] waited, {outputs});
{chr(10).join(lines)}
endmodule"""
    predicted = fields * (parts.adder_tree(chains, spacing) + total)
    return Design("row-convolution lane", f"fields {fields} x {spacing} chains {chains}", verilog, predicted)


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


def engine_rounding(bits: int, shift: int, out: int) -> Design:
    """Round as engine requantizers do behind a slice that multiplied and added the offset with half of 2**shift."""
    verilog = f"""module core(input signed [{bits - 1}:0] v, input [{out - 1}:0] low, input [{out - 1}:0] high,
 output [{out - 1}:0] y);
 wire signed [{bits - shift - 1}:0] q = v >>> {shift};
 wire signed [{bits - shift - 1}:0] r = {{q[{bits - shift - 1}:1], q[0] & |v[{shift - 1}:0]}};
 assign y = r < $signed({{1'b0, low}}) ? low : r > $signed({{1'b0, high}}) ? high : r[{out - 1}:0];
endmodule"""
    return Design("engine rounding", f"v{bits} shift {shift} y{out}", verilog, rounding_cost(bits, shift, out).lut)
