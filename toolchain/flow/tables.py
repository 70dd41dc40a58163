"""Terminal tables of the coverage check and the probe."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from toolchain.flow.coverage import FOLDED, REFUSED, SUPPORTED, UNKNOWN, Coverage
from toolchain.flow.probe import Probe

COLOURS = {SUPPORTED: "green", FOLDED: "cyan", REFUSED: "red", UNKNOWN: "yellow"}


def coverage_table(found: Coverage) -> Table:
    """One row a node: its status, why, and what would help."""
    table = Table("node", "operation", "status", "reason", "what helps")
    for node in found.nodes:
        status = f"[{COLOURS[node.status]}]{node.status}[/]"
        table.add_row(escape(node.name), node.op, status, escape(node.reason), escape(node.hint))
    for note in found.notes:
        table.add_row("", "", "note", escape(note), "")
    return table


def probe_table(found: Probe) -> Table:
    """One row a node: the float32 error, and the codes that differ by themselves, in all, and in the C simulation."""
    table = Table("node", "operation", "elements", "float32 error", "codes", "spread", "C-sim")
    for tap in found.taps:
        counts = ["" if count is None else f"{count:,}" for count in (tap.codes, tap.spread, tap.csim)]
        error = "" if tap.error is None else f"{tap.error:.1e}"
        style = "red" if tap.deviates else None
        table.add_row(escape(tap.node), tap.op, f"{tap.elements:,}", error, *counts, style=style)
    return table
