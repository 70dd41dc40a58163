"""TOML: nested tables as text, and single settings put into them."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import UserError

_EXAMPLES = {"--set": "train.epochs=5", "--option": "width=8"}


def to_toml(table: dict[str, Any]) -> str:
    """``table`` as TOML; empty tuples are left out."""
    return "\n".join(_toml_lines(table, [])).lstrip("\n") + "\n"


def _toml_lines(table: dict[str, Any], path: list[str]) -> list[str]:
    """The lines of a table: its values first, then the tables and the lists of tables in it."""
    lines, inner = [], []
    for key, value in table.items():
        here = [*path, _toml_key(key)]
        if isinstance(value, dict):
            inner += ["", f"[{'.'.join(here)}]", *_toml_lines(value, here)]
        elif isinstance(value, tuple | list) and value and all(isinstance(entry, dict) for entry in value):
            for entry in value:
                inner += ["", f"[[{'.'.join(here)}]]", *_toml_lines(entry, here)]
        elif value != ():
            lines.append(f"{here[-1]} = {_toml_value(value)}")
    return lines + inner


def _toml_key(key: str) -> str:
    """A key of a table, in quotes where it is no bare one, which has ASCII letters alone."""
    return key if key.isascii() and key.isidentifier() else json.dumps(key, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    """A value in TOML; JSON's spelling of strings, finite numbers and booleans is valid TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf, nan
    return json.dumps(value, ensure_ascii=False)


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The table in a TOML file, which is called "the ``kind`` file" in an error.

    Raises:
        UserError: unreadable file, syntax error.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the {kind} file {path}", hint=error.strerror or "") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not valid TOML: {error}", where=str(path)) from error


def overridden(table: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of ``table`` with dotted keys set, see `override`."""
    copied = copy.deepcopy(dict(table))
    for setting in settings:
        override(copied, setting)
    return copied


def override(table: dict[str, Any], setting: str, flag: str = "--set") -> None:
    """Set one dotted key of a nested table in place: "train.epochs=5"; the value is TOML, or else a bare string.

    ``flag`` is what the user has written it behind.

    Raises:
        UserError: no KEY=VALUE, or a key that leads through a value.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{flag} {setting}: expected KEY=VALUE", hint=f"for example {flag} {_EXAMPLES[flag]}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    inner: Any = table
    for section in sections:
        if isinstance(inner, list):
            if not section.isdigit() or int(section) >= len(inner):
                raise UserError(
                    f"{flag} {setting}: no entry {section} in a list of {len(inner)}", hint="they count from 0"
                )
            inner = inner[int(section)]
        else:
            inner = inner.setdefault(section, {})
        if not isinstance(inner, dict | list):
            raise UserError(f"{flag} {setting}: '{section}' is a value, not a section")
    if isinstance(inner, list):
        raise UserError(f"{flag} {setting}: name the entry", hint=f"{'.'.join(sections)}.0.{last} is the first one's")
    inner[last] = value
