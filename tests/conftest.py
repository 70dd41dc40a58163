"""What holds for all tests: hypothesis draws the same examples in every run, torch the same numbers in every test."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What torch draws does not depend on the tests that ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
