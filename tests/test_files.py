"""Files and folders appear whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain import files
from toolchain.errors import UserError
from toolchain.files import create_files, replace_folder, write_bytes, write_files, written_as


@pytest.fixture
def umask() -> Iterator[None]:
    """A group that may write."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_and_folders_have_the_permissions_of_the_umask(umask: None, tmp_path: Path) -> None:
    with replace_folder(tmp_path / "b") as folder:
        write_files({"src/top.cpp": "int main() {}", "memory.bin": b"\x00\xff"}, folder)

    assert [mode(tmp_path / "b" / name) for name in ("src/top.cpp", "memory.bin")] == [0o664, 0o664]
    assert [mode(tmp_path / name) for name in ("b", "b/src")] == [0o775, 0o775]
    assert (tmp_path / "b" / "memory.bin").read_bytes() == b"\x00\xff"


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left on device") as error:
        write_bytes(tmp_path / "a", b"new")

    assert error.value.filename == str(tmp_path / "a")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_a_folder_in_the_place_of_a_file_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_bytes(tmp_path / "report.json", b"{}")
    assert error.value.filename == str(tmp_path / "report.json")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole_or_not_at_all(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file system cannot exchange two folders, and through a link, which stays."""
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    for text in ("first", "second"):
        with replace_folder(link) as folder:
            (folder / text).write_text(text)
    with pytest.raises(KeyboardInterrupt), replace_folder(link) as folder:
        (folder / "third").write_text("half")
        raise KeyboardInterrupt

    assert [path.name for path in real.iterdir()] == ["second"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"] and link.is_symlink()


def test_the_folder_that_the_process_runs_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b" / "hls").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b" / "hls")
    for target in ("", ".."):
        message = r"^/\S+ is replaced as a whole, and the command runs in it; run it from another folder$"
        with pytest.raises(UserError, match=message), replace_folder(Path(target)):
            pass
    monkeypatch.chdir(tmp_path / "b")
    with replace_folder(Path("hls")) as folder:
        (folder / "new").touch()
    assert [path.name for path in Path("hls").iterdir()] == ["new"]


def test_what_a_kill_left_behind_is_cleared_and_of_other_folders_kept(tmp_path: Path) -> None:
    """Killed between the two renames, the old folder is put back before anything else."""
    mine = [".b.partial", ".b.12-0123abcd.partial"]
    others = [".b.c.12-0123abcd.partial", ".b.c.old", ".bb.partial"]
    for name in (*mine, *others, ".b.old"):
        (tmp_path / name).mkdir()
    (tmp_path / ".b.old" / "kept").write_text("x")
    with pytest.raises(OSError, match="full"), replace_folder(tmp_path / "b"):
        raise OSError("full")

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "b"])
    assert (tmp_path / "b" / "kept").read_text() == "x"


def test_what_editors_and_copies_keep_beside_a_file_is_not_what_a_kill_left() -> None:
    left = [".plan.json.812-0a1b2c3d", ".b.812-0a1b2c3d.partial", ".b.c.partial", ".hls4ml.x_1a2b3c.partial", ".b.old"]
    assert [*map(written_as, left)] == ["plan.json", "b", "b.c", "hls4ml", "b"]
    others = (".plan.json.swp", ".run.toml.kate-swp", ".b.lock", ".model.pt.Xy12ab", ".gitignore", "b.old", ".old")
    assert not any(map(written_as, others))


def test_a_folder_is_emptied_where_it_stands_and_what_its_links_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for path in ("real/a", "real/sub/b", "other/c"):
        (tmp_path / path).touch()
    (tmp_path / "real" / "to other").symlink_to(tmp_path / "other")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.empty(tmp_path / "link")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["link", "other", "other/c", "real"]


def test_new_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    create_files({"a.txt": "a", "b/c/d.txt": "d"}, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "a" and (tmp_path / "b" / "c" / "d.txt").read_text() == "d"
    with pytest.raises(FileExistsError):
        create_files({"e/f.txt": "new", "a.txt": "new"}, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "a"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b", "c", "d.txt"]
