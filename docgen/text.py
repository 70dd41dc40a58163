"""Docstrings and comments as Markdown."""

from __future__ import annotations

import re
from inspect import cleandoc


def markdown(text: str) -> str:
    """Double backquotes, and single ones around names, as code."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def paragraphs(text: str) -> str:
    """``text`` with its own line ends taken out within a paragraph; lists stay."""
    blocks = re.split(r"\n\s*\n", cleandoc(text).strip())
    return "\n\n".join(markdown(" ".join(block.split())) for block in blocks) + "\n"


def first(text: str | None) -> str:
    """The first paragraph, on one line."""
    return paragraphs(text or "").split("\n\n")[0].strip()


def cell(text: str) -> str:
    """``text``, perhaps of a help, in a cell of a table: no bar that would end it, no line end, no escaped bracket."""
    return " ".join(markdown(text).split()).replace("|", "\\|").replace("\\[", "[")
