"""Random networks are exact or refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.random_qonnx import exact_or_refused, random_qonnx
from tests.random_wide import random_wide
from tests.verdicts import demand_one_verdict


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32))
def test_random_networks_are_exact_or_refused(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exact_or_refused(random_qonnx(Path(folder) / "net.onnx", seed), seed)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32))
def test_sums_groups_wide_codes_and_meeting_names_are_exact_or_refused_and_checked_alike(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = random_wide(Path(folder) / "net.onnx", seed)
        found = exact_or_refused(path, seed)
        assert (found is None) == (demand_one_verdict(path) is not None)


@pytest.mark.parametrize("seed", [343, 431, 536, 2378])
def test_networks_that_once_failed(seed: int, tmp_path: Path) -> None:
    """A bipolar quantizer with rounding mode FLOOR at a tie; a sign behind scales of many bits; one code only."""
    found = exact_or_refused(random_qonnx(tmp_path / "net.onnx", seed, maps=False), seed)
    assert (found is None) == (seed == 431)


@pytest.mark.parametrize("seed", range(30))
def test_most_random_networks_are_built(seed: int, tmp_path: Path) -> None:
    """The generator is no list of refusals."""
    built = [exact_or_refused(random_qonnx(tmp_path / "net.onnx", 100 * seed + i), i) is not None for i in range(6)]
    assert any(built)
