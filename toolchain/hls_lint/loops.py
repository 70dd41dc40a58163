"""Facts that a loop's own statement tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolchain.hls_lint.clang import Kind, binary_sign, evaluate

LOOPS = {Kind.FOR_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.CXX_FOR_RANGE_STMT}


def loops_within(cursor: Any) -> Iterator[Any]:
    """The outermost loops below a statement."""
    for child in cursor.get_children():
        if child.kind in LOOPS:
            yield child
        elif not child.kind.is_expression():
            yield from loops_within(child)


def trips(sign: str, first: int | None, last: int | None, step: Any) -> int | None:
    """Iterations of a loop that counts one by one, or by a constant; None for any other."""
    by = _step(step)
    if first is None or last is None or not by:
        return None
    span = last - first if sign in ("<", "<=", "!=") else first - last
    span += sign in ("<=", ">=")
    return max(0, -(-span // by))


def _step(step: Any) -> int | None:
    """By how much a loop counts up or down, if that is a constant."""
    if step.kind == Kind.UNARY_OPERATOR:
        return 1
    counts = step.kind == Kind.COMPOUND_ASSIGNMENT_OPERATOR and binary_sign(step) in ("+=", "-=")
    return evaluate(list(step.get_children())[1]) if counts else None
