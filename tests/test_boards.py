"""Boards: every folder loads, every number has a source, every mistake is named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from toolchain.boards import list_boards, load_board, read_board
from toolchain.errors import UserError
from toolchain.paths import data_path
from toolchain.resources import Resources


def numbers(table: dict, prefix: str = "") -> set[str]:
    """Dotted names of all numbers of a parsed board file."""
    found = set()
    for key, entry in table.items():
        if isinstance(entry, dict) and "value" not in entry:
            found |= numbers(entry, f"{prefix}{key}.")
        elif isinstance(entry, dict) or not isinstance(entry, (str, list)):
            found.add(prefix + key)
    return found


@pytest.mark.parametrize("name", list_boards())
def test_every_number_of_a_board_has_a_source(name: str) -> None:
    """The sources cover the file's numbers exactly, and none is empty."""
    board = load_board(name)
    table = tomllib.loads((data_path("boards") / name / "board.toml").read_text())

    assert set(board.sources) == numbers(table)
    assert all(board.sources.values())


@pytest.mark.parametrize("name", list_boards())
def test_a_budget_stays_below_the_device(name: str) -> None:
    """The planned part is positive in LUTs and never more than the device holds."""
    board = load_board(name)

    assert Resources(lut=1).fits(board.budget)
    assert board.budget.fits(board.totals)


def test_the_zu3eg_has_the_data_sheet_totals() -> None:
    """The totals that other tools ship wrong."""
    board = load_board("zu3eg")

    assert board.totals == Resources(70560, 141120, 360, 432)
    assert board.budget == Resources(50803 - 10000, 70560 - 15000, 360, 410)
    assert board.device.lutram_lut == 28800
    assert board.device.uram == 0


def test_the_slower_of_memory_and_ports_limits_the_bandwidth() -> None:
    """At 250 MHz the LPDDR4 does, at 10 MHz the four 128-bit ports do."""
    board = load_board("zu3eg")

    assert board.bytes_per_second(250.0) == 4.264e9
    assert board.bytes_per_second(10.0) == 4 * 16 * 10e6


def test_an_unknown_board_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        load_board("zu3ge")

    assert str(error.value) == "unknown board 'zu3ge'; did you mean 'zu3eg'?"


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = (data_path("boards") / "zu3eg" / "board.toml").read_text()
    assert old in text
    path = tmp_path / "board.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "\nff = { value = 141120",
            "\nfff = { value = 141120",
            "unknown key 'device.fff' [PATH]; did you mean 'device.ff'?",
        ),
        ("[clock]", "[clocks]", "unknown key 'clocks' [PATH]; did you mean 'clock'?"),
        ('part = "xczu3eg-sbva484-1-i"\n', "", "key 'part' is missing [PATH]"),
        (
            "value = 70560, ",
            "value = 0.5, ",
            "bad value for 'device.lut': Input should be a valid integer, got 0.5 [PATH]",
        ),
        (
            'uram = { value = 0, source = "AMD DS891: the ZU3EG has no UltraRAM" }',
            "uram = 0",
            "bad value for 'device.uram': write it as { value = NUMBER, source = \"DOCUMENT\" }, got 0 [PATH]",
        ),
    ],
)
def test_a_mistake_in_a_board_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Misspelt, missing, negative and unsourced entries."""
    path = edited(tmp_path, old, new)

    with pytest.raises(UserError) as error:
        read_board(path)

    assert str(error.value) == message.replace("PATH", str(path))
