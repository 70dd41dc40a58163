"""The cache of compiled simulations: many processes use it at once, and it keeps to a size."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import UserError
from toolchain.locks import alone, sharing
from toolchain.memory import parse_size
from toolchain.paths import in_home

LIMIT = "2G"
"""Size of all files unless FPGAFLOW_CACHE_SIZE is set. A file of LeNet-5 has 1 MB, a precompiled header 60 MB."""

KEPT = 0.75
"""Share of the limit that stays when it was exceeded, so that the next file does not exceed it again."""

_ELF = struct.Struct("<40xQ10xHH2x")
"""The header of a 64-bit file: where the table of sections begins, bytes of an entry, entries."""

_PARTS = ("lib", "obj", "sim", "lint")


@dataclass(frozen=True)
class Entry:
    """A library, an object, headers or a folder of them, its bytes, and when it was last used."""

    path: Path
    size: int
    used: float


def cache_folder() -> Path:
    """Return the folder of objects and libraries: FPGAFLOW_CACHE or ~/.cache/fpgaflow; compilers work elsewhere.

    Raises:
        UserError: it lies in a home that nobody knows.
    """
    return in_home(os.environ.get("FPGAFLOW_CACHE") or "~/.cache/fpgaflow").absolute() / "csim"


def limit() -> int:
    """Bytes that it may take.

    Raises:
        UserError: FPGAFLOW_CACHE_SIZE is no size.
    """
    return parse_size(os.environ.get("FPGAFLOW_CACHE_SIZE") or LIMIT, "FPGAFLOW_CACHE_SIZE")


@contextmanager
def in_use() -> Iterator[None]:
    """While the block runs nothing is removed; where it added a library, the cache is cut to its limit afterwards.

    Raises:
        UserError: the cache cannot be made.
    """
    most, before = limit(), _changed()
    with sharing(_lock()):
        yield
    if _changed() != before:
        prune(most, share=KEPT)


def held(path: Path) -> bool:
    """Whether the cache holds the object, library or program ``path`` whole; then it is noted as used."""
    if not _whole(path):
        return False
    touch(path)
    return True


def _whole(path: Path) -> bool:
    """Whether ``path`` is a file that reaches to its end: that of ELF, where the table of its sections stands."""
    try:
        with path.open("rb") as file:
            start, size = file.read(_ELF.size), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    if sys.platform != "linux":
        return size > 0  # files of another format
    if len(start) < _ELF.size or not start.startswith(b"\x7fELF"):
        return False
    table, entry, count = _ELF.unpack(start)
    return bool(0 < table <= size - entry * count)


def touch(path: Path) -> None:
    """Note that ``path`` was used."""
    with suppress(OSError):  # a cache that others own
        os.utime(path)


def entries() -> list[Entry]:
    """Return all entries of the cache, the most recently used first.

    Raises:
        UserError: a file stands in its place.
    """
    found, root = [], cache_folder()
    try:
        os.scandir(root).close()
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise _none(root, error) from error
    for part in _PARTS:
        folder = root / part
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                files = [path, *path.rglob("*")] if path.is_dir() else [path]
                found.append(Entry(path, sum(file.lstat().st_size for file in files), path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def prune(most: int, *, share: float = 1.0) -> int | None:
    """Remove what was not used for longest until at most ``most`` bytes are left, or ``share`` of them if it was more.

    What killed compilers left behind goes as well. Returns the bytes that were removed; None, and nothing is removed,
    while others use the cache.

    Raises:
        UserError: the cache cannot be made.
    """
    with alone(_lock()) as mine:
        if not mine:
            return None
        for leftover in _unfinished():
            shutil.rmtree(leftover, ignore_errors=True)
        found, removed, total = entries(), 0, 0
        room = most if sum(entry.size for entry in found) <= most else int(most * share)
        for entry in found:
            total += entry.size
            if total > room:
                removed += entry.size
                _remove(entry.path)
        return removed


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unfinished() -> Iterator[Path]:
    """Folders in which a compiler worked; no other entry of the cache has a dash in its name."""
    for folder in (cache_folder(), *(cache_folder() / part for part in _PARTS)):
        yield from (path for path in (folder.iterdir() if folder.is_dir() else ()) if "-" in path.name)


def _changed() -> int:
    """Another number after a library was added."""
    folder = cache_folder() / "lib"
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


def _lock() -> Path:
    """The lock file, whose folder is made."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _none(folder, error) from error
    return folder / ".lock"


def _none(folder: Path, error: OSError) -> UserError:
    """The error where the cache cannot be ``folder``."""
    what = f"the cache cannot be made: {error.strerror}"
    return UserError(what, where=str(folder), hint="set FPGAFLOW_CACHE to a folder")
