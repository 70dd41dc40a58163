"""The HLS pragmas of a source: clang drops what it does not know, so they are read from the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PRAGMA = re.compile(r"^\s*#\s*pragma\s+HLS\s+(\w+)(.*)$")
_EQUALS = re.compile(r"\s*=\s*")


@dataclass(frozen=True)
class Pragma:
    """One ``#pragma HLS NAME key=value flag``; names and values as written, keys and flags in lower case."""

    name: str
    options: tuple[tuple[str, str], ...]
    flags: frozenset[str]
    line: int

    def get(self, key: str, default: str = "") -> str:
        """Value of the option ``key``."""
        return dict(self.options).get(key, default)

    def number(self, key: str, default: int) -> int:
        """Value of the option ``key``, the default for one that is no number."""
        text = self.get(key)
        return int(text) if text.isdecimal() else default


def read_pragmas(text: str) -> list[Pragma]:
    """All HLS pragmas of ``text`` in order."""
    return list(_read(text.splitlines()))


def _read(lines: Sequence[str]) -> Iterable[Pragma]:
    for number, line in enumerate(lines, 1):
        found = _PRAGMA.match(line)
        if found is None:
            continue
        rest, after = found.group(2), number
        while rest.endswith("\\") and after < len(lines):
            rest, after = f"{rest[:-1]} {lines[after]}", after + 1
        words = _EQUALS.sub("=", rest.split("//")[0]).split()
        options = tuple((k.lower(), v) for k, v in (word.split("=", 1) for word in words if "=" in word))
        flags = frozenset(word.lower() for word in words if "=" not in word)
        yield Pragma(found.group(1).upper(), options, flags, number)
