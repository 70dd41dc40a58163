"""What is shown where there is no terminal: lines in place of bars, and columns enough for a table."""

from __future__ import annotations

import re

import pytest

from toolchain.terminal import WIDTH, console, progress


def test_progress_without_a_terminal_is_a_line_a_stage_that_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        for done in range(3):
            tell("simulate", done, 2)
        tell("report", 0, 1)
    assert re.fullmatch(r"simulate 2/2, \d+\.\d s\n", capsys.readouterr().err)


def test_what_is_no_terminal_has_120_columns_or_those_that_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == WIDTH == 120
    monkeypatch.setenv("COLUMNS", "77")
    assert console().width == 77
