"""The command: a table and the exit code."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.hls_lint.clean import FILES, changed
from toolchain.cli import app
from toolchain.errors import UserError
from toolchain.files import write_files
from toolchain.hls_lint.lint import RULES, lint_folder

pytestmark = pytest.mark.needs_gxx

FAULTY = changed(("        at = at + 1;\n", "        at = at + n / frames;\n"))


def test_a_clean_build_is_told_so_and_exits_with_0(tmp_path):
    write_files(FILES, tmp_path / "hls")
    done = CliRunner().invoke(app, ["lint", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (0, f"{len(RULES)} rules kept\n")


def test_a_finding_is_a_row_and_exits_with_3(tmp_path):
    write_files(FAULTY, tmp_path)
    done = CliRunner().invoke(app, ["lint", str(tmp_path)], env={"COLUMNS": "160"})
    line = FAULTY["src/top.cpp"].splitlines().index("        at = at + n / frames;") + 1
    (row,) = [text for text in done.stdout.splitlines() if "quotient" in text]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["division", "unit", f"src/top.cpp:{line}", "a quotient of s32 by a value of run time"]
    assert done.stdout.endswith(
        "division: Nothing is divided at run time but by a constant power of two.\n1 finding of 1 rules\n"
    )
    assert done.exit_code == 3


def test_distances_are_a_table_of_their_own(tmp_path):
    write_files(FILES, tmp_path)
    done = CliRunner().invoke(app, ["lint", "--distances", str(tmp_path)], env={"COLUMNS": "160"})
    (row,) = [text for text in done.stdout.splitlines() if "kept" in text and "rules" not in text]
    assert [cell.strip() for cell in row.strip("│").split("│")][::3] == ["kept", "16"]


def test_a_folder_that_is_no_build_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^no HLS project \[.*\]; name the folder that fpgaflow export wrote$"):
        lint_folder(tmp_path)
