"""Benchmarks are modules of one package with one way to start."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.__main__ import HERE, names


def test_every_benchmark_says_in_a_line_what_it_measures() -> None:
    assert {"cost_model", "engine", "export_time", "models"} <= set(names())
    assert [name for name, text in names().items() if not text.endswith((".", ":"))] == []


def test_a_benchmark_starts_by_its_name_and_takes_its_own_options() -> None:
    command = [sys.executable, "-m", "benchmarks", "cost_model", "--help"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "--rows" in done.stdout


def test_without_a_name_they_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=HERE.parent, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert all(f"\n  {name} " in done.stderr for name in names())
