"""Workers of a Ray cluster: two nodes on this machine, and one of their processes killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.search.test_study import explorer, shape, told
from toolchain.errors import UserError
from toolchain.search.pool import Pool, opened

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fpgaflow[ray]'")
pytestmark = pytest.mark.slow
__all__ = ["shape"]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two nodes of a processor each."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes.add_node(num_cpus=1)
        with opened(nodes.address, 1) as found:
            yield found
    finally:
        nodes.shutdown()


def node(_: int) -> str:
    """The node that runs this."""
    return str(ray.get_runtime_context().get_node_id())


def killed(mark: Path, item: int) -> int:
    """The square of ``item``; the first process that gets 7 dies."""
    if item == 7 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def refused(item: int) -> int:
    raise UserError(f"not {item}")


def test_both_nodes_work(pool: Pool) -> None:
    assert pool.workers == 2
    assert len(set(pool.map(node, range(8)))) == 2


def test_a_killed_worker_loses_nothing(pool: Pool, tmp_path: Path) -> None:
    assert pool.map(partial(killed, tmp_path / "mark"), range(20)) == [n * n for n in range(20)]
    assert (tmp_path / "mark").exists()


def test_a_fault_of_the_work_arrives_as_it_is(pool: Pool) -> None:
    with pytest.raises(UserError, match=r"^not \d$"):
        pool.map(refused, range(4))


def test_two_nodes_find_the_front_that_one_process_finds(pool: Pool, tmp_path: Path, shape: dict[str, int]) -> None:
    one, two = explorer(tmp_path / "a", shape, trials=40), explorer(tmp_path / "b", shape, trials=40)
    two.pool = pool
    for each in (one, two):
        each.round(0, each.engines(0))
    assert told(one.front()) == told(two.front()) and len(one.front()) > 1
