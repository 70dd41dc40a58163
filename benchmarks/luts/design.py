"""A design to be counted: a small Verilog module, and its LUTs by the cost model."""

from __future__ import annotations

from typing import NamedTuple


class Design(NamedTuple):
    """A module called ``core`` and its predicted LUTs."""

    unit: str
    shape: str
    verilog: str
    predicted: float
