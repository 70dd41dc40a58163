"""What yosys is given and what is read from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from toolchain.errors import FlowError
from toolchain.resources import Resources
from toolchain.rtl import count as counting
from toolchain.rtl.count import Design, cached, count, counted, fifo, known
from toolchain.rtl.generate import PACKAGE, used_modules
from toolchain.rtl.yosys import netlists
from toolchain.units.call import impl
from toolchain.units.fabric_costs import fifo as model

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


def design(name: str, text: str) -> Design:
    return Design(name, "alone", {"alone.sv": text})


SUM = """
module alone (input clock, input [11:0] a, input [11:0] b, output reg [11:0] y);
  always @(posedge clock) y <= a + b;
endmodule
"""


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path))


def test_counts_are_those_of_the_device() -> None:
    """A sum of 12 bits is 12 LUTs, with the registers behind them."""
    assert count(design("sum", SUM)) == Resources(lut=12, ff=12, dsp=0, bram18=0)


def test_a_fifo_in_ultraram_takes_what_the_model_says() -> None:
    """2,100 words of 144 bits: two UltraRAMs, no block RAM."""
    found = count(fifo(2100, 144, impl(2100, 144, ultra=True)))

    planned = model(2100, 144, ultra=True)
    assert (found.bram18, found.uram) == (planned.bram18, planned.uram) == (0, 2)


def test_a_unit_that_yosys_does_not_read_is_named() -> None:
    with pytest.raises(FlowError, match="^yosys failed on broken: .*syntax error"):
        count(design("broken", "module alone (input clock;\n"))


def test_products_in_slices_are_counted_by_the_slices_that_hold_them() -> None:
    """27 x 18 bits fit one, 28 x 18 take four; a module of a packed product is one whatever its width."""
    text = (
        "module alone (input clk, input [27:0] a, input [17:0] b, output [45:0] x, output [45:0] y, output [44:0] z);"
    )
    for name, module, bits in (("x", "product", 28), ("y", "product", 27), ("z", "difference", 28)):
        other = ", .d(a)" if module == "difference" else ""
        numbers = f".A_BITS({bits}), .B_BITS(18), .OUT_BITS(45)"
        text += (
            f"fpgaflow_dsp_{module} #({numbers}) {name}_of (.clk(clk), .step(1'b1), .a(a), .b(b){other}, .y({name}));"
        )
    found = count(Design("products", "alone", {"alone.sv": f"{text} endmodule", **used_modules([text])}))
    assert found.dsp == 4 + 1 + 1


@pytest.mark.usefixtures("empty_cache")
def test_a_unit_for_which_memory_is_short_is_named() -> None:
    with pytest.raises(FlowError, match=r"^yosys failed on sum: it needs more than the 0.1 GB of --memory$"):
        count(design("sum", SUM), memory=100_000_000)


def test_what_fails_beside_others_is_tried_again_with_all_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, given = design("broken", "module alone (input clock;\n"), []
    monkeypatch.setattr(counting, "netlists", lambda *sent: given.append(sent[2]) or netlists(*sent))
    counted([broken], jobs=2, memory=1_200_000_000)
    assert given == [600_000_000, 1_200_000_000]


@pytest.mark.usefixtures("empty_cache")
def test_fifos_are_counted_in_one_run_and_those_of_some_words_are_shift_registers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind the counter, two words take a LUT a bit, up to 16 words one for two bits, up to 32 one a bit."""
    runs: list[Sequence[str]] = []
    monkeypatch.setattr(counting, "netlists", lambda tops, *given: runs.append(tops) or netlists(tops, *given))
    found = counted(fifo(depth, bits) for depth, bits in product((2, 16, 17), (40, 60)))
    luts = {depth: [found[fifo(depth, bits).digest] for bits in (40, 60)] for depth in (2, 16, 17)}
    grown = {depth: (more - less) for depth, (less, more) in luts.items()}

    assert len(runs) == 1 and len(runs[0]) == 6
    assert grown == {2: Resources(lut=20, ff=40), 16: Resources(lut=10), 17: Resources(lut=20)}


def test_what_fails_is_named_and_the_rest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    right, broken = design("sum", SUM), design("broken", "module alone (input clock;\n")
    seen: list[tuple[int, int]] = []
    found = counted([right, broken, right], jobs=1, progress=lambda done, of: seen.append((done, of)))
    monkeypatch.setattr(counting, "netlists", lambda *_: pytest.fail("counted anew"))

    assert seen == [(0, 2), (1, 2), (1, 2)]
    assert found.pop(right.digest) == known(right) == Resources(lut=12, ff=12)
    assert str(found.pop(broken.digest)).startswith("yosys failed on broken: ") and not found


def test_a_damaged_count_is_counted_again() -> None:
    broken = design("damaged", f"{SUM}// of this test alone\n")
    for text in ("", "[12, 1", "12", '{"lut": 12}', '["12", 12, 0, 0, 0]'):
        cached(broken).write_text(text)
        assert known(broken) is None
    assert count(broken) == known(broken)
