"""The engines of these tests run small maps: most of their time goes into compiling, a third less of it with -O1."""

from __future__ import annotations

import pytest

from toolchain.engine import csim


@pytest.fixture(autouse=True)
def _quickly_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csim, "OPTIONS", (*csim.OPTIONS, "-O1"))
