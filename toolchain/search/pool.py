"""Where work runs: processes of this machine (joblib), or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from toolchain.errors import UserError, first_line

T, R = TypeVar("T"), TypeVar("R")

TRIES = 5
"""How often work of a lost actor is given to another one."""


class Pool(Protocol):
    """Runs a function over items, in their order."""

    workers: int

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """The results. ``work`` is kept by the workers: what it caches in its module stays there."""


class Local:
    """Processes of this machine; with one worker this process itself."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """See ``Pool``."""
        if self.workers == 1 or len(items) < 2:
            return [work(item) for item in items]
        from joblib import Parallel, delayed

        chunks = [list(items[i :: self.workers]) for i in range(min(self.workers, len(items)))]
        done = Parallel(n_jobs=self.workers)(delayed(_each)(work, chunk) for chunk in chunks)
        return _woven(done, len(items))


def _each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [work(item) for item in items]


def _woven(parts: Sequence[Sequence[R]], count: int) -> list[R]:
    """The results of every n-th items in the order of the items."""
    return [parts[i % len(parts)][i // len(parts)] for i in range(count)]


class _Actor:
    """Keeps the work that it was sent last, and with it data and engines."""

    def run(self, work: Callable[[T], R], item: T) -> R:
        return work(item)


class Cluster:
    """Actors of a Ray cluster, one a processor. Items of an actor that dies go to others, and a new one takes its
    place."""

    def __init__(self, address: str, workers: int | None = None) -> None:
        self.ray = _connected(address)
        processors = int(self.ray.cluster_resources().get("CPU", 1))
        self.workers = workers or processors
        self.kind = self.ray.remote(max_restarts=-1, max_task_retries=TRIES)(_Actor)
        self.actors: list[Any] = [self.kind.remote() for _ in range(self.workers)]

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """See ``Pool``; raises UserError where actors die again and again."""
        shared, results, tries = self.ray.put(work), {}, [0] * len(items)
        waiting, idle, running = list(range(len(items))), list(range(self.workers)), {}
        while waiting or running:
            while waiting and idle:
                index, actor = waiting.pop(0), idle.pop(0)
                running[self.actors[actor].run.remote(shared, items[index])] = (index, actor)
            done, _ = self.ray.wait(list(running), num_returns=1)
            index, actor = running.pop(done[0])
            idle.append(actor)
            try:
                results[index] = self.ray.get(done[0])
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, UserError) else error from None
            except self.ray.exceptions.RayActorError as error:
                tries[index] += 1
                if tries[index] >= TRIES:
                    what = f"workers of the cluster died {TRIES} times at one network: {first_line(error)}"
                    raise UserError(what, hint="run the search again; nothing that was told is lost") from error
                self.actors[actor] = self.kind.remote()
                waiting.insert(0, index)
        return [results[index] for index in range(len(items))]

    def close(self) -> None:
        """Leave the cluster."""
        self.ray.shutdown()


def _connected(address: str) -> Any:
    """Ray, connected to the cluster at ``address``."""
    try:
        import ray
    except ImportError as error:
        raise UserError("--cluster needs Ray", hint="pip install 'fpgaflow[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        hint = "start one with 'ray start --head', or leave --cluster out"
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
