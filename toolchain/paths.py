"""Where the data folders lie: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The folder of package data called ``name`` ("boards" or "sim").

    Raises:
        FileNotFoundError: neither a checkout nor the wheel's data holds it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"no data folder '{name}' beside or inside {_PACKAGE}")
