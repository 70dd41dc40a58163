"""Our matrix-vector unit beside FINN's in SystemVerilog: same folding, weights and run of yosys.

    pip download --no-deps finn-plus==1.6.1       # not a dependency of fpgaflow; nothing of it is kept
    python -m benchmarks finn_mvu finn_plus-1.6.1-py3-none-any.whl

FINN's unit (``mvu_vvu_axi``, DSP48E2) takes weights from a stream; here a counter and our memory of constants feed it,
which is less than FINN's own streamer. Of the packings that ours has, that of the nearest slices is taken. Weights are
signed, activations unsigned, both of ``bits`` bits. Units are counted without FIFOs.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import zipfile
from pathlib import Path

from benchmarks.common import Row, print_rows
from benchmarks.schemas import FINN_MVU
from benchmarks.structures import Network
from tests.hardware import with_lanes
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.types import QInt
from toolchain.resources import Resources
from toolchain.rtl.count import MEMORY, count, designs, module_resources
from toolchain.rtl.generate import modules
from toolchain.rtl.yosys import netlists
from toolchain.units.fabric import packing, use_lutram

SHAPES = (
    (2, 64, 32, 16, 4), (2, 32, 64, 8, 8), (3, 64, 20, 8, 5), (3, 48, 40, 8, 10), (4, 32, 16, 8, 4),
    (4, 64, 64, 16, 8), (5, 36, 24, 12, 6), (6, 32, 32, 8, 4), (8, 32, 16, 8, 4), (8, 36, 32, 18, 2),
)  # fmt: skip
"""Bits, inputs, outputs, SIMD, PE: the key of a row."""

FILES = ("mvu_pkg.sv", "add_multi.sv", "replay_buffer.sv", "mvu.sv", "mvu_vvu_8sx9_dsp58.sv", "mvu_vvu_axi.sv")
FOLDER = "finn/finn-rtllib/mvu"
READ = "--extern-modules --ignore-timing --ignore-assertions --ignore-initial -Wno-undefined-param-override"
"""Verilator's options that pass over FINN's checks for a simulation."""


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--first", type=int, default=len(SHAPES), help="so many shapes only")
    parser.add_argument("--again", action="store_true", help="also shapes that have a row")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(given.wheel) as wheel:
            paths = [Path(wheel.extract(f"{FOLDER}/{name}", folder)) for name in FILES]
        move_function(paths[FILES.index("add_multi.sv")])
        for shape in SHAPES[: given.first]:
            if not given.again and FINN_MVU.has(dict(zip(FINN_MVU.key, shape, strict=True))):
                continue
            row = compared(*shape, paths)
            FINN_MVU.record(row)
            print_rows("", [row], {name: name for name in row})


def move_function(path: Path) -> None:
    """Take a function out of a generate block, from where no constant may call it (slang, Verilator)."""
    text = path.read_text(encoding="utf-8")
    moved = re.search(r"typedef int unsigned  leaf_load_t.*?endfunction : init_leaf_loads", text, re.DOTALL)
    if moved is None:
        raise UserError("not the unit of finn-plus 1.6.1", where=path.name, hint="give that wheel")
    place = "uwire [SUM_WIDTH-1:0]  sum0;"
    path.write_text(text.replace(moved[0], "").replace(place, f"{moved[0]}\n{place}"), encoding="utf-8")


def compared(bits: int, inputs: int, outputs: int, simd: int, pe: int, paths: list[Path]) -> Row:
    """Count FINN's unit and ours for one shape."""
    b = Network((1, 1, inputs), bits, bits, input_bits=bits)
    graph = b.graph("unit", b.matvec(b.input, outputs))
    theirs = finn(graph, simd, pe, paths)
    ours, products = _ours(graph, simd, pe, theirs.dsp)
    row = {"bits": bits, "inputs": inputs, "outputs": outputs, "simd": simd, "pe": pe}
    row |= {"cycles": inputs // simd * outputs // pe, "products_per_dsp": products}
    row |= {"lut": ours.lut, "ff": ours.ff, "dsp": ours.dsp, "bram18": ours.bram18}
    row |= {"finn_lut": theirs.lut, "finn_ff": theirs.ff, "finn_dsp": theirs.dsp, "finn_bram18": theirs.bram18}
    return row | {"lut_ratio": round(ours.lut / theirs.lut, 3), "ff_ratio": round(ours.ff / theirs.ff, 3)}


def _ours(graph: Graph, simd: int, pe: int, slices: int) -> tuple[Resources, int]:
    """Our unit with the packing that takes nearest to so many slices."""
    (node,) = graph.nodes
    assert isinstance(node, MatVec)
    packings = [n for n in (1, *packing(node.weight_type, graph.input.qint)) if pe % n == 0]
    products = min(packings, key=lambda n: abs(simd * pe // n - slices))
    return count(designs(with_lanes(graph, {node.name: (simd, pe, products)}))[node.name][0]), products


def finn(graph: Graph, simd: int, pe: int, paths: list[Path]) -> Resources:
    """FINN's unit with the weights of ``graph``, and a memory for them as ours is stored."""
    (node,) = graph.nodes
    assert isinstance(node, MatVec)
    (outputs, inputs), act, acc = node.weight.shape, graph.input.qint, node.output.qint
    kind, depth = node.weight_type, inputs // simd * outputs // pe
    words = node.weight.reshape(outputs // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3).reshape(depth, -1)
    width = _bytes(words.shape[1] * kind.bits)
    narrow = int(kind.min not in node.weight)
    numbers = {
        "IS_MVU": 1, "VERSION": 2, "MW": inputs, "MH": outputs, "PE": pe, "SIMD": simd, "WEIGHT_WIDTH": kind.bits,
        "ACTIVATION_WIDTH": act.bits, "ACCU_WIDTH": acc.bits, "NARROW_WEIGHTS": narrow, "SIGNED_ACTIVATIONS": 0,
    }  # fmt: skip
    given = " ".join(f"-G {name}={number}" for name, number in numbers.items())
    options = f"{READ} --top mvu_vvu_axi {given}"
    before = ["read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v"]
    before += [f"read_slang {options} {' '.join(map(str, paths))}"]
    style = "lutram" if use_lutram(depth, words.shape[1] * kind.bits) else "bram"
    sources = {
        "modules/memory.sv": modules()["modules/memory.sv"],
        "finn.mem": "".join(f"{_word(word.tolist(), kind):0{-(-width // 4)}x}\n" for word in words),
        "finn_alone.sv": _WRAPPER.format(
            depth=depth, width=width, style=style, at=max((depth - 1).bit_length(), 1),
            inputs=_bytes(simd * act.bits), outputs=_bytes(pe * acc.bits),
        ),
    }  # fmt: skip
    module = netlists(["finn_alone"], sources, MEMORY, before)["finn_alone"]
    instantiated = sum(cell["type"] == "LUT6_2" for cell in module["cells"].values())
    return module_resources(module) + Resources(lut=instantiated)


def _bytes(bits: int) -> int:
    """Bits of a stream, which are whole bytes."""
    return -(-bits // 8) * 8


def _word(entries: list[int], kind: QInt) -> int:
    return sum((entry & ((1 << kind.bits) - 1)) << (kind.bits * place) for place, entry in enumerate(entries))


_WRAPPER = """
module finn_alone (
    input wire clk, input wire reset,
    input wire [{inputs}-1:0] in_data, input wire in_valid, output wire in_ready,
    output wire [{outputs}-1:0] out_data, output wire out_valid, input wire out_ready
);
    reg [{at}-1:0] at;
    reg full;
    wire taken;
    wire [{width}-1:0] word;
    wire step = taken || !full;
    always @(posedge clk) begin
        full <= !reset;
        if (reset) at <= 0;
        else if (step) at <= at == {depth} - 1 ? 0 : at + 1'b1;
    end
    fpgaflow_rom #(.DEPTH({depth}), .WIDTH({width}), .FILE("finn.mem"), .STYLE("{style}")) rom (
        .clk(clk), .step(step), .at(at), .word(word));
    mvu_vvu_axi unit (
        .ap_clk(clk), .ap_clk2x(clk), .ap_rst_n(!reset),
        .s_axis_weights_tdata(word), .s_axis_weights_tvalid(full), .s_axis_weights_tready(taken),
        .s_axis_input_tdata(in_data), .s_axis_input_tvalid(in_valid), .s_axis_input_tready(in_ready),
        .m_axis_output_tdata(out_data), .m_axis_output_tvalid(out_valid), .m_axis_output_tready(out_ready));
endmodule
"""


if __name__ == "__main__":
    main()
