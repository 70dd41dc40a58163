"""The texts: they build into a site without a warning, quote no figure and no message that nobody checks."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.markdown import named, without
from docgen.code import messages
from docgen.flow import FIGURE, flow_svg
from docgen.hooks import shown
from docgen.pages import PARTS, ROOT, part
from docgen.records import _comments, _models
from toolchain.boards import load_board
from toolchain.config.run import RunConfig

DOCS = ROOT / "docs"
README_BYTES = 8192
FIGURES = re.compile(
    r"\d[\d,.]*\s?(?:%|x\b(?! \d)|fps\b|LUTs?\b|DSP\b|BRAM|ms\b|MB\b|MiB\b|points\b|GB/s of)|\d{1,3},\d{3}"
)
"""Numbers that a benchmark gives."""
STATED = {"docs/results.md": ["3.2 GB/s of"], "docs/tutorials/digits.md": ["10,000"]}
"""Figures that are conditions of a measurement, or asked for."""


def test_the_site_builds_without_a_warning_and_is_searched_without_a_server(tmp_path: Path) -> None:
    """A link or an anchor that leads nowhere is a warning, and so is a page that the navigation lacks."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {doc["location"].partition("#")[0] for doc in index["docs"] if "--target-fps" in doc["text"]}
    assert {"reference/commands.html", "start.html"} <= found
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert [path for path, text in pages.items() if re.search(r'(?:src|<link[^>]*href)="(?:https?:)?//', text)] == []


def test_every_generated_part_stands_on_one_page() -> None:
    found = [name for path in DOCS.rglob("*.md") for name in named(path.read_text(encoding="utf-8"), "generated")]
    assert sorted(found) == sorted(PARTS)


def test_generated_parts_tell_what_the_code_has() -> None:
    assert "## export\n" in part("commands") and "| `--target-fps` |" in part("commands")
    assert re.search(r"\| `epochs` \| whole number, from 1 \| `10` \|", part("run_file"))
    assert "### `[[stage]]`" in part("run_file") and "| `first_deviation` | text |  |" in part("report_file")
    assert "| `device.lut` | 70,560 |" in part("boards") and "board: str = 'zu3eg'" in part("python")


def test_a_link_out_of_the_docs_leads_to_the_page_of_that_text_or_is_left_out() -> None:
    page = DOCS / "how" / "ir.md"
    assert shown("[c](../../CONTRIBUTING.md#an-operation)", page) == "[c](../project/contributing.md#an-operation)"
    assert shown("[e](../../examples/tone.toml), [i](index.md)", page) == "e, [i](index.md)"
    with pytest.raises(ValueError, match=r"^docs/how/ir\.md: no file \.\./none\.md$"):
        shown("[n](../none.md)", page)


def test_the_board_of_ones_own_is_read_as_the_page_writes_it(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"```toml\n(.*?)```", (DOCS / "reference" / "boards.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "board.toml").write_text(text, encoding="utf-8")
    board = load_board(str(tmp_path))
    assert (board.title, board.memory.sustained_bytes_per_second) == ("Our carrier", 12e9)
    assert board.device == load_board("kv260").device


def test_links_of_the_texts_beside_the_docs_lead_to_files() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_every_figure_is_generated() -> None:
    found = {}
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = re.sub(r"`[^`]*`|```.*?```", "", without(path.read_text(encoding="utf-8")), flags=re.DOTALL)
        if path.parent.name != "decisions" and (figures := FIGURES.findall(text)):
            found[str(path.relative_to(ROOT))] = figures
    assert found == STATED


def test_every_decision_has_a_number_of_its_own() -> None:
    names = [path.name for path in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        title = (DOCS / "decisions" / name).read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {int(name[:4])}. "), title


def test_messages_are_quoted_as_the_code_words_them() -> None:
    known = messages()
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## All messages")[0]
    quoted = re.findall(r"^(?:\| |- )`((?!fpgaflow)[^`]+)`", page, flags=re.MULTILINE)
    assert len(quoted) > 15
    assert [text for text in quoted if text.rstrip("… :") not in known] == []


def test_the_picture_of_the_flow_is_drawn_by_its_script() -> None:
    assert FIGURE.read_text(encoding="utf-8") == flow_svg()


def test_no_comment_behind_a_key_is_lost_in_the_tables() -> None:
    """They are read line by line: behind a field of several lines none is found."""
    for model, _, _ in _models(RunConfig, "toml"):
        told = _comments(model)
        for key in model.model_fields:
            field = re.search(rf"^    {key}: .*\(\n(?:     .*\n)*", inspect.getsource(model), re.MULTILINE)
            assert key in told or field is None or "  # " not in field[0], f"{model.__name__}.{key}"
