"""Files and folders that appear whole or not at all, with the permissions that the umask says."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

from toolchain.errors import UserError

NO_ARRAYS = (ValueError, SyntaxError, EOFError, RuntimeError, BadZipFile, TokenError, zlib.error)
"""What numpy raises, beside OSError, for a file that is no .npy or .npz, or a damaged one."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's fcntl.h and stdio.h


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``path`` by rename, making its folder; a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_unique()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk is not said to be where, and nobody knows the temporary file
            error.filename = str(path)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what killed calls of ``write_bytes`` left below ``folder``; callers keep each other out."""
    for path in folder.rglob(".*"):
        if written_as(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def written_as(name: str) -> str | None:
    """Return what a file or folder ``name`` was to be called that a killed call left; None of others, as editors'."""
    found = re.fullmatch(r"\.(.+?)\.(\d+-[0-9a-f]{8}(\.partial)?|([a-z0-9_]{8}\.)?partial|old)", name)
    return found and found[1]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def empty(folder: Path, last: str = "") -> None:
    """Remove all that ``folder`` holds; it stays itself, since it may be a link or where the process runs.

    The file ``last``, which the folder is known by, goes last: a kill leaves it beside what is left.
    """
    for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
        remove(path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` by rename."""
    write_bytes(path, text.encode())


def write_files(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Write ``files``, whose keys are paths below ``folder``; each appears by rename."""
    for path, content in files.items():
        write_bytes(folder / path, content.encode() if isinstance(content, str) else content)


def create_files(files: Mapping[str, str], folder: Path) -> None:
    """Write new ``files``, whose keys are paths below ``folder``: all of them, or none where one cannot be written.

    Raises:
        FileExistsError: one of them is there, and is left as it is.
    """
    made: list[Path] = []
    missing = {parent for name in files for parent in (folder / name).parents if not parent.exists()}
    try:
        for name, text in files.items():
            path = folder / name
            temporary = path.with_name(f".{path.name}.{_unique()}")
            write_text(temporary, text)
            try:
                os.link(temporary, path)  # unlike a rename it replaces nothing
            finally:
                temporary.unlink()
            made.append(path)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        for parent in sorted(missing, key=lambda parent: -len(parent.parts)):
            with suppress(OSError):  # someone else's file is in it, or it was not made
                parent.rmdir()
        raise


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``target`` when the block ends well and vanishes when it does not.

    Where the file system can exchange two folders, a kill at any moment leaves the old ``target`` or the new one whole;
    elsewhere the next call for ``target`` puts the old one back. Leftovers of killed calls are removed, so callers keep
    each other out (``toolchain.locks``).

    Raises:
        UserError: the process runs in ``target``, which would be gone below its feet.
    """
    target = target.resolve()  # the other end of a link is replaced, not the link
    if Path.cwd().is_relative_to(target):
        what = f"{target} is replaced as a whole, and the command runs in it"
        raise UserError(what, hint="run it from another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.old")
    if old.is_dir() and not target.exists():
        old.rename(target)
    ours = re.compile(rf"\.{re.escape(target.name)}\.((\d+-[0-9a-f]+\.)?partial|old)")
    for leftover in [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]:
        shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{_unique()}.partial")
    partial.mkdir()
    try:
        yield partial
        _put(partial, target, old)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _put(new: Path, target: Path, old: Path) -> None:
    """Let ``new`` stand where ``target`` stands, which goes to ``new`` or ``old``."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            old.rename(target)
            raise


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call is not None and not call(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)


def _unique() -> str:
    """A part of a name that no other process takes."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def digest_bytes(data: bytes) -> str:
    """sha256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file in hexadecimal."""
    return digest_bytes(path.read_bytes())
