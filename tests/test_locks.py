"""One process at a time in a folder; a dead one holds nothing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from toolchain.errors import UserError
from toolchain.locks import locked

CONTEXT = multiprocessing.get_context("forkserver")


def hold(folder: Path) -> None:
    """Keep the lock until the process is killed."""
    with locked(folder, "export"):
        (folder.parent / "held").touch()
        time.sleep(60)


def append(folder: Path) -> None:
    """Change a file in two steps that another process would tear apart."""
    for _ in range(20):
        with locked(folder, "export"):
            path = folder.parent / "log"
            before = path.read_text() if path.exists() else ""
            time.sleep(0.001)
            path.write_text(f"{before}{os.getpid()}\n")


def held_elsewhere(folder: Path) -> multiprocessing.process.BaseProcess:
    """A process that holds the lock of ``folder``."""
    process = CONTEXT.Process(target=hold, args=(folder,))
    process.start()
    while not (folder.parent / "held").exists():
        time.sleep(0.01)
    return process


def test_the_second_is_told_who_works_there_and_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path / "b")
    with pytest.raises(UserError) as error, locked(tmp_path / "b", "report", wait=0):
        raise AssertionError("both are in")
    holder = rf"'export', process {process.pid} on {re.escape(socket.gethostname())} since \S+"
    assert re.fullmatch(rf"\S+/b is in use by {holder}; wait for it, or end it", str(error.value))

    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (tmp_path / ".b.lock").exists()
    with locked(tmp_path / "b", "report", wait=0):
        assert json.loads((tmp_path / ".b.lock").read_text())["process"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_the_second_waits_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = held_elsewhere(tmp_path / "b")
    threading.Timer(0.5, process.kill).start()
    with locked(tmp_path / "b", "report", wait=30):
        pass
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(rf"waiting for 'export', process {process.pid} on .*, which works in \S+/b", line)


def test_four_processes_never_meet(tmp_path: Path) -> None:
    """Also while the one before removes the file of the lock."""
    processes = [CONTEXT.Process(target=append, args=(tmp_path / "b",)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = (tmp_path / "log").read_text().split()
    assert sorted(lines) == sorted(str(process.pid) for process in processes for _ in range(20))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_where_no_folder_can_stand_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for folder, line in (
        (tmp_path / "loop", f"the link {tmp_path}/loop leads to itself; give another folder"),
        (Path("/proc/b"), "nothing can be made in /proc; give another folder"),
        (tmp_path / "file" / "b", f"{tmp_path}/file is no folder; give another one"),
        (tmp_path / "file" / "b" / "c", f"{tmp_path}/file/b is no folder; give another one"),
        (Path("/"), "/ is no folder of its own; give one below it"),
    ):
        with pytest.raises(UserError) as error, locked(folder, "export"):
            raise AssertionError("there is a lock")
        assert str(error.value) == line


def test_links_lead_to_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    with locked(tmp_path / "link", "export"), pytest.raises(UserError), locked(tmp_path / "b", "export", wait=0):
        raise AssertionError("both are in")


def test_a_full_disk_keeps_nobody_from_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command writes then fails with the file's name; the lock's failure had none."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    said = pytest.raises(UserError, match=r"/b is in use by another process; ")
    with locked(tmp_path / "b", "export"), said, locked(tmp_path / "b", "explore", wait=0.0):
        pass
    assert [*tmp_path.iterdir()] == []
