"""What is shown where there is no terminal: lines in place of bars, and columns enough for a table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.table import Table

from toolchain.terminal import WIDTH, console, progress
from toolchain.train.summary import summary


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


ODD = "a[v2] [/q] :smile: [red]"


def test_texts_are_printed_as_they_are_in_lines_and_in_cells(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(ODD, title=ODD)
    table.add_row(ODD)
    console().print(ODD)
    console().print(table)
    assert capsys.readouterr().out.count(ODD) == 4


def test_the_summary_of_a_run_names_data_and_folder_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("my x[red]")
    folder.mkdir()
    numbers = dict.fromkeys(("weight_bits", "act_bits", "params", "macs", "epochs", "seconds"), 4)
    nothing = dict.fromkeys(("top1", "float_top1", "qonnx_top1"))
    said = {"data": f"npy:{ODD}", "model": "net", **numbers, **nothing}
    (folder / "metrics.json").write_text(json.dumps(said))
    console().print(summary(folder))
    printed = capsys.readouterr().out
    assert f"npy:{ODD}, 4 epochs, 4 s" in printed and "fpgaflow quantize 'my x[red]' --weights 8 --acts 8" in printed
    (folder / "model.onnx").touch()
    for bits, command in ((4, "fpgaflow export"), (32, "set quant.act_bits to 8 or less: no unit computes on float")):
        (folder / "metrics.json").write_text(json.dumps(said | {"act_bits": bits}))
        console().print(summary(folder))
        assert command in capsys.readouterr().out


def test_progress_on_a_terminal_names_a_stage_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with progress() as tell:
        tell(ODD, 1, 1)
    assert ODD in capsys.readouterr().err
