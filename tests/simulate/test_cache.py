"""The cache of compiled simulations keeps to its size, and nothing goes that a process works with."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
from pathlib import Path

import pytest

from toolchain.cli import main
from toolchain.errors import UserError
from toolchain.flow.machine import examine
from toolchain.simulate import cache
from toolchain.train import places

CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path))
    return tmp_path / "csim"


def fill(folder: Path) -> None:
    """Six entries of 1 MB, one of them a folder, used one after the other; and what a killed compiler left behind."""
    for i, name in enumerate(("lib/a.so", "lint/b.pch", "sim/c/prefix.hpp", "lib/d.so", "lib/e.so", "obj/f.o")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(10**6 if "c/" not in name else 10**6 - (folder / "sim" / "c").stat().st_size))
        os.utime(folder / "sim" / "c" if "c/" in name else folder / name, (i, i))
    (folder / "build-xyz").mkdir()
    (folder / "build-xyz" / "half.cpp").write_text("x")


def names(folder: Path) -> set[str]:
    return {path.name for part in ("lib", "obj", "sim", "lint") for path in (folder / part).iterdir()}


def test_what_was_used_longest_ago_goes_first(folder: Path) -> None:
    fill(folder)
    cache.touch(folder / "lib" / "a.so")
    assert [entry.path.name for entry in cache.entries()] == ["a.so", "f.o", "e.so", "d.so", "c", "b.pch"]
    assert {entry.size for entry in cache.entries()} == {10**6}
    assert cache.prune(3 * 10**6) == 3 * 10**6
    assert names(folder) == {"a.so", "f.o", "e.so"} and not (folder / "build-xyz").exists()


def test_a_library_that_exceeds_the_limit_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To three quarters of it, so that the next one has room; a cache that was only read is not looked through."""
    fill(folder)
    monkeypatch.setenv("FPGAFLOW_CACHE_SIZE", "4M")
    with cache.in_use():
        pass
    assert len(names(folder)) == 6
    with cache.in_use():
        (folder / "lib" / "g.so").write_bytes(bytes(10**6))
    assert names(folder) == {"g.so", "f.o", "e.so"}


def _prune(answer: Path) -> None:
    answer.write_text(json.dumps(cache.prune(0)))


def test_nothing_is_removed_while_another_process_works_with_it(folder: Path, tmp_path: Path) -> None:
    fill(folder)
    for expected in (None, 6 * 10**6):
        process = CONTEXT.Process(target=_prune, args=(tmp_path / "answer",))
        if expected is None:
            with cache.in_use(), cache.in_use():
                process.start()
                process.join()
        else:
            process.start()
            process.join()
        assert json.loads((tmp_path / "answer").read_text()) == expected


def test_the_command_tells_and_cuts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(folder)
    told = []
    for arguments in ([], ["--limit", "2M"], ["--clear"], []):
        monkeypatch.setattr("sys.argv", ["fpgaflow", "cache", *arguments])
        with pytest.raises(SystemExit):
            main()
        told.append(capsys.readouterr().out.replace(str(folder), "CACHE"))
    assert told == [
        "6 entries, 6 MB of 2.0 GB at most; in CACHE\n",
        "removed 4 MB; 2 entries, 2 MB of 2.0 GB at most; in CACHE\n",
        "removed 2 MB; 0 entries, 0 MB of 2.0 GB at most; in CACHE\n",
        "0 entries, 0 MB of 2.0 GB at most; in CACHE\n",
    ]


def test_a_limit_that_is_no_size_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPGAFLOW_CACHE_SIZE", "much")
    with pytest.raises(UserError, match="^FPGAFLOW_CACHE_SIZE much: expected a size; for example"), cache.in_use():
        raise AssertionError


def test_a_cache_that_cannot_be_written_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    fill(folder)
    monkeypatch.setattr(os, "open", denied)
    with cache.in_use():
        assert (folder / "lib" / "a.so").is_file()


def test_a_relative_cache_and_one_below_home_are_folders_that_compilers_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compilers work in folders of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for root, expected in (("mine", "mine"), ("~/mine", "home/mine"), ("", "home/.cache/fpgaflow")):
        monkeypatch.setenv("FPGAFLOW_CACHE", root)
        assert cache.cache_folder() == tmp_path / expected / "csim"


def test_a_cache_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "mine"
    monkeypatch.setenv("FPGAFLOW_CACHE", str(root))
    said = f"the cache cannot be made: Not a directory [{root}/csim]; set FPGAFLOW_CACHE to a folder"
    for arguments in ([], ["--clear"]):
        monkeypatch.setattr("sys.argv", ["fpgaflow", "cache", *arguments])
        with pytest.raises(SystemExit, match="^2$"):
            main()
        assert capsys.readouterr().err == f"fpgaflow: {said}\n"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"), cache.in_use():
        raise AssertionError


def test_a_user_whose_home_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container's user without a name: a folder called ~ appeared where the command ran."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "FPGAFLOW_CACHE", "XDG_CACHE_HOME", places.DATA_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654321)
    with pytest.raises(UserError, match=r"^nobody knows what home ~/\.cache/fpgaflow is in; set HOME to a folder$"):
        cache.cache_folder()
    with pytest.raises(UserError, match=r"^nobody knows what home ~/\.cache is in; set HOME to a folder$"):
        places.cache_folder()
    assert places.searched(tmp_path) == [tmp_path]
    (found,) = [each for each in examine() if each.thing == "cache"]
    assert found.fatal and found.found == "nobody knows what home ~/.cache/fpgaflow is in"
