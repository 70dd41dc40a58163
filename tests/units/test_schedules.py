"""What the explorer, the FIFOs and the cost model take from a schedule is what its iterations say, one by one."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from tests.conformance import UnitConformance
from tests.grids import GRIDS, units
from tests.passes import token_simulator
from toolchain.ir.ops.maps import Reshape
from toolchain.units.schedule import ONE_INPUT, READS, WRITES, Iterations
from toolchain.units.table import iterations, schedule

FRAMES = 12


def _does(call: Iterations, wanted: Callable[[int], bool]) -> np.ndarray:
    """Whether ``wanted`` holds for what each iteration of a whole call does."""
    found = []
    for segment in call.segments:
        one = np.zeros(segment.length, dtype=bool)
        one[list(segment.offsets)] = [wanted(flag) for flag in segment.flags]
        found.append(np.tile(one, segment.repeats))
    return np.concatenate(found)


def _reads(call: Iterations, index: int) -> np.ndarray:
    """Whether each iteration reads a word of input ``index``: all inputs are read at once, or one by one."""
    return _does(call, lambda flag: flag & ~WRITES in (READS, READS + ONE_INPUT * (index + 1)))


def _writes(call: Iterations) -> np.ndarray:
    return _does(call, lambda flag: bool(flag & WRITES))


def _unevenness(does: np.ndarray, call: Iterations, words: int) -> Fraction:
    """How far ``words`` a frame run ahead of and fall behind an even pace, in the fourth to seventh frame of twelve."""
    part = does[call.once + 3 * call.frame : call.once + 7 * call.frame].astype(np.int64)
    ahead = np.cumsum(part) * call.frame - words * np.arange(1, len(part) + 1)
    ends = np.concatenate([ahead, ahead - part * call.frame + words])  # behind and in front of each cycle's word
    return Fraction(int(ends.max() - ends.min()), call.frame)


def _read_early(call: Iterations, index: int) -> float:
    """The largest (fraction of the frames read) - (fraction delivered), times the frames of the call."""
    reads, writes = (np.cumsum(does) for does in (_reads(call, index), _writes(call)))
    return float((reads / reads[-1] - writes / writes[-1]).max()) * FRAMES


@pytest.mark.parametrize("grid", GRIDS, ids=lambda kind: kind.__name__)
def test_cycles_prologue_pauses_and_lag_are_those_of_the_iterations(grid: type[UnitConformance]) -> None:
    """The lag is a bound; the others are equal, pauses in the middle of a call."""
    for graph, node in units(grid):
        assert node.parallelism is not None
        if isinstance(node, Reshape):
            continue
        first = graph.value(node.inputs[0])
        found, call = schedule(node, first, node.parallelism), iterations(node, first, FRAMES)
        for i, name in enumerate(node.inputs):
            x = graph.value(name)
            words, what = x.size // node.parallelism.lanes_in, f"{node} reading {name} {x.shape}"
            assert found.cycles == call.frame, what
            assert call.count == call.once + FRAMES * call.frame, what
            assert min(found.prologue, FRAMES * words) == call.once, what
            assert found.pauses(i) == _unevenness(_reads(call, i), call, words), what
            assert _read_early(call, i) <= found.lag + 1e-9, what
        sent = node.outputs[0].size // node.parallelism.lanes_out
        assert found.pauses(None) == _unevenness(_writes(call), call, sent), node


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("grid", GRIDS, ids=lambda kind: kind.__name__)
def test_iterations_are_those_of_a_model_written_apart(grid: type[UnitConformance], frames: int) -> None:
    """Which iteration reads and which writes, also in calls so short that words run out in front of the first row."""
    for graph, node in units(grid):
        if isinstance(node, Reshape):
            continue
        call = iterations(node, graph.value(node.inputs[0]), frames)
        steps = list(token_simulator.schedule(node, graph.value(node.inputs[0]), frames))
        for i in range(len(node.inputs)):
            reads = [step is True or step == -i - 1 for step, _ in steps]
            np.testing.assert_array_equal(_reads(call, i), reads, err_msg=str(node))
        np.testing.assert_array_equal(_writes(call), [writes for _, writes in steps], err_msg=str(node))
