"""Findings that generated projects have today, by rule: the files they stand in. A repair takes its line away."""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.hls_lint.findings import Finding

Known = dict[str, set[str]]

UNITS: Known = {
    "bound-product": {"packing", "row_conv"},
    "chain-order": {"row_conv"},
    "distance": {"matvec", "row_conv", "spread", "window"},
    "idle": {"row_conv"},
    "inner-array": {"delay", "window"},
    "loop-label": {
        *("argmax", "channels", "constant", "depthwise", "elementwise", "global_sum", "matvec", "mul_shift", "pool"),
        *("row_conv", "scaled_add", "spread", "threshold", "window"),
    },
    "loop-nest": {
        *("argmax", "channels", "constant", "depthwise", "elementwise", "global_sum", "matvec", "mul_shift", "pool"),
        *("row_conv", "scaled_add", "spread", "threshold", "window"),
    },
    "loop-trips": {
        *("argmax", "depthwise", "elementwise", "global_sum", "matvec", "mul_shift", "pool", "row_conv"),
        *("scaled_add", "spread", "threshold"),
    },
    "product": {"threshold"},
    "split-word": {"elementwise"},
}
"""Of every unit of the conformance grid."""

ENDS: Known = {
    "clock": {"hls_config", "run_hls"},
    "loop-cycles": {"memory"},
    "loop-label": {"memory"},
    "loop-nest": {"memory"},
    "part-select": {"memory"},
    "same-source": {"hls_config", "run_hls"},
}
"""Of what a project has beside its units."""

ENGINE: Known = {
    "bound-product": {"convolve"},
    "chain-order": {"convolve"},
    "distance": {"convolve", "window"},
    "division": {"window"},
    "loop-cycles": {"requantize", "window"},
    "loop-label": {"convolve", "merge", "requantize", "top", "transfer", "window"},
    "loop-nest": {"requantize", "transfer", "window"},
    "product": {"convolve", "merge", "requantize", "top", "transfer", "window"},
    "project": {"README", "hls_config", "run", "run_hls", "testbench"},
    "region-calls": {"top"},
    "shared": {"top"},
}
"""Of the engine."""


def by_rule(findings: Iterable[Finding]) -> Known:
    """The rules that are broken, and the files in which they are, without folder and ending."""
    found: Known = {}
    for finding in findings:
        name = finding.where.split(":")[0].rsplit("/", 1)[-1]
        found.setdefault(finding.rule, set()).add(name.rsplit(".", 1)[0])
    return found
