"""The jinja2 environment of all templates, and the static C++ headers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from toolchain.hls_templates.literals import declaration, int_list, native_type, plain
from toolchain.ir.types import QInt

_PACKAGE = "toolchain.hls_templates"

LINE_COLUMNS = 120


def cpp_type(kind: QInt) -> str:
    """The HLS type of an integer."""
    return f"ap_{'' if kind.signed else 'u'}int<{kind.bits}>"


def tcl_quote(text: str) -> str:
    """``text`` as one Tcl word."""
    special = '\\"$[]{};'
    return '"' + "".join(f"\\{c}" if c in special else c for c in text) + '"'


def one_line(text: str) -> str:
    """``text`` for a comment: nothing that ends or continues the line."""
    return "".join(c if c.isprintable() and c != "\\" else "_" for c in text)


def broken(text: str) -> str:
    """A call, or the head of a function, of one line: in lines of 120 columns, each below the first argument.

    Where an argument does not fit there, all start in the next line, four columns in.
    """
    head, _, rest = text.partition("(")
    words, depth = [""], 0
    for letter in rest:
        depth += (letter in "<(") - (letter in ">)")
        words[-1] += letter
        if letter == "," and depth == 0:
            words.append("")
    words = [word.strip() for word in words]
    lines, indent = [f"{head}("], len(head) + 1
    if indent + max(map(len, words)) > LINE_COLUMNS:
        indent = len(head) - len(head.lstrip()) + 4
        lines.append(" " * indent + words.pop(0))
    for word in words:
        gap = " " if lines[-1].endswith(",") else ""
        if len(lines[-1] + gap + word) <= LINE_COLUMNS:
            lines[-1] += gap + word
        else:
            lines.append(" " * indent + word)
    return "\n".join(lines)


@cache
def environment(package: str = _PACKAGE) -> jinja2.Environment:
    """The environment of a package's templates: a missing variable is an error, so is a number that is no int.

    Blocks leave no blank lines.
    """
    env = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.filters.update(cpp_type=cpp_type, native_type=native_type, declaration=declaration, int_list=int_list)
    env.filters.update(tcl_quote=tcl_quote, one_line=one_line, broken=broken)
    return env


def render(template: str, variables: Mapping[str, Any], package: str = _PACKAGE) -> str:
    """The text of ``templates/TEMPLATE.j2`` of ``package``."""
    return environment(package).get_template(f"{template}.j2").render(variables)


@cache
def headers(folder: str = "fpgaflow") -> dict[str, str]:
    """The static headers of ``folder`` ("fpgaflow" or "fpgaflow/engine") by their path in a project."""
    entries = (files(_PACKAGE) / "include" / folder).iterdir()
    texts = {f"include/{folder}/{e.name}": e.read_text(encoding="utf-8") for e in entries if e.is_file()}
    return dict(sorted(texts.items()))
