"""A lint's report as tables."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from toolchain.hls_lint.lint import RULES, Report

if TYPE_CHECKING:
    from rich.table import Table


def finding_table(report: Report) -> Table:
    """A row a finding: units that share a line of a header share a row."""
    from rich.table import Column, Table

    units = defaultdict(list)
    for finding in report.findings:
        units[finding.rule, finding.where, finding.what].append(finding.unit)
    table = Table(
        "rule", Column("unit", overflow="fold"), Column("where", no_wrap=True), Column("what", overflow="fold")
    )
    for (rule, where, what), names in units.items():
        unit = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        table.add_row(rule, unit, where, what)
    return table


def distance_table(report: Report) -> Table:
    """A row a memory that one pipelined loop loads and stores."""
    from rich.table import Column, Table

    table = Table("memory", Column("unit", overflow="fold"), Column("loop", no_wrap=True), "iterations apart")
    for row in report.distances:
        table.add_row(row.memory, row.unit, row.where, "not stated" if row.apart is None else str(row.apart))
    return table


def verdict(report: Report) -> str:
    """One line: how many findings of how many rules, and the sentences of the rules that are broken."""
    broken = {finding.rule for finding in report.findings}
    lines = [f"{rule.name}: {rule.sentence}" for rule in RULES if rule.name in broken]
    count = len(report.findings)
    lines.append(f"{count} finding{'s' * (count != 1)} of {len(broken)} rules" if count else f"{len(RULES)} rules kept")
    return "\n".join(lines)
