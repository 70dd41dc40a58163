"""Numbers as C++ writes them, each in a type that holds it: what its type cannot hold is never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.errors import FlowError
from toolchain.ir.types import Array, QInt
from toolchain.units.call import Constant

INT, LONG_LONG = QInt(32, True), QInt(64, True)
"""Ranges of ``int`` and ``long long``."""


def native_type(kind: QInt) -> str:
    """The narrower of ``int`` and ``long long`` that holds every integer of ``kind``; FlowError where none does."""
    for name, native in (("int", INT), ("long long", LONG_LONG)):
        if native.min <= kind.min and kind.max <= native.max:
            return name
    raise FlowError(f"no native C++ integer holds {kind}")


def literal(value: int, kind: QInt, what: str) -> str:
    """``value`` as a constant expression; FlowError naming ``what`` where ``kind``, or 64 bits, do not hold it."""
    if not (kind.min <= value <= kind.max and LONG_LONG.min <= value <= LONG_LONG.max):
        raise FlowError(f"{what} is {value}, which {kind} does not hold in C++")
    if value == LONG_LONG.min:  # a minus sign and a number that is too large
        return f"(-{LONG_LONG.max}LL - 1)"
    return f"{value}LL" if abs(value) > INT.max else str(value)


def declaration(constant: int | Constant, name: str, unit: str) -> str:
    """The declaration of a constant of ``unit``: bool, int, or for a ``Constant`` the native type of its integers."""
    what = f"constant '{name}' of unit '{unit}'"
    if isinstance(constant, bool):
        return f"static constexpr bool {name} = {str(constant).lower()};"
    number = constant if isinstance(constant, Constant) else Constant(constant, INT)
    return f"static constexpr {native_type(number.type)} {name} = {literal(number.value, number.type, what)};"


def int_list(numbers: Sequence[int], name: str, unit: str) -> str:
    """Numbers of type int, separated by commas."""
    return ", ".join(literal(n, INT, f"list '{name}' of unit '{unit}'") for n in numbers)


def array_text(values: Array, kind: QInt, what: str) -> str:
    """A nested initializer list, one line an entry of the first dimension, without the outer braces.

    FlowError naming ``what`` where ``kind`` does not hold every number.
    """
    if values.size:
        for end in (values.min(), values.max()):
            literal(int(end), kind, what)
    return "".join(f"{_braced(entry)},\n" for entry in values.tolist())


def _braced(entry: Any) -> str:
    if isinstance(entry, list):
        return "{" + ", ".join(_braced(e) for e in entry) + "}"
    return str(entry) if abs(entry) <= INT.max else literal(entry, LONG_LONG, "a table")


def float_literal(value: float) -> str:
    """A float literal that reads back as the float32 ``value``."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def plain(value: Any) -> Any:
    """``value`` as a template may write it by itself; FlowError for a number that is no int."""
    if isinstance(value, int) and not INT.min <= value <= INT.max:
        raise FlowError(f"a template writes {value}, which no int of C++ holds")
    return value
