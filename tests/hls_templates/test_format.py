"""The C++ has one form, written by hand or generated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cpp_format import ROOT, formatted, sources
from toolchain.hls_templates.render import broken


def test_the_cpp_is_as_clang_format_has_it() -> None:
    """``make format`` changes nothing; the golden files of what is generated are among the sources."""
    files = sources()
    assert len(files) > 60
    assert [str(p.relative_to(ROOT)) for p in files if formatted(p) != p.read_text(encoding="utf-8")] == []


def test_pragmas_are_left_alone(tmp_path: Path) -> None:
    """Only what stands around them is formatted."""
    path = tmp_path / "one.hpp"
    path.write_text("int  f( int x ) {\n#pragma HLS PIPELINE II=1 \\\n    style=flp\nreturn  x;\n}\n")

    assert formatted(path) == "int f(int x) {\n#pragma HLS PIPELINE II=1 \\\n    style=flp\n    return x;\n}\n"


@pytest.mark.parametrize("arguments", [1, 2, 5])
@pytest.mark.parametrize("letters", [1, 20, 40, 60])
def test_a_generated_head_breaks_as_clang_format_has_it(tmp_path: Path, letters: int, arguments: int) -> None:
    """Lines start behind the parenthesis."""
    kinds = [f"hls::stream<fpgaflow::Lanes<ap_uint<4>, {i}>>& in_{i}" for i in range(arguments)]
    path = tmp_path / "one.hpp"
    path.write_text(broken(f"void {'n' * letters}({', '.join(kinds)}, int frames);") + "\n")

    assert formatted(path) == path.read_text()


def test_arguments_that_do_not_fit_behind_the_parenthesis_start_in_the_next_line() -> None:
    """A name of 110 columns leaves no room."""
    name = "n" * 110
    assert broken(f"    {name}(first_argument, frames);") == f"    {name}(\n        first_argument, frames);"
