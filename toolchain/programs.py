"""Programs that this process starts: an error of the work that they are part of, or an interrupt of it, ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path


class _Group:
    """The programs that the threads of a pool run; none starts after they were ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended:
                raise CancelledError
            program = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, process_group=0,
            )  # fmt: skip
            self._running.add(program)
        return program

    def ended(self, program: subprocess.Popen[str]) -> None:
        with self._lock:
            self._running.discard(program)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for program in self._running:
                _end(program)


_thread = threading.local()


def run_program(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder`` to its end. It has a process group of its own: what it starts ends with it."""
    group: _Group = getattr(_thread, "group", None) or _Group()
    program = group.start(command, folder, environment)
    try:
        output, errors = program.communicate()
    except BaseException:
        _end(program)
        program.communicate()
        raise
    finally:
        group.ended(program)
    return subprocess.CompletedProcess(command, program.returncode, output, errors)


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads that ``run_program``; where the block does not end well, these end and no other starts."""
    group = _Group()

    def join() -> None:
        _thread.group = group

    with ThreadPoolExecutor(count, initializer=join) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            group.end()
            raise


def _end(program: subprocess.Popen[str]) -> None:
    """Ask ``program`` and what it started to end; compilers remove their files then."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
