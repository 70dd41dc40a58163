"""The place of the package's data: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

from toolchain.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The folder or file of package data called ``name`` ("boards", "sim" or "constraints.txt").

    Raises:
        FileNotFoundError: neither a checkout nor the wheel's data holds it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"no data '{name}' beside or inside {_PACKAGE}")


def in_home(path: str) -> Path:
    """``path``, whose ``~`` is the user's home.

    Raises:
        UserError: nobody knows it, as in a container that runs as a user without a name.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise UserError(f"nobody knows what home {path} is in", hint="set HOME to a folder")
    return Path(found)


def checkout() -> Path | None:
    """The root of the checkout that the package is part of; None for an installed wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and not (_PACKAGE / "_data").is_dir() else None
