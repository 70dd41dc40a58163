"""The memory that a command may take, and the number of frames of a given size that fit at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.errors import UserError

_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12}

RESERVED = 700 * 10**6
"""Bytes of a process that no tensor takes: the interpreter, its libraries, the weights, the solver, a compiler."""

LEAST = 10**9


@dataclass(frozen=True)
class Memory:
    """The ``total`` bytes that a process may take with its children; its work is cut into parts that fit."""

    total: int = 2 * 10**9

    @property
    def room(self) -> int:
        """Bytes for tensors."""
        return max(self.total - RESERVED, 0)

    def frames(self, frame_bytes: int, what: str, most: int) -> int:
        """Return the number of frames of ``frame_bytes`` bytes that fit, at most ``most``.

        Raises:
            UserError: not even one fits; the message tells the memory that ``what`` needs.
        """
        if frame_bytes > self.room:
            raise UserError(
                f"{what} wants {size(frame_bytes + RESERVED)} of memory for one image, --memory allows "
                f"{size(self.total)}",
                hint=f"give --memory {-(-(frame_bytes + RESERVED) // 10**8) / 10:g}G if the machine has it",
            )
        return max(1, min(most, self.room // max(frame_bytes, 1)))


DEFAULT_MEMORY = Memory()


def spans(count: int, step: int) -> Iterator[slice]:
    """``range(count)`` in slices of ``step``."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def size(count: int) -> str:
    """``count`` bytes for people: 1.3 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"


def parse_size(text: str, option: str) -> int:
    """``"2G"`` or ``"1500M"`` in bytes; ``option`` is what it was given to.

    Raises:
        UserError: no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([MGT])(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise UserError(f"{option} {text}: expected a size", hint=f"for example {option} 2G or 1500M")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def parse_memory(text: str) -> Memory:
    """``"2G"`` or ``"1500M"`` as a Memory.

    Raises:
        UserError: no such size, or too small to hold the program itself.
    """
    total = parse_size(text, "--memory")
    if total < LEAST:
        raise UserError(f"--memory {text} is too small: the program itself takes most of {size(LEAST)}")
    return Memory(total)
