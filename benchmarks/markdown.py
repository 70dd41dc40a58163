"""Tables of Markdown, and texts that hold generated ones between two comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from toolchain.files import write_text

Cells = Sequence[object]

BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """A table whose cells are texts, or nothing for None."""
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)
    return text.replace("| --- ", "|---").replace("--- |", "---|") + "\n"


def filled(text: str, tables: Mapping[str, str]) -> str:
    """``text`` with the table NAME between every ``<!-- table NAME -->`` and the ``<!-- end -->`` behind it.

    Raises:
        ValueError: there is no such table.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] not in tables:
            raise ValueError(f"no table '{found[2]}'; known: {', '.join(sorted(tables))}")
        return f"{found[1]}{tables[found[2]]}{found[3]}"

    return BLOCK.sub(block, text)


def named(text: str) -> list[str]:
    """The names of the tables in ``text``."""
    return [name for _, name, _ in BLOCK.findall(text)]


def fill(path: Path, tables: Mapping[str, str]) -> bool:
    """Write the tables of the file ``path`` anew; whether it changed."""
    text = path.read_text(encoding="utf-8")
    new = filled(text, tables)
    if new != text:
        write_text(path, new)
    return new != text


def percent(share: float | None, digits: int = 2, sign: str = " %") -> str | None:
    """A share of 1 in percent."""
    return None if share is None else f"{100 * share:.{digits}f}{sign}"


def marked(text: str, *, bold: bool) -> str:
    """``text``, in bold type or not."""
    return f"**{text}**" if bold else text
