"""The clock as a variable: a conservative rule of how full a device may be at which clock. No timing stands behind it.

PL0 of the processing system is 1500 MHz by a whole number. At the board's own clock a plan may fill three fifths of the
LUTs, the shell included; at the next number below seven tenths and two; all that the board plans with at the one after.
Published designs on a ZU3EG are above that: 250 MHz with 72 to 79 % of the LUTs (Synetgy, FPGA 2019; FracBNN, FPGA
2021), 214 MHz with 79 % (MSD, FCCM 2023).
"""

from __future__ import annotations

from math import ceil

from toolchain.boards import Board
from toolchain.records import LEAST_MHZ

PLL_MHZ = 1500.0
FILLS = (0.60, 0.72, 1.0)
"""Largest share of the LUTs at the board's own clock, and at each next lower one."""


def clock_steps(board: Board) -> list[tuple[float, float]]:
    """Clocks in MHz, descending, and the share of the LUTs that a plan may fill there; none above what the board plans.

    A slower clock that allows no more is left out, as is one that is none of a fabric.
    """
    first = ceil(PLL_MHZ / board.clock.default_mhz - 1e-9)
    found: list[tuple[float, float]] = []
    for divisor, fill in enumerate(FILLS, first):
        share = min(fill, board.planning.lut)
        if not found or (share > found[-1][1] and PLL_MHZ / divisor >= LEAST_MHZ):
            found.append((PLL_MHZ / divisor, share))
    return found


def rule(mhz: float, share: float) -> str:
    """The report's note on a clock that was chosen."""
    return (
        f"auto chose {mhz:g} MHz, with at most {share:.0%} of the LUTs filled: a rule of thumb, no timing was analysed"
    )
