"""Errors that reach the user, and the exit codes they carry."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 8


class FlowError(Exception):
    """A failure the command line reports in one line; ``exit_code`` is the process's answer."""

    exit_code = 1


class UserError(FlowError):
    """The input is at fault: says what, where and what to do. Exit code 2."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what + (f" [{where}]" if where else "") + (f"; {hint}" if hint else ""))


class NoRoom(UserError):
    """The network is larger than the board, or cannot be so fast on it; ``hint`` names what would do."""


class Interrupted(FlowError):
    """The user stopped it."""

    exit_code = 130


class VerificationError(FlowError):
    """Two executors that must agree do not; names the first deviating node. Exit code 3."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str], *, within: str = "") -> UserError:
    """A UserError for a misspelt ``name``, told behind ``within``, with the nearest known one as the hint."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{within}{near[0]}'?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{within}{name}'", hint=hint)


def some_names(names: Sequence[str]) -> str:
    """``names`` in quotes, the first eight of them, and an ellipsis for the rest."""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def with_article(noun: str) -> str:
    """``noun`` behind "a" or "an", by its first letter's name where it is spelt, as LSTM is."""
    vowels = "AEFHILMNORSX" if noun[:2].isupper() else "aeiouAEIOU"
    return f"an {noun}" if noun[0] in vowels else f"a {noun}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
