"""LUTs of arithmetic, counted by yosys, beside the parts of the cost model.

    pip install pyosys                       # not a dependency of fpgaflow
    python -m benchmarks unit_luts [--only UNIT ...]

Two tables: operators (``$FPGAFLOW_DATA/costs/yosys_lut_cost.csv``, column LUT_packed; skipped without the file) and the
arithmetic cores of this project's own units, synthesized here for UltraScale+ with carry chains and no DSP slices.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.luts.design import Design
from benchmarks.luts.designs import designs
from benchmarks.schemas import UNIT_LUTS
from toolchain.rtl import packing
from toolchain.units.cost_model import parts

SYNTH = "synth_xilinx -family xcup -flatten -nodsp -noiopad -noclkbuf -top core"


def main() -> int:
    """Count, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="UNIT", help="count these units anew and keep the other rows")
    only = parser.parse_args().only
    try:
        from pyosys import libyosys
    except ImportError:
        print("pyosys is not installed: pip install pyosys")
        return 2
    found = _unit_rows(libyosys, only) if only else [*_operator_rows(), *_unit_rows(libyosys)]
    hardware = f"{platform.machine()} CPU, {os.cpu_count()} cores; yosys for xcup, no vendor tool"
    UNIT_LUTS.replace([row | {"hardware": hardware} for row in found], lambda row: not only or row["what"] in only)
    rows = UNIT_LUTS.rows()
    print(f"{'what':22} {'n':>4} {'MAPE':>7} {'median':>7} {'bias':>7}")
    for what in dict.fromkeys(row["what"] for row in rows):
        errors = [row["predicted"] / row["luts"] - 1 for row in rows if row["what"] == what and row["luts"]]
        figures = (fmean(map(abs, errors)), median(map(abs, errors)), fmean(errors))
        print(f"{what:22} {len(errors):4} " + " ".join(f"{100 * figure:6.1f}%" for figure in figures))
    return 0


def _operator_rows() -> Iterator[dict[str, Any]]:
    path = Path(os.environ.get("FPGAFLOW_DATA", "")) / "costs" / "yosys_lut_cost.csv"
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            predicted = _operator(row) if row["flow"] == "carry" else None
            if predicted is not None:
                shape = f"{row['sign']} w{row['wbits'] or '-'} a{row['abits']} n{row['n']} {row['variant']}".strip()
                yield _row(row["kind"], shape, int(row["LUT_packed"]), predicted)


def _operator(row: Mapping[str, str]) -> float | None:
    """The parts' count of one operator; None for kinds that no part describes."""
    act, terms = int(row["abits"]), int(row["n"] or 1)
    match row["kind"]:
        case "mult":
            return parts.multiplier(int(row["wbits"]), act)
        case "adder_tree":
            return parts.adder_tree(terms, act)
        case "dot":
            return parts.dot_product(terms, int(row["wbits"]), act)
        case "const_mult":
            return parts.constant_multiplier(int(row["variant"]), act)
        case "const_dot":
            return parts.constant_dot(round(int(row["nnz"]) * _mean_digits(int(row["wbits"]))), act)
    return None


def _mean_digits(bits: int) -> float:
    """Mean signed digits of the nonzero integers of a symmetric width."""
    shares = parts.digit_shares(max(1, 2 ** (bits - 1) - 1))
    return sum(digits * share for digits, share in enumerate(shares)) / (1 - shares[0])


def _unit_rows(libyosys: Any, only: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    for design in designs():
        if only is None or design.unit in only:
            yield _row(design.unit, design.shape, _count(libyosys, design), design.predicted)


def _count(libyosys: Any, design: Design) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source, netlist = Path(folder, "core.v"), Path(folder, "core.json")
        source.write_text(design.verilog, encoding="utf-8")
        yosys = libyosys.Design()
        quiet = f"tee -q -o {folder}/log "
        carry = Path(packing.__file__).with_name("carry_chains.v")
        script = (
            f"read_verilog -sv {source}",
            f"{SYNTH} -run begin:coarse",
            f"techmap -map {carry}",
            f"{SYNTH} -run coarse:",
            f"write_json {netlist}",
        )
        for command in script:
            libyosys.run_pass(quiet + command, yosys)
        return packing.packed_luts(json.loads(netlist.read_text(encoding="utf-8"))["modules"]["core"])


def _row(what: str, shape: str, luts: int, predicted: float) -> dict[str, Any]:
    return {"what": what, "shape": shape, "luts": luts, "predicted": round(predicted, 1)}


if __name__ == "__main__":
    sys.exit(main())
