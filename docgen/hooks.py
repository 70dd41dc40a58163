"""Hooks of MkDocs: generated parts, links that leave the docs, the list of decisions, a name for the search."""

from __future__ import annotations

import re
from os.path import relpath
from pathlib import Path
from typing import Any

from benchmarks.markdown import filled, named
from docgen.pages import ROOT, part

DOCS = ROOT / "docs"
PAGES = {
    ROOT / "CONTRIBUTING.md": DOCS / "project" / "contributing.md",
    ROOT / "CHANGELOG.md": DOCS / "project" / "changelog.md",
    ROOT / "README.md": DOCS / "index.md",
}
"""Texts of the repository's root, and the pages that show them."""
_LINK = re.compile(r"\[([^\]]*)\]\(((?!\w+:)[^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Every decision into the navigation, behind their list."""
    for entry in config.nav:
        for inner in entry.get("Project", ()):
            if "Decisions" in inner:
                inner["Decisions"] += [
                    f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("[0-9]*.md"))
                ]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as the site shows it; on its own it can be read on a code host."""
    return shown(markdown, DOCS / page.file.src_uri)


def on_post_page(output: str, **_: Any) -> str:
    """The search dialog gets the name that screen readers tell; the theme gives it none."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def shown(text: str, path: Path) -> str:
    """``text``, the page ``path``, with what is generated, and with links that stay inside the docs.

    Raises:
        ValueError: a link leads to no file.
    """
    text = filled(text, {name: part(name) for name in named(text, "generated")}, "generated")
    text = re.sub(r"^<!-- .*? -->\n", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    return _LINK.sub(lambda link: _inside(link, path), re.sub(r"<!-- .*? -->", "", text))


def _inside(link: re.Match[str], path: Path) -> str:
    """A link to a file outside of the docs: to the page that shows it, or its words alone."""
    words, target, anchor = link.groups()
    file = (path.parent / target).resolve()
    if not file.exists():
        raise ValueError(f"{path.relative_to(ROOT)}: no file {target}")
    if file in PAGES:
        return f"[{words}]({relpath(PAGES[file], path.parent)}{anchor or ''})"
    return link[0] if file.is_relative_to(DOCS) else words
