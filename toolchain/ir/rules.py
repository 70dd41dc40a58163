"""The error of a broken graph rule, and the rules that several operations share."""

from __future__ import annotations

from toolchain.ir.types import Array, QInt

MOST = 1 << 62
"""Integers stay below it in magnitude: what is computed from two of them, a sum or a difference, fits 64 bits."""


class IllFormed(AssertionError):
    """A graph breaks a rule of its level."""


def require(condition: bool, where: str, rule: str) -> None:
    """IllFormed unless ``condition`` holds, naming the node or value ``where`` and the ``rule``."""
    if not condition:
        raise IllFormed(f"{where}: {rule}")


def require_weights(where: str, weight: Array, kind: QInt) -> None:
    """IllFormed unless ``weight`` holds int64 numbers of type ``kind``."""
    require(weight.dtype == "int64", where, "weights are int64")
    require(kind.min <= weight.min() and weight.max() <= kind.max, where, f"weights fit {kind}")


def one_or_each(channels: int, *arrays: Array) -> bool:
    """Return whether each of ``arrays`` has one entry or ``channels`` entries."""
    return all(len(array) in (1, channels) for array in arrays)
