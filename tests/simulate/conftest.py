"""A cache of compiled objects of its own, so that every run of the tests compiles what it tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPGAFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
