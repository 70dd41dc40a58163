"""The parts of units' LUTs in SystemVerilog, and their fit to yosys' counts.

A kind of unit whose estimates no factor mends is told by what yosys builds of it: products whose weights lie in a
memory, and requantizers. No plan uses the fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmarks.calibration.fit import solve
from benchmarks.count_errors import held_out
from benchmarks.product_counts import product_parts
from benchmarks.recorder import Row
from benchmarks.requantizer_counts import requantizer_parts
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Array
from toolchain.units.order import parallelism
from toolchain.units.table import unit_cost
from toolchain.units.totals import cost


def part_columns(graph: Graph, node: Node, *, streams: bool) -> Row:
    """The columns ``fit``, ``folding`` and ``parts`` of a unit that is told by its parts; none of another one.

    Args:
        graph: the HARDWARE graph of ``node``.
        node: the unit's node.
        streams: whether the count holds the FIFOs that the unit writes.
    """
    if isinstance(node, MulShift | Threshold):
        kind, (folding, found) = type(node).__name__, requantizer_parts(node, graph)
    elif isinstance(node, MatVec | GroupedMatVec) and not parallelism(node).constant:
        kind, (folding, found) = MatVec.__name__, product_parts(node, graph)
    else:
        return {}
    if streams:
        found["streams"] = cost(node, graph).lut - unit_cost(node, graph.value(node.inputs[0]), parallelism(node)).lut
    parts = {name: round(float(value), 1) for name, value in found.items() if value}
    return {"fit": kind, "folding": folding, "parts": parts}


def fitted_luts(rows: Sequence[Row]) -> list[float]:
    """LUTs of every row of ``parts`` by a fit to the others of its ``fit``, those of its folding left out."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row["fit"]].append(i)
    found = [0.0] * len(rows)
    for alike in places.values():
        chosen = [rows[i] for i in alike]
        for i, luts in zip(alike, held_out(*_table(chosen), [row["folding"] for row in chosen]), strict=True):
            found[i] = luts
    return found


def coefficients(rows: Sequence[Row], kind: str) -> dict[str, float]:
    """LUTs a LUT of each part, fitted to those of ``rows`` whose ``fit`` is ``kind``."""
    chosen = [row for row in rows if row.get("fit") == kind]
    features, counts = _table(chosen)
    return dict(zip(_names(chosen), map(float, solve(features, counts, np.ones(len(chosen)))), strict=True))


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({name for row in rows for name in row["parts"]})


def _table(rows: Sequence[Row]) -> tuple[Array, Array]:
    """The parts of every row and its count."""
    features = np.array([[row["parts"].get(name, 0.0) for name in _names(rows)] for row in rows])
    return features, np.array([row["counted_lut"] for row in rows], dtype=float)
