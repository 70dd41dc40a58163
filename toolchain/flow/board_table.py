"""The table of the boards, which is shown without loading anything of a build."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from toolchain.boards import Board
from toolchain.report.fitting import FittingTable


def boards_table(boards: Sequence[Board]) -> FittingTable:
    """A row a board: its device, memory and clock."""
    table = FittingTable(
        ("Board", "Part", "LUT", "FF", "DSP", "BRAM18", "URAM", "DDR GB/s", "MHz"), 2, ("Part", "FF", "MHz"), "Boards"
    )
    for board in boards:
        device = board.device
        counts = [f"{n:,}" for n in (device.lut, device.ff, device.dsp, device.bram18, device.uram)]
        memory = f"{board.memory.ddr_bytes_per_second / 1e9:.1f}"
        cells = (board.name, board.part, *counts, memory, f"{board.clock.default_mhz:g}")
        table.add_row(*(Text(cell) for cell in cells))
    return table
