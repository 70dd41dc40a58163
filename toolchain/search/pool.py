"""The workers of a search: processes of this machine (joblib), or actors of a Ray cluster."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.resource_tracker import ensure_running
from typing import Any, Protocol, TypeVar

from toolchain.errors import UserError, first_line

T = TypeVar("T")
R = TypeVar("R")

_SECONDS = 5.0
"""Seconds that a cluster may take to answer."""

TRIES = 5
"""Times that Ray gives the work of an actor that died to the one that takes its place."""

PARTS = 4
"""Parts in which a worker's items are sent: more of them lose less with a worker that dies, and end more evenly."""


class Pool(Protocol):
    """Workers that run a function over items."""

    workers: int

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the items' order. Workers keep ``work``: what its module caches stays there."""


class Local:
    """Processes of this machine; with one worker this process itself."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """See ``Pool``.

        Raises:
            UserError: a worker was killed.
        """
        if self.workers == 1 or len(items) < 2:
            return [work(item) for item in items]
        from joblib import Parallel, delayed

        chunks = [list(items[i :: self.workers]) for i in range(min(self.workers, len(items)))]
        calls = (delayed(_each)(work, chunk) for chunk in chunks)
        begun: Any = None
        try:
            with _undisturbed():
                begun = Parallel(n_jobs=self.workers, return_as="generator")(calls)
            return _woven(list(begun), len(items))
        except BrokenProcessPool as error:
            hint = "run the search again: it goes on; fewer --workers take less memory"
            raise UserError("a worker was killed from outside, perhaps for want of memory", hint=hint) from error
        except KeyboardInterrupt as stop:
            if begun is not None:
                begun.throw(stop)  # left alone it warns of results that nobody reads
            raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let processes that start in the block leave Ctrl-C, which a terminal sends to all, to this one.

    One that comes meanwhile waits for the end of the block.
    """
    ensure_running()  # which joblib does too, and before Python 3.12 ends by letting Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # kept by what they execute, unlike a handler
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [work(item) for item in items]


def _woven(parts: Sequence[Sequence[R]], count: int) -> list[R]:
    """The results of every n-th items in the order of the items."""
    return [parts[i % len(parts)][i // len(parts)] for i in range(count)]


class _Actor:
    """Keeps in its process what works cache: data, shared weights, facts of engines."""

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        return _each(work, items)


class Cluster:
    """Actors of a Ray cluster, one a processor; Ray starts those that die again and repeats what they worked on."""

    def __init__(self, address: str) -> None:
        self.ray = _connected(address)
        self.workers = max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        kind = self.ray.remote(max_restarts=-1, max_task_retries=TRIES, scheduling_strategy="SPREAD")(_Actor)
        self.actors: list[Any] = [kind.remote() for _ in range(self.workers)]

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """See ``Pool``.

        Raises:
            UserError: an actor died again and again, or ``work`` raised it.
        """
        shared, count = self.ray.put(work), min(len(items), PARTS * self.workers)
        running = [self.actors[i % self.workers].run.remote(shared, list(items[i::count])) for i in range(count)]
        try:
            return _woven(self.ray.get(running), len(items))
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None
        except self.ray.exceptions.RayError as error:
            what = f"workers of the cluster are lost: {first_line(error)}"
            raise UserError(what, hint="run the search again; nothing that was told is lost") from error

    def close(self) -> None:
        """Leave the cluster."""
        self.ray.shutdown()


def _connected(address: str) -> Any:
    """Ray, connected to the cluster at ``address``."""
    try:
        import ray
    except ImportError as error:
        raise UserError("--cluster needs Ray", hint="pip install 'fpgaflow[ray]'") from error
    hint = "start one with 'ray start --head', or leave --cluster out"
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon and port.isdigit():  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), _SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ValueError, RuntimeError, OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster at {address}: {first_line(error)}", hint=hint) from error
    return ray


@contextmanager
def opened(cluster: str | None, workers: int) -> Iterator[Pool]:
    """A pool of ``workers`` processes here, or of the cluster at an address."""
    if cluster is None:
        yield Local(workers)
        return
    pool = Cluster(cluster)
    try:
        yield pool
    finally:
        pool.close()
