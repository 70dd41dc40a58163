"""Measured designs: the file, the factors that follow from it, and the budgets that plans keep to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.graphs import mlp
from toolchain.boards import list_boards, load_board
from toolchain.errors import UserError
from toolchain.flow.choice import choose
from toolchain.flow.options import Search, planned_board, prepared_board
from toolchain.flow.progress import silent
from toolchain.flow.rows import COLUMNS, MeasuredRow, affordable, factors, read_rows, told, with_row, write_rows
from toolchain.flow.tables import rows_lines
from toolchain.ir.store import save


def row(design: str, architecture: str = "streaming", **ratios: float) -> MeasuredRow:
    """A design of 1,000 of everything by the estimate, of which ``ratios`` were measured."""
    measured = {kind: 1000 * ratio for kind, ratio in ratios.items()}
    return MeasuredRow(design, "zu3eg", architecture, 250.0, "2024.1", dict.fromkeys(measured, 1000.0), measured)


def test_a_file_gives_back_the_rows_written_to_it_and_a_design_has_one(tmp_path: Path) -> None:
    path, shared = tmp_path / "rows.csv", tmp_path / "shared.csv"
    path.symlink_to(shared)
    first, other, again = row("a_1", lut=1.25, fps=0.5), row("b,2", "engine", ff=2), row("a_1", dsp=1)
    write_rows(path, with_row(path, first))
    write_rows(path, with_row(path, other))
    assert read_rows(path) == (first, other)
    assert with_row(path, again) == (other, again)
    assert read_rows(path) == read_rows(shared) == (first, other)  # which wrote nothing


def test_factors_are_geometric_means_of_the_architectures_own_rows() -> None:
    """Twice and half cancel out; what was not measured, or estimated as nothing, tells nothing."""
    nothing = MeasuredRow("d", "zu3eg", "streaming", 250.0, "", {"uram": 0.0, "dsp": 7.0}, {"uram": 3.0})
    rows = [row("a", lut=2, ff=3), row("b", lut=0.5), row("c", "engine", lut=9, bram18=1.1), nothing]
    assert factors(rows, "streaming") == pytest.approx({"lut": 1.0, "ff": 3.0})
    assert factors(rows, "engine") == pytest.approx({"lut": 9.0, "bram18": 1.1})
    assert told(rows[:2], "engine") == "no measured engine designs"
    assert told(rows, "engine") == "1 measured engine design, measured over estimated: LUT × 9, BRAM18 × 1.1"


@pytest.mark.parametrize("board", list_boards())
def test_a_planned_budget_is_the_boards_over_the_factors_to_the_unit(board: str) -> None:
    """Estimates that fill it take the board's budget, whatever the rounding; with no row nothing changes."""
    rows = (row("a", lut=1.1, ff=0.7, dsp=1.3, bram18=1.01, uram=1.7),)
    budget = load_board(board).budget
    assert planned_board(Search(board, rows=rows), "streaming").budget == affordable(budget, rows, "streaming")
    assert planned_board(Search(board), "streaming") == prepared_board(Search(board))
    for count in range(1, 60):
        ratio = (row("a", lut=count / 7),)
        assert planned_board(Search(board, rows=ratio), "streaming").budget.lut == int(budget.lut * 7 / count + 1e-6)


def test_a_design_that_took_more_than_its_estimate_makes_the_next_plan_smaller(tmp_path: Path) -> None:
    network = save(mlp(), tmp_path, source_digest="0")
    board, alone = load_board("zu3eg"), choose(network, Search(architecture="streaming"), silent).design.resources
    share = (1.75 * alone.lut + board.shell.lut) / board.device.lut  # room for it, but not for twice as much
    search = Search(architecture="streaming", budget={"lut": share})
    plain = choose(network, search, silent)
    rows = (row("a", lut=2.0),)
    planned = choose(network, replace(search, rows=rows), silent)
    assert plain.design.resources == alone
    assert planned.design.resources.lut * 2 <= prepared_board(search).budget.lut < alone.lut * 2
    assert planned.design.fps < plain.design.fps
    assert planned.notes == ("planned by 1 measured streaming design, measured over estimated: LUT × 2",)
    told_once = ["Planned by no measured engine designs", f"P{planned.notes[0][1:]}"]
    assert rows_lines(Search(rows=rows), ["streaming", "engine", "streaming"]) == told_once
    assert rows_lines(search, ["streaming"]) == []


HINT = "give a file that 'fpgaflow measure --rows' wrote"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, f"cannot read PATH: No such file or directory; {HINT}"),
        (b"\xff\xfe", f"no measured designs [PATH]; {HINT}"),
        (b"design,lut\na,3\n", f"no measured designs: its columns are others [PATH]; {HINT}"),
        (b"", f"no measured designs: its columns are others [PATH]; {HINT}"),
        (
            b"a,zu3eg,streaming,250,2024.1,-3,,,,,,,,,,,\n",
            "bad value for 'estimated_lut': -3 [PATH, line 2]; write a number of at least 0",
        ),
        (
            b"a,zu3eg,streaming,fast,2024.1,3,,,,,,,,,,,\n",
            "bad value for 'clock_mhz': fast [PATH, line 2]; write a number of at least 0",
        ),
        (
            b"a,zu3eg,streaming,250,2024.1,1000,12",
            "the line has fewer than 17 cells [PATH, line 2]; write it as the lines above it, or remove it",
        ),
        (
            b"a,zu3eg,streaming,250,2024.1,1000,1250,5,,,,,,,,,,\n",
            "the line has more than 17 cells [PATH, line 2]; write it as the lines above it, or remove it",
        ),
    ],
)
def test_a_file_that_holds_no_rows_is_refused(text: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    if text is not None:
        header = ",".join(COLUMNS).encode() + b"\n" if text.startswith(b"a,") else b""
        path.write_bytes(header + text)
    with pytest.raises(UserError) as error:
        read_rows(path)
    assert str(error.value) == message.replace("PATH", str(path))
