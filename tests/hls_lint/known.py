"""Findings that generated projects have today, by rule: the files they stand in. A repair takes its line away."""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.hls_lint.findings import Finding

Known = dict[str, set[str]]

UNITS: Known = {}
"""Of every unit of the conformance grid."""

ENDS: Known = {}
"""Of what a project has beside its units."""

ENGINE: Known = {}
"""Of the engine."""


def by_rule(findings: Iterable[Finding]) -> Known:
    """The rules that are broken, and the files in which they are, without folder and ending."""
    found: Known = {}
    for finding in findings:
        name = finding.where.split(":")[0].rsplit("/", 1)[-1]
        found.setdefault(finding.rule, set()).add(name.rsplit(".", 1)[0])
    return found
