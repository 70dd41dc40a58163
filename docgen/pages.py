"""The generated parts of the docs, by the name in ``<!-- generated NAME -->``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from docgen import code
from docgen.commands import commands
from docgen.records import reference

ROOT = Path(__file__).resolve().parents[1]


def _run_file() -> str:
    from toolchain.config.run import RunConfig

    return reference(RunConfig, "toml", defaults={"name": "the file's"})


def _space_file() -> str:
    from toolchain.search.space import Space

    return reference(Space, "toml", defaults={"name": "the file's"})


def _plan_file() -> str:
    from toolchain.plan import Plan

    return reference(Plan)


def _report_file() -> str:
    from toolchain.report.data import Report

    return reference(Report)


def _board_file() -> str:
    from toolchain.boards import Board

    return reference(Board, "toml", without=("name", "sources"))


def _text(name: str) -> Callable[[], str]:
    """A text of the repository's root, without its title."""
    return lambda: (ROOT / name).read_text(encoding="utf-8").partition("\n")[2].lstrip()


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "python": code.python,
    "operations": code.operations,
    "operator_format": code.operator_format,
    "refused": code.refused,
    "units": code.units,
    "boards": code.boards,
    "recipes": code.recipe_list,
    "run_file": _run_file,
    "space_file": _space_file,
    "plan_file": _plan_file,
    "report_file": _report_file,
    "board_file": _board_file,
    "decisions": code.decisions,
    "messages": code.messages,
    "contributing": _text("CONTRIBUTING.md"),
    "changelog": _text("CHANGELOG.md"),
}


@cache
def part(name: str) -> str:
    """The text of a part; KeyError where there is none."""
    return PARTS[name]()
