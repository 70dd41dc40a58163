"""The commands and their options, as the parser has them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import typer

from benchmarks.markdown import table
from docgen.text import cell, paragraphs
from toolchain.cli import app

HIDDEN = {"help", "show_completion"}


def commands() -> str:
    """A section a group of commands, in the order of ``fpgaflow --help``."""
    program: Any = typer.main.get_command(app)
    parts = [f"`fpgaflow` itself takes:\n\n{_options(_shown(program))}"]
    shown = [(name, command) for name, command in program.commands.items() if not command.hidden]
    for panel, found in groupby(shown, key=lambda entry: _panel(entry[1])):
        parts += [f"## {panel or 'Commands'}\n", *(_command(name, command) for name, command in found)]
    return "\n".join(parts)


def _shown(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option" and param.name not in HIDDEN]


def _panel(found: Any) -> str:
    """The heading that the help puts ``found`` below; "" for none."""
    return str(getattr(found, "rich_help_panel", None) or "")


def _command(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = _shown(command)
    usage = " ".join(
        ["fpgaflow", name, *(_place(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])]
    )
    example = (command.epilog or "").removeprefix("Example: ")
    parts = [f"### {name}\n", paragraphs(command.help or ""), f"```\n{usage}\n{example}".rstrip() + "\n```\n"]
    if arguments:
        parts.append(table(("argument", "meaning"), ((f"`{_upper(a)}`", cell(a.help or "")) for a in arguments)))
    for panel in dict.fromkeys(map(_panel, options)):
        parts += [*([f"**{panel}**\n"] if panel else []), _options([o for o in options if _panel(o) == panel])]
    return "\n".join(parts)


def _options(options: list[Any]) -> str:
    return table(("option", "default", "meaning"), (
        (", ".join(f"`{form}`" for form in (*option.opts, *option.secondary_opts)), _default(option),
         cell(option.help or ""))
        for option in options
    ))  # fmt: skip


def _default(option: Any) -> str:
    """The value, or the words that the help has for it."""
    if isinstance(option.show_default, str):
        return cell(option.show_default)
    value = option.default
    return "" if value is None or value is False or value == () or callable(value) else f"`{value}`"


def _place(argument: Any) -> str:
    name = _upper(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _upper(argument: Any) -> str:
    return str(argument.name).upper()
