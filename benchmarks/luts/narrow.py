"""The arithmetic of units that count bits and of units of constant weights as Verilog, and the cost model's LUTs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.luts.design import Design
from toolchain.ir.types import QInt
from toolchain.units.adder_graph import AdderGraph, adder_graph
from toolchain.units.cost_model import parts


def narrow_designs() -> Iterator[Design]:
    """Lanes of 1 x 1 and 2 x 2 bits, and matrices from dense to a tenth of their weights."""
    for weight, act, simd in ((1, 1, 9), (1, 1, 36), (1, 1, 64), (2, 2, 9), (2, 2, 18)):
        yield bit_plane_lane(weight, act, simd)
    for inputs, outputs, weight, act, kept in (
        (25, 6, 4, 8, 1.0),
        (18, 8, 2, 2, 1.0),
        (18, 8, 2, 1, 0.7),
        (50, 8, 4, 4, 0.5),
        (50, 8, 4, 4, 0.1),
        (16, 8, 8, 8, 0.2),
    ):
        yield constant_product(inputs, outputs, weight, act, kept)


class _Counter:
    """Wires that count bits as ``ones.hpp`` does; a word is its name and its width."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def wire(self, value: str, width: int = 1) -> str:
        """A new wire."""
        name = f"t{len(self.lines)}"
        self.lines.append(f" wire [{width - 1}:0] {name} = {value};")
        return name

    def add(self, a: str, b: str, width: int) -> str:
        """a + 2 * b."""
        return self.wire(f"{a} + {{{b}, 1'b0}}", width)

    def three(self, bits: list[str]) -> tuple[str, str]:
        """Sum and carry of three bits."""
        a, b, c = (*bits, "1'b0", "1'b0")[:3]
        return self.wire(f"{a} ^ {b} ^ {c}"), self.wire(f"({a} & {b}) | ({a} & {c}) | ({b} & {c})")

    def six(self, bits: list[str]) -> str:
        """Count of up to six bits."""
        low, high = self.three(bits[:3])
        other_low, other_high = self.three(bits[3:] or ["1'b0"])
        carry = self.wire(f"{low} & {other_low}")
        middle, top = self.three([high, other_high, carry])
        return self.wire(f"{{{top}, {middle}, {low} ^ {other_low}}}", 3)

    def ones(self, bits: list[str]) -> str:
        """Count of any number of bits."""
        width = len(bits).bit_length()
        if len(bits) <= 6:
            return self.wire(self.six(bits), width)
        groups = [self.six(bits[i : i + 6]) for i in range(0, len(bits), 6)]
        low, middle, high = (self.ones([f"{group}[{i}]" for group in groups]) for i in range(3))
        upper = self.add(middle, high, (3 * len(groups)).bit_length())
        return self.add(low, upper, width)

    def common(self, pairs: list[str]) -> str:
        """Count of products of two bits."""
        groups = [self.three(pairs[i : i + 3]) for i in range(0, len(pairs), 3)]
        odd, most = (self.ones([group[i] for group in groups]) for i in range(2))
        return self.add(odd, most, len(pairs).bit_length())


def bit_plane_lane(weight: int, act: int, simd: int) -> Design:
    """``simd`` products by counting common ones, and the sum over the steps; one-bit weights are -1 and +1."""
    total, signs, counter = weight + act + 10, weight == 1, _Counter()
    terms = []
    for i in range(weight):
        for j in range(act):
            count = counter.common([f"(w[{l * weight + i}] & x[{l * act + j}])" for l in range(simd)])  # noqa: E741
            sign = "-" if not signs and i == weight - 1 else "+"
            terms.append(f"{sign} {{1'b0, {count}, {i + j}'d0}}" if i + j else f"{sign} {{1'b0, {count}}}")
    dot = " ".join(terms).removeprefix("+ ")
    doubled = f"(({dot}) << 1) - all" if signs else dot
    lines = "\n".join(counter.lines)
    verilog = f"""module core(input clk, input first, input [{simd * weight - 1}:0] w, input [{simd * act - 1}:0] x,
 input [{total - 1}:0] all, output reg [{total - 1}:0] sum);
{lines}
 wire [{total - 1}:0] dot = {doubled};
 always @(posedge clk) sum <= (first ? {total}'d0 : sum) + dot;
endmodule"""
    predicted = parts.plane_dot(simd, weight, act) + total * (1 + signs)
    return Design("bit-plane lane", f"w{weight} a{act} simd {simd}", verilog, predicted)


def constant_product(inputs: int, outputs: int, weight: int, act: int, kept: float) -> Design:
    """All outputs of a product with a random matrix of which a share is ``kept``, as the generator builds it."""
    rng = np.random.default_rng(0)
    kind, low = QInt(act, False), -(1 << (weight - 1))
    matrix = rng.integers(low, -low, (outputs, inputs)) * (rng.random((outputs, inputs)) < kept)
    graph = adder_graph(matrix, kind)
    width = max(s.type.bits for s in graph.sums)
    predicted = float(sum(s.luts for s in graph.sums))
    shape = f"{outputs} x {inputs} w{weight} a{act} kept {kept}"
    return Design("constant product", shape, _verilog(graph, act, width), predicted)


def _verilog(graph: AdderGraph, act: int, width: int) -> str:
    names = [f"$signed({{1'b0, x[{i * act} +: {act}]}})" for i in range(graph.inputs)]
    lines, ends = [], []
    for number, s in enumerate(graph.sums):
        bits = s.type.bits + (not s.type.signed)
        value = f"({names[s.left]} <<< {s.left_shift}) {'-' if s.minus else '+'} ({names[s.right]} <<< {s.right_shift})"
        lines.append(f" wire signed [{bits - 1}:0] s{number} = {value};")
        names.append(f"s{number}")
    for number, output in enumerate(graph.outputs):
        sign = "-" if output.negative else ""
        ends.append(f" assign y[{number * width} +: {width}] = {sign}{names[output.source or 0]};")
    return f"""module core(input [{graph.inputs * act - 1}:0] x, output [{len(graph.outputs) * width - 1}:0] y);
{chr(10).join(lines + ends)}
endmodule"""
