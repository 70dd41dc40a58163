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
    board, own, found = load_board(name), name, set()
    while own:
        table = tomllib.loads((data_path("boards") / own / "board.toml").read_text())
        own = table.pop("extends", None)
        found |= numbers(table)

    assert set(board.sources) == found
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


@pytest.mark.parametrize(("share", "slices"), [(0.7, 252), (0.55, 198), (0.35, 126), (0.699, 251)])
def test_a_share_that_makes_whole_slices_allows_all_of_them(share: float, slices: int) -> None:
    """In float64 0.7 * 360 is less than 252."""
    board = load_board("zu3eg")
    planning = board.planning.model_copy(update={"dsp": share})

    assert board.model_copy(update={"planning": planning}).budget.dsp == slices


def test_a_slice_is_worth_the_luts_that_the_die_has_for_each(tmp_path: Path) -> None:
    """Without a slice it is worth all of them, and never less than one."""
    text = (data_path("boards") / "kv260" / "board.toml").read_text()
    (tmp_path / "board.toml").write_text(text.replace("dsp = { value = 1248", "dsp = { value = 0"))

    assert [load_board(name).lut_per_dsp for name in ("zu3eg", "kv260", "zcu104")] == [196, 94, 133]
    assert read_board(tmp_path / "board.toml").lut_per_dsp == 117120


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
        (
            "value = 70560, ",
            "value = 20000000000, ",
            "bad value for 'device.lut': Input should be less than or equal to 1000000000, got 20000000000 [PATH]",
        ),
        (
            "port_bits = { value = 128",
            "port_bits = { value = 96",
            "bad value for 'memory.port_bits': Input should be 32, 64 or 128, got 96 [PATH]",
        ),
        (
            "default_mhz = { value = 250.0",
            "default_mhz = { value = inf",
            "bad value for 'clock.default_mhz': Input should be a finite number, got inf [PATH]",
        ),
        (
            "default_mhz = { value = 250.0",
            "default_mhz = { value = 0.5",
            "bad value for 'clock.default_mhz': Input should be greater than or equal to 1, got 0.5 [PATH]",
        ),
    ],
)
def test_a_mistake_in_a_board_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Misspelt, missing, unsourced and impossible entries."""
    path = edited(tmp_path, old, new)

    with pytest.raises(UserError) as error:
        read_board(path)

    assert str(error.value) == message.replace("PATH", str(path))


@pytest.mark.parametrize(
    ("name", "part", "totals", "bytes_per_second"),
    [
        ("ultra96v2", "xczu3eg-sbva484-1-i", Resources(70560, 141120, 360, 432), 4.264e9),
        ("aup-zu3-8gb", "xczu3eg-sfvc784-2-e", Resources(70560, 141120, 360, 432), 9.6e9),
        ("aup-zu3-4gb", "xczu3eg-sfvc784-2-e", Resources(70560, 141120, 360, 432), 9.6e9),
        ("kv260", "xck26-sfvc784-2LV-c", Resources(117120, 234240, 1248, 288, 64), 16e9),
        ("zcu104", "xczu7ev-ffvc1156-2-e", Resources(230400, 460800, 1728, 624, 96), 16e9),
    ],
)
def test_a_board_has_its_data_sheets_totals(name: str, part: str, totals: Resources, bytes_per_second: float) -> None:
    """At 250 MHz the four ports, 16 GB/s, limit the two boards with 64 wires to DDR4."""
    board = load_board(name)

    assert (board.name, board.part, board.totals) == (name, part, totals)
    assert board.bytes_per_second(250.0) == bytes_per_second


def own(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "myboard"
    folder.mkdir()
    (folder / "board.toml").write_text(text)
    return folder


def test_a_folder_is_a_board_and_says_only_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is that of the board it extends, source by source; its name is the path, which holds from anywhere."""
    folder = own(
        tmp_path,
        'extends = "kv260"\ntitle = "mine"\n[planning]\nlut = { value = 0.5, source = "half" }\n',
    )
    monkeypatch.chdir(tmp_path)
    board, base = load_board("./myboard"), load_board("kv260")

    assert board == load_board(board.name) == load_board(str(folder))
    assert (board.title, board.planning.lut, board.sources["planning.lut"]) == ("mine", 0.5, "half")
    assert board.planning.dsp == base.planning.dsp and board.device == base.device
    assert board.sources == base.sources | {"planning.lut": "half"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "kv26"', "it extends an unknown board 'kv26' [PATH]; did you mean 'kv260'?"),
        ('extends = "kv260"\n[device]\nluts = 3', "unknown key 'device.luts' [PATH]; did you mean 'device.lut'?"),
        ('title = "mine"', "key 'part' is missing [PATH]"),
        ("title = mine", "not valid TOML: Invalid value (at line 1, column 9) [PATH]"),
    ],
)
def test_a_mistake_in_ones_own_folder_is_named(text: str, message: str, tmp_path: Path) -> None:
    folder = own(tmp_path, text)

    with pytest.raises(UserError) as error:
        load_board(str(folder))

    assert str(error.value) == message.replace("PATH", str(folder / "board.toml"))


def test_a_folder_without_a_board_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_board(str(tmp_path))

    assert str(error.value) == f"no board.toml in the folder {tmp_path}; or name a board: {', '.join(list_boards())}"


def test_boards_that_extend_each_other_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "board.toml").write_text(f'extends = "{base}"')
    monkeypatch.setattr("toolchain.boards.data_path", lambda _: tmp_path)

    with pytest.raises(UserError) as error:
        load_board("a")

    assert str(error.value) == f"it extends 'a', which extends it [{tmp_path}/b/board.toml]"
