"""MODEL -> INTEGER, verified at both ends."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.ir.types import Encoding
from toolchain.ir.verify import Level, verify
from toolchain.lowering.lower import PIXELS, lower


def to_integer(graph: Graph, encoding: Encoding = PIXELS, lut_per_dsp: int | None = None) -> Graph:
    """The INTEGER graph of the MODEL ``graph``; see ``lower``."""
    return verify(lower(verify(graph, Level.MODEL), encoding, lut_per_dsp), Level.INTEGER)
