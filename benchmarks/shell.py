"""LUTs as the texts have them: of the accelerator with the shell around it, the processing system's interconnect."""

from __future__ import annotations

from benchmarks.recorder import Row
from toolchain.boards import load_board
from toolchain.resources import KINDS

LUT = "LUT with shell"


def with_shell(row: Row) -> Row:
    """``row``, whose resources are the accelerator's alone, with those of the ZU3EG's shell added."""
    shell = load_board("zu3eg").shell.model_dump()
    return row | {kind: row[kind] + shell[kind] for kind in KINDS if kind in row}
