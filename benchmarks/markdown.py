"""Tables of Markdown, and texts that hold generated tables and figures between two comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from toolchain.files import write_text

Cells = Sequence[object]

FIGURES = "table|value"
"""Kinds of parts that are figures: a table stands on lines of its own, a value within one."""


def _block(kinds: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- (?:{kinds}) (\w+) -->\n?)(.*?)(<!-- end -->)", re.DOTALL)


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """A table whose cells are texts, or nothing for None."""
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)
    return text.replace("| --- ", "|---").replace("--- |", "---|") + "\n"


def filled(text: str, parts: Mapping[str, str], kinds: str = FIGURES) -> str:
    """``text`` with the part NAME between every ``<!-- KIND NAME -->`` and the ``<!-- end -->`` behind it.

    Raises:
        ValueError: there is no such part.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] not in parts:
            raise ValueError(f"nothing is called '{found[2]}'; known: {', '.join(sorted(parts))}")
        return f"{found[1]}{parts[found[2]]}{found[4]}"

    return _block(kinds).sub(block, text)


def named(text: str, kinds: str = FIGURES) -> list[str]:
    """The names of the parts in ``text``."""
    return [found[2] for found in _block(kinds).finditer(text)]


def without(text: str) -> str:
    """``text`` without its tables and values."""
    return _block(FIGURES).sub("", text)


def fill(path: Path, parts: Mapping[str, str]) -> bool:
    """Write the tables and values of the file ``path`` anew; whether it changed."""
    text = path.read_text(encoding="utf-8")
    new = filled(text, parts)
    if new != text:
        write_text(path, new)
    return new != text


def percent(share: float | None, digits: int = 2, sign: str = " %") -> str | None:
    """A share of 1 in percent."""
    return None if share is None else f"{100 * share:.{digits}f}{sign}"


def marked(text: str, *, bold: bool) -> str:
    """``text``, in bold type or not."""
    return f"**{text}**" if bold else text
