"""How the stages tell how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that tells nobody."""
