"""The commands and their options, as the parser has them."""

from __future__ import annotations

from typing import Any

import typer

from benchmarks.markdown import table
from docgen.text import cell, paragraphs
from toolchain.cli import app

HIDDEN = {"help", "show_completion"}


def commands() -> str:
    """A section a command, in the order of ``fpgaflow --help``."""
    group = typer.main.get_command(app)
    root = [param for param in group.params if param.name not in HIDDEN]
    parts = [f"Every command also takes these, in front of its name or behind it:\n\n{_options(root)}"]
    parts += [_command(name, command) for name, command in group.commands.items() if not command.hidden]  # type: ignore[attr-defined]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and param.name not in HIDDEN]
    usage = " ".join(
        ["fpgaflow", name, *(_place(argument) for argument in arguments), *(["[OPTIONS]"] * bool(options))]
    )
    parts = [f"## {name}\n", paragraphs(command.help or ""), f"```\n{usage}\n```\n"]
    if arguments:
        parts.append(table(("argument", "meaning"), ((f"`{_upper(a)}`", cell(a.help or "")) for a in arguments)))
    if options:
        parts.append(_options(options))
    return "\n".join(parts)


def _options(options: list[Any]) -> str:
    return table(("option", "default", "meaning"), (
        (", ".join(f"`{form}`" for form in (*option.opts, *option.secondary_opts)), _default(option),
         cell(option.help or ""))
        for option in options
    ))  # fmt: skip


def _default(option: Any) -> str:
    value = option.default
    return "" if value is None or value is False or value == () or callable(value) else f"`{value}`"


def _place(argument: Any) -> str:
    name = _upper(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _upper(argument: Any) -> str:
    return str(argument.name).upper()
