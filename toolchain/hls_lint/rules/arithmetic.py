"""Rules of operations and of the widths of types."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.hls_lint.facts import Operation
from toolchain.hls_lint.findings import Project, Rule

Found = Iterator[tuple[str, str, str]]

SLICE = (27, 18)
"""Signed bits of the factors of one DSP48E2."""
COUNTED = {"Multiplier::product", "requantize"}
"""Functions whose products may be of any width: the cost model counts their slices by the same types."""
ON_A_SLICE = {"cascaded", "difference_product"}
"""Functions whose factors are the ports of one slice, which would cut wider ones."""


def _division(project: Project) -> Found:
    for operation in project.facts.operations:
        if operation.sign in ("/", "%") and not operation.power:
            kind = "quotient" if operation.sign == "/" else "remainder"
            by = "a constant that is no power of two" if operation.right.static else "a value of run time"
            yield operation.unit, str(operation.where), f"a {kind} of {operation.left.width or '?'} by {by}"


def _product(project: Project) -> Found:
    for operation in project.facts.operations:
        if operation.sign != "*" or operation.left.static or operation.right.static:
            continue
        if operation.function not in COUNTED and not _fits(operation):
            why = "is more than a slice" if operation.function in ON_A_SLICE else "that no cost counts"
            yield operation.unit, str(operation.where), f"a product of {_bits(operation)} {why}"


def _fits(operation: Operation) -> bool:
    """Return whether one DSP slice holds the product."""
    if operation.left.width is None or operation.right.width is None:
        return False
    small, large = sorted((operation.left.width.factor, operation.right.width.factor))
    return small <= SLICE[1] and large <= SLICE[0]


def _bits(operation: Operation) -> str:
    return f"{operation.left.width or '?'} x {operation.right.width or '?'} bits"


RULES = (
    Rule("division", "Nothing is divided at run time but by a constant power of two.", _division),
    Rule("product", "Products that the cost model does not count fit one slice of 27 x 18 signed bits.", _product),
)
