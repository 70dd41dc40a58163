"""Golden files: text compared with ``tests/golden/NAME``; ``UPDATE_GOLDEN=1 make test`` rewrites them."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def assert_golden(name: str, text: str) -> None:
    """``text`` equals the golden file ``name``; a missing file fails."""
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no golden file {name}; write it with UPDATE_GOLDEN=1"
    assert path.read_text() == text
