"""What is counted: a small Verilog module and what the cost model says of it."""

from __future__ import annotations

from typing import NamedTuple


class Design(NamedTuple):
    """A module called ``core`` and its predicted LUTs."""

    unit: str
    shape: str
    verilog: str
    predicted: float
