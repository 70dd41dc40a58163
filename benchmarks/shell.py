"""LUTs as the texts have them: of the accelerator with the shell around it, the processing system's interconnect."""

from __future__ import annotations

from benchmarks.recorder import Row
from toolchain.boards import load_board
from toolchain.resources import KINDS

LUT = "LUT with shell"
COSTS = ("lut", "dsp", "bram18")
"""Resources in tables of networks."""


def with_shell(row: Row) -> Row:
    """``row``, whose resources are the accelerator's alone, with those of its board's shell (the ZU3EG's) added."""
    shell = load_board(row.get("board", "zu3eg")).shell.model_dump()
    return row | {kind: row[kind] + shell.get(kind, 0) for kind in KINDS if kind in row}
