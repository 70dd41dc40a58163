"""One process at a time in a folder: a lock that the system drops when its holder dies, and that names the holder."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from toolchain.errors import UserError

WAIT = 600.0
"""Seconds that a command waits for another one that works in the same folder."""

_POLL = 0.1

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, command: str, *, wait: float = WAIT) -> Iterator[None]:
    """Keep every other process out of ``folder`` for as long as the block runs.

    The lock is a file beside ``folder``, which may be replaced meanwhile. It holds the process and the host that has
    it, is told to those who wait, and is free again when that process ends, however it ends.

    Args:
        command: what this process does there.
        wait: seconds to wait for another process, which is said once.

    Raises:
        UserError: another process has held it all that time, and the line names it; or no folder can stand there.
    """
    try:
        folder = folder.resolve()
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{error.filename} is no folder", hint="give another one") from error
    except RuntimeError as error:  # of Python before 3.13
        raise UserError(f"the link {folder} leads to itself", hint="give another folder") from error
    if not folder.name:
        raise UserError(f"{folder} is no folder of its own", hint="give one below it")
    path = folder.with_name(f".{folder.name}.lock")
    handle = _taken(path, folder, wait)
    try:
        with suppress(OSError):  # on a full disk nobody is told who holds it
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(_holder(command)).encode(), 0)
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(handle)


@contextmanager
def sharing(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` together with all who share it; a folder that cannot be written needs no lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
        yield
        return
    try:
        while not try_lock(handle, shared=True):
            time.sleep(_POLL)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Yield whether the block holds the lock file ``path`` alone: False if others share it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)


def _taken(path: Path, folder: Path, wait: float) -> int:
    """The open and locked file at ``path``."""
    end, told = time.monotonic() + wait, False
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError as error:
            raise UserError(f"nothing can be made in {folder.parent}", hint="give another folder") from error
        got = try_lock(handle)
        if got and _is(handle, path):
            return handle
        os.close(handle)
        if got:
            continue  # the holder before has just removed it
        if time.monotonic() >= end:
            raise UserError(f"{folder} is in use by {_told(path)}", hint="wait for it, or end it")
        if wait and not told:
            log.warning("waiting for %s, which works in %s", _told(path), folder)
            told = True
        time.sleep(_POLL)


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Lock an open file if nobody else has; a ``shared`` lock only keeps those out who want it for themselves."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):  # the file system has no locks: as before there were any
            return True
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _is(handle: int, path: Path) -> bool:
    """Return whether ``path`` is still the open file; its last holder removes it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _holder(command: str) -> dict[str, str | int]:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"command": command, "process": os.getpid(), "host": socket.gethostname(), "since": now}


def _told(path: Path) -> str:
    """Describe the holder of the lock file ``path`` in words."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"'{holder['command']}', process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
