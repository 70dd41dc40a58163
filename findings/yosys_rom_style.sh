#!/usr/bin/env bash
# yosys 0.70 (pyosys, synth_xilinx): rom_style = "distributed", the vendor's word for a ROM in LUTs, ends synthesis: the
# memories of that name are RAMs with a write port, and none of them is a ROM. A RAM with the same word is mapped, a ROM
# without it too. yosys' own word for LUTs is "logic", so one source for both tools has to choose by `ifdef YOSYS.
# Seen, 32 words of 8 bits: "no valid mapping found" for "distributed"; cells for "logic" and for a RAM.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyosys==0.70
cd "$folder"
cat > rom.sv <<'SV'
module rom (input clk, input [4:0] at, output reg [7:0] word);
  (* rom_style = STYLE *) reg [7:0] words [0:31];
  integer i;
  initial for (i = 0; i < 32; i = i + 1) words[i] = i * 37;
  always @(posedge clk) word <= words[at];
endmodule
SV
cat > ram.sv <<'SV'
module ram (input clk, input write, input [7:0] data, input [4:0] at, output reg [7:0] word);
  (* ram_style = STYLE *) reg [7:0] words [0:31];
  always @(posedge clk) begin
    if (write) words[at] <= data;
    word <= words[at];
  end
endmodule
SV
cat > synthesis.py <<'PY'
import re
import subprocess
import sys
from pathlib import Path

RUN = "from pyosys import libyosys; libyosys.run_pass('tee -q -o log script run.ys', libyosys.Design())"


def ends(module, style):
    text = Path(f"{module}.sv").read_text().replace("STYLE", f'"{style}"')
    Path("top.sv").write_text(text)
    Path("run.ys").write_text(f"read_verilog -sv top.sv\nsynth_xilinx -family xcup -top {module}\n")
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    log = Path("log").read_text()
    errors = re.findall(r"ERROR: .*", log)
    print(f"{module} {style}: {errors[0] if errors else 'mapped'}")
    return done.returncode == 0, errors


rom, errors = ends("rom", "distributed")
logic, _ = ends("rom", "logic")
ram, _ = ends("ram", "distributed")
raise SystemExit(0 if not rom and "no valid mapping" in "".join(errors) and logic and ram else 1)
PY
"$folder/venv/bin/python" synthesis.py
