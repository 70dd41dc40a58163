"""An interrupt ends the programs that run, and what they started."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from toolchain.programs import run_program, threads

SLEEPS = "touch $0; sleep 60 & wait"
"""Of a shell that waits for a program of its own, which holds the shell's output open."""


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.01)


def test_a_program_returns_what_it_says(tmp_path: Path) -> None:
    done = run_program(["sh", "-c", "cat; pwd; echo $A >&2; exit 3"], tmp_path, {"A": "b"})
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path}\n", "b\n")


def test_an_error_ends_the_programs_of_threads_and_starts_no_other(tmp_path: Path) -> None:
    found: list[Future[CompletedProcess[str]]] = []
    with pytest.raises(KeyboardInterrupt), threads(2) as pool:
        for name in ("a", "b", "c"):
            found.append(pool.submit(run_program, ["sh", "-c", SLEEPS, name], tmp_path))
        for name in ("a", "b"):
            wait_for(tmp_path / name)
        raise KeyboardInterrupt
    assert [future.result().returncode for future in found[:2]] == [-signal.SIGTERM] * 2
    assert found[2].cancelled() and not (tmp_path / "c").exists()


def test_an_interrupt_ends_the_program_that_it_meets(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_program(["sh", "-c", SLEEPS, "a"], tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 30
