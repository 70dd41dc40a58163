"""Origin of a run's network, and the test that its file is still the one that it was trained with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain import files
from toolchain.errors import UserError
from toolchain.files import digest_file

FILE = "network.json"  # in a run's folder


@dataclass(frozen=True)
class Record:
    """Origin of a run's network. The digest is that of the file, not of what the file imports."""

    reference: str
    file: str
    sha256: str
    options: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Keep it with the run in ``folder``."""
        files.write_text(folder / FILE, json.dumps(asdict(self), indent=2) + "\n")


def changed(folder: Path) -> str | None:
    """Return what has changed in the network of the run in ``folder`` since it began, or None."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        kept = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return f"{path} is damaged"
    file = Path(kept.file)
    if not file.is_file():
        return f"{file}, which makes the network of {folder}, is gone"
    if digest_file(file) != kept.sha256:
        return f"{file}, which makes the network of {folder}, has changed since"
    return None


def demand_unchanged(folder: Path) -> None:
    """Check that the file that makes the network of the run in ``folder`` is unchanged.

    Raises:
        UserError: it is not.
    """
    what = changed(folder)
    if what is not None:
        raise UserError(what, hint="put the file back as it was, or train anew with --overwrite")
