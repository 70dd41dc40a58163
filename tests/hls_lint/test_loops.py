"""What a loop's own statement tells of its iterations."""

from __future__ import annotations

import pytest
from clang import cindex

from toolchain.hls_lint.clang import evaluate, initializer
from toolchain.hls_lint.loops import loops_within, trips


@pytest.mark.parametrize(
    ("head", "count"),
    [
        ("int i = 0; i < 8; i++", 8),
        ("int i = 0; i <= 8; i += 3", 3),
        ("int i = 7; i >= 0; --i", 8),
        ("int i = 7; i > 0; i -= 2", 4),
        ("int i = 8; i < 8; i++", 0),
        ("int i = 1; i < 5; i *= 4", None),  # 1 and 4
        ("int i = 8; i > 0; i >>= 1", None),
        ("int i = 0; i < 8; i = i + 8", None),
    ],
)
def test_iterations_of_loops_that_count_by_a_constant(head: str, count: int | None) -> None:
    text = f"void f() {{ for ({head}) {{}} }}"
    unit = cindex.Index.create().parse("loop.cpp", unsaved_files=[("loop.cpp", text)])
    (function,) = unit.cursor.get_children()
    (loop,) = loops_within(next(function.get_children()))
    start, condition, step, _ = loop.get_children()
    _, last = condition.get_children()
    first = initializer(next(start.get_children()))
    assert trips(head.split()[5], evaluate(first), evaluate(last), step) == count
