"""The setting --memory and the batches that follow from it."""

from __future__ import annotations

import pytest

from toolchain.cli import main
from toolchain.cli.options import check_of
from toolchain.errors import UserError
from toolchain.memory import RESERVED, Memory, parse_memory, spans


@pytest.mark.parametrize(
    ("text", "total"), [("2G", 2 * 10**9), ("1500M", 1500 * 10**6), ("2.5gb", 25 * 10**8), (" 1T ", 10**12)]
)
def test_sizes_have_decimal_units(text, total):
    """G is 10**9 bytes, so that 2G is never more than what a machine calls 2 GB."""
    assert parse_memory(text) == Memory(total)


@pytest.mark.parametrize("text", ["", "2", "G", "-2G", "2K", "2G5", "1e9", "٢G", "nanG"])
def test_a_malformed_size_is_refused_in_one_line(text):
    """The line repeats what was typed and shows a right one."""
    with pytest.raises(UserError, match="^--memory .*expected a size; for example --memory 2G"):
        parse_memory(text)


def test_too_little_for_the_program_itself_is_refused():
    """The line says where the least lies."""
    with pytest.raises(UserError, match=r"^--memory 999M is too small: .* 1\.0 GB$"):
        parse_memory("999M")


def test_frames_fill_the_room_and_no_more():
    """At least one frame, at most what is asked for; what does not fit says how much it wants."""
    memory = Memory(RESERVED + 1000)

    assert [memory.frames(n, "it", 64) for n in (1, 15, 100, 501, 1000)] == [64, 64, 10, 1, 1]
    with pytest.raises(UserError, match=r"^the test wants 700 MB of memory .* --memory allows 700 MB; give --memory"):
        memory.frames(1001, "the test", 64)


def test_spans_cover_every_frame_once():
    """The last one is shorter."""
    assert list(spans(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(spans(0, 3)) == []


def test_the_command_line_hands_it_on() -> None:
    assert check_of(None, None, None, 8, 8, 1, "1500M").memory == Memory(1_500_000_000)


@pytest.mark.parametrize(("given", "wrong"), [("abc", "expected a size"), ("100M", "is too small")])
def test_a_wrong_one_is_refused_before_anything_is_read(given: str, wrong: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["fpgaflow", "export", "no-such-file.onnx", "--memory", given])
    with pytest.raises(SystemExit) as stop:
        main()

    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fpgaflow: --memory {given}") and wrong in error
