"""Numbers that differ by channel, or have one entry that stands for all of them."""

from __future__ import annotations

from typing import TypeVar

from toolchain.ir.types import Array

T = TypeVar("T")


def shrink(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return ``values``, one a channel, as a single entry where all channels agree."""
    return values[:1] if len(set(values)) == 1 else values


def shrink_rows(rows: Array) -> Array:
    """Return ``rows`` (C, ...) as (1, ...) where all channels agree."""
    return rows[:1] if (rows == rows[0]).all() else rows
