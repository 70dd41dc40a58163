"""Facts that a loop's own statement tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolchain.hls_lint.clang import Kind, evaluate

LOOPS = {Kind.FOR_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.CXX_FOR_RANGE_STMT}


def loops_within(cursor: Any) -> Iterator[Any]:
    """The outermost loops below a statement."""
    for child in cursor.get_children():
        if child.kind in LOOPS:
            yield child
        elif not child.kind.is_expression():
            yield from loops_within(child)


def trips(sign: str, first: int | None, last: int | None, step: Any) -> int | None:
    """Iterations of a loop that counts one by one, or by a constant."""
    if first is None or last is None:
        return None
    by = 1
    if step.kind == Kind.COMPOUND_ASSIGNMENT_OPERATOR:
        found = evaluate(list(step.get_children())[1])
        by = found if found else 1
    span = last - first if sign in ("<", "<=", "!=") else first - last
    span += sign in ("<=", ">=")
    return max(0, -(-span // by))
