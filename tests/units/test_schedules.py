"""What the explorer takes for a unit's pauses is what its schedule says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from tests.conformance import UnitConformance
from tests.simulate import test_units
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.units.cycles import cycles, prologue
from toolchain.units.lag import lag
from toolchain.units.pauses import pauses
from toolchain.units.schedules import ONE_INPUT, READS, WRITES, Schedule, unit_schedule

FRAMES = 12
GRIDS = [
    kind
    for _, kind in inspect.getmembers(test_units, inspect.isclass)
    if issubclass(kind, UnitConformance) and kind is not UnitConformance
]


def _units(graphs: Iterator[Graph]) -> Iterator[tuple[Graph, Node]]:
    for graph in graphs:
        yield from ((graph, node) for node in graph.nodes if not isinstance(node, Reshape) and node.parallelism)


def _does(schedule: Schedule, wanted: Callable[[int], bool]) -> np.ndarray:
    """Whether ``wanted`` holds for what each iteration of a whole call does."""
    found = []
    for segment in schedule.segments:
        one = np.zeros(segment.length, dtype=bool)
        one[list(segment.offsets)] = [wanted(flag) for flag in segment.flags]
        found.append(np.tile(one, segment.repeats))
    return np.concatenate(found)


def _reads(schedule: Schedule, index: int) -> np.ndarray:
    """Whether each iteration reads a word of input ``index``: all inputs are read at once, or one by one."""
    return _does(schedule, lambda flag: flag & ~WRITES in (READS, READS + ONE_INPUT * (index + 1)))


def _writes(schedule: Schedule) -> np.ndarray:
    return _does(schedule, lambda flag: bool(flag & WRITES))


def _unevenness(does: np.ndarray, schedule: Schedule, words: int) -> Fraction:
    """How far ``words`` a frame run ahead of and fall behind an even pace, in the fourth to seventh frame of twelve."""
    part = does[schedule.once + 3 * schedule.frame : schedule.once + 7 * schedule.frame].astype(np.int64)
    ahead = np.cumsum(part) * schedule.frame - words * np.arange(1, len(part) + 1)
    ends = np.concatenate([ahead, ahead - part * schedule.frame + words])  # behind and in front of each cycle's word
    return Fraction(int(ends.max() - ends.min()), schedule.frame)


def _read_early(schedule: Schedule, index: int) -> float:
    """The largest (fraction of the frames read) - (fraction delivered), times the frames of the call."""
    reads, writes = (np.cumsum(does) for does in (_reads(schedule, index), _writes(schedule)))
    return float((reads / reads[-1] - writes / writes[-1]).max()) * FRAMES


@pytest.mark.parametrize("grid", GRIDS, ids=lambda kind: kind.__name__)
def test_cycles_prologue_pauses_and_lag_are_those_of_the_schedule(grid: type[UnitConformance]) -> None:
    """The lag is a bound; the others are equal, pauses in the middle of a call."""
    for graph, node in _units(grid().graphs()):
        assert node.parallelism is not None
        for i, name in enumerate(node.inputs):
            x = graph.value(name)
            schedule, what = unit_schedule(node, x, FRAMES), f"{node} reading {name} {x.shape}"
            words = x.size // node.parallelism.lanes_in
            into = _unevenness(_reads(schedule, i), schedule, words)
            out = _unevenness(_writes(schedule), schedule, node.outputs[0].size // node.parallelism.lanes_out)
            assert cycles(node, x, node.parallelism) == schedule.frame, what
            assert min(prologue(node, x, node.parallelism), FRAMES * words) == schedule.once, what
            assert pauses(node, x, node.parallelism) == (into, out), what
            assert _read_early(schedule, i) <= lag(node, x, node.parallelism) + 1e-9, what
