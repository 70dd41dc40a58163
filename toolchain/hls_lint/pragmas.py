"""The HLS pragmas of a source: clang drops what it does not know, so they are read from the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PRAGMA = re.compile(r"^\s*#\s*pragma\s+HLS\s+(\w+)(.*)$")
_OPERATOR = re.compile(r'\b_Pragma\s*\(\s*"\s*HLS\s+(\w+)([^"]*)"\s*\)')
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
_EQUALS = re.compile(r"\s*=\s*")


@dataclass(frozen=True)
class Pragma:
    """One ``#pragma HLS NAME key=value flag``, or ``_Pragma("HLS NAME ...")`` where it is no macro's.

    Names and values are as written, keys and flags in lower case.
    """

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
    """All HLS pragmas of ``text`` in order, those in comments left out."""
    return list(_read(_COMMENT.sub(_blank, text).splitlines()))


def _blank(found: re.Match[str]) -> str:
    """A string as it is, a comment as the lines that it takes."""
    text = found.group()
    return text if text[0] in "\"'" else " " + "\n" * text.count("\n")


def _read(lines: Sequence[str]) -> Iterable[Pragma]:
    for number, line in enumerate(lines, 1):
        for name, text in _OPERATOR.findall(line):
            yield _pragma(name, text, number)
        found = _PRAGMA.match(line)
        if found is None:
            continue
        rest, after = found.group(2), number
        while rest.endswith("\\") and after < len(lines):
            rest, after = f"{rest[:-1]} {lines[after]}", after + 1
        yield _pragma(found.group(1), rest, number)


def _pragma(name: str, text: str, line: int) -> Pragma:
    words = _EQUALS.sub("=", text).split()
    options = tuple((k.lower(), v) for k, v in (word.split("=", 1) for word in words if "=" in word))
    flags = frozenset(word.lower() for word in words if "=" not in word)
    return Pragma(name.upper(), options, flags, line)
