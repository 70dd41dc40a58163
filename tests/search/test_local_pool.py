"""Workers of a search on this machine, and Ctrl-C, which a terminal sends to them too."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from toolchain.errors import UserError
from toolchain.search.pool import Local


def ignores_interrupts(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def waits(mark: Path) -> int:
    """Note that the work has begun, and take long."""
    mark.touch()
    time.sleep(60)
    return 0


@pytest.fixture
def before() -> Iterator[Any]:
    """Python's own handler of Ctrl-C, which a process that a shell starts in the background does not get."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, earlier)


def test_workers_leave_an_interrupt_to_the_process_that_started_them(before: Any, tmp_path: Path) -> None:
    """Else each of them tells a traceback of what it was just importing."""
    pool = Local(2)
    assert pool.map(ignores_interrupts, [0, 1]) == [True, True]
    assert signal.getsignal(signal.SIGINT) == before
    marks = [tmp_path / name for name in "ab"]

    def interrupt() -> None:
        while not all(mark.exists() for mark in marks):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.map(waits, marks)
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("before")
def test_an_interrupt_while_workers_start_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parallel, marks = joblib.Parallel, [tmp_path / name for name in "ab"]

    def interrupted(**options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return parallel(**options)

    monkeypatch.setattr(joblib, "Parallel", interrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            Local(2).map(waits, marks)


def test_a_worker_that_was_killed_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise TerminatedWorkerError("A worker process managed by the executor was unexpectedly terminated.")

    monkeypatch.setattr(joblib, "Parallel", broken)
    with pytest.raises(UserError, match=r"^a worker was killed from outside, perhaps for want of memory; run the s"):
        Local(2).map(abs, [1, 2])


def test_results_stand_in_the_order_of_their_items() -> None:
    assert Local(2).map(abs, [-3, 2, -1, 0, -5]) == [3, 2, 1, 0, 5]
