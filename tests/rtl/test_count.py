"""What yosys is given and what is read from it."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from toolchain.errors import FlowError
from toolchain.resources import Resources
from toolchain.rtl.count import Design, count
from toolchain.rtl.generate import PACKAGE

CASES = [
    (op, a, b, signs, a + b + longer)
    for op, (a, b), signs, longer in product(
        "+-*", ((1, 1), (1, 3), (2, 2), (3, 5), (5, 4)), product((False, True), repeat=2), (-1, 0, 2)
    )
]


def port(way: str, bits: int, signed: bool, name: str) -> str:
    return f"{way} {'signed ' if signed else ''}[{bits - 1}:0] {name}"


def test_sums_and_products_stay_the_same_functions_as_carry_chains(tmp_path: Path) -> None:
    """Proven by yosys for all operands: signed, unsigned and mixed, results cut and extended."""
    carry_chains = tmp_path / "carry_chains.v"
    carry_chains.write_text((files(PACKAGE) / "carry_chains.v").read_text(encoding="utf-8"), encoding="utf-8")
    commands = []
    for number, (op, a, b, (a_signed, b_signed), bits) in enumerate(CASES):
        ports = port("input", a, a_signed, "a"), port("input", b, b_signed, "b"), port("output", bits, False, "y")
        source = tmp_path / f"{number}.v"
        source.write_text(f"module right({', '.join(ports)}); assign y = a {op} b; endmodule\n", encoding="utf-8")
        commands += [
            f"read_verilog {source}", "proc", "copy right chains", f"techmap -map {carry_chains} chains",
            "select -assert-none chains/t:$mul chains/t:$add chains/t:$sub chains/t:carry_chains*",
            "miter -equiv -flatten right chains both", "sat -verify -prove trigger 0 both", "design -reset",
        ]  # fmt: skip
    (tmp_path / "all.ys").write_text("\n".join(commands) + "\n", encoding="utf-8")
    code = "from pyosys import libyosys as y; y.run_pass('tee -q -o log script all.ys', y.Design())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    assert (tmp_path / "log").read_text(encoding="utf-8").count("no model found: SUCCESS!") == len(CASES)


def test_counts_are_those_of_the_device() -> None:
    """A sum of 12 bits is 12 LUTs, with the registers behind them."""
    text = """
    module alone (input clock, input [11:0] a, input [11:0] b, output reg [11:0] y);
      always @(posedge clock) y <= a + b;
    endmodule
    """
    assert count(Design("sum", {"alone.sv": text})) == Resources(lut=12, ff=12, dsp=0, bram18=0)


def test_a_unit_that_yosys_does_not_read_is_named() -> None:
    with pytest.raises(FlowError, match="^yosys failed on broken: .*syntax error"):
        count(Design("broken", {"alone.sv": "module alone (input clock;\n"}))
