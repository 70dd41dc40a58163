"""What plans are made for: signs as bits, one reader a stream."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.recode_signs import recode_signs


def hardware_form(graph: Graph) -> Graph:
    """The INTEGER ``graph`` as units stand for it; it computes the same."""
    return insert_forks(recode_signs(graph))
