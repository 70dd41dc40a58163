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
    env.filters.update(tcl_quote=tcl_quote, one_line=one_line)
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
