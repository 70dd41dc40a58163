"""Minimal FIFO depths by simulation: frames keep the pace of the slowest unit and nothing can deadlock.

A deeper FIFO never delays anything, so the depths that work are closed upwards, and lowering them one after the other
ends in depths of which none can be lowered alone, unless the search reaches ``MOST_ITERATIONS`` before: the dearest
FIFOs come first. The start is a schedule in which every unit spreads its work evenly over the pace: what its FIFOs hold
is enough, since units that are not held back are never later. A depth is a whole storage step: shift registers of 16
and 32 words, LUTRAM, block RAM; within a step nothing would be saved.

Whether units deadlock depends on the order of their reads and writes and on the places between them, not on time. A
pipeline of one stage has the fewest places; so depths that keep a pace with it exclude deadlocks with every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.graph import Graph
from toolchain.resources import Resources
from toolchain.simulate.cycles import PIPELINE_STAGES, Network
from toolchain.units.fabric_costs import fifo
from toolchain.units.limits import MIN_DEPTH

SMALL_STEPS = (MIN_DEPTH, 16, 32, 64, 128, 256)
BLOCK_WORDS = 512
"""Depth of a block RAM in its widest shape: all its depths are multiples."""

SETTLING_FRAMES = 6
MOST_ITERATIONS = 600_000_000
"""Iterations of units that a search simulates before it keeps what it has: some ten seconds."""

BRAM_LUTS = 100
"""LUTs that one block RAM is worth when FIFOs are put in order."""


def minimal_depths(graph: Graph, bounds: Mapping[str, int], *, stages: int = PIPELINE_STAGES) -> dict[str, int]:
    """Depth of every value of a HARDWARE graph, whatever depths it has.

    Args:
        bounds: depths that are known to be safe, from which none has to be deeper unless the pace asks for it.

    Raises:
        FlowError: even the start cannot keep the pace, a fault of this program.
    """
    return Sizing(graph, stages).minimal(bounds)


class Sizing:
    """The search. ``checks`` counts the simulations it took."""

    def __init__(self, graph: Graph, stages: int = PIPELINE_STAGES) -> None:
        self.network = Network(graph, stages)
        self.widths = self.network.widths()
        self.pipelines = (stages, 1)
        self.checks = 0

    def minimal(self, bounds: Mapping[str, int]) -> dict[str, int]:
        """See ``minimal_depths``."""
        network = self.network
        safe = np.array([max(bounds[name] for name in names) for names in network.values_of_streams()])
        even = self._even_fill(safe)
        top = np.maximum(safe, even)
        steps = [storage_steps(int(depth), int(width)) for depth, width in zip(top, self.widths, strict=True)]
        depths = np.array([found[-1] for found in steps])
        if not self.works(depths):
            raise FlowError(f"no FIFO depths of '{network.graph.name}' keep {network.bound} cycles a frame")
        order = sorted(range(len(depths)), key=lambda s: (-self._price(s, int(depths[s])), s))
        depths = self._lower(depths, [s for s in order if depths[s] > steps[s][0]], steps)
        return {name: int(depths[s]) for s, names in enumerate(network.values_of_streams()) for name in names}

    def works(self, depths: np.ndarray) -> bool:
        """Frames keep the pace of the slowest unit, with pipelines as deep as assumed and with those of one stage."""
        self.checks += 1
        return all(self.network.keeps(depths, self.network.bound, stages=stages) for stages in self.pipelines)

    def _even_fill(self, safe: np.ndarray) -> np.ndarray:
        """Return the fill of roomy FIFOs between units that spread their work evenly."""
        network, found = self.network, np.full(len(safe), MIN_DEPTH)
        for stages in self.pipelines:
            ahead = network.frames_on_the_way(network.bound, stages)
            roomy = np.maximum((2 + ahead) * network.frame_words(), safe)
            run = network.run(roomy, SETTLING_FRAMES + ahead, pace=network.bound, even=True, stages=stages)
            found = np.maximum(found, run.fill)
        return found

    def _price(self, stream: int, depth: int) -> int:
        cost = fifo(depth, int(self.widths[stream]))
        return cost.lut + BRAM_LUTS * cost.bram18

    def _lower(self, depths: np.ndarray, group: Sequence[int], steps: Sequence[Sequence[int]]) -> np.ndarray:
        """``depths`` with those of ``group`` lowered: all at once if that works, else each half of them."""
        if not group or self.network.iterations > MOST_ITERATIONS:
            return depths
        lowest = depths.copy()
        lowest[list(group)] = [steps[s][0] for s in group]
        if self.works(lowest):
            return lowest
        if len(group) > 1:
            half = len(group) // 2
            return self._lower(self._lower(depths, group[:half], steps), group[half:], steps)
        return self._bisect(depths, group[0], steps[group[0]])

    def _bisect(self, depths: np.ndarray, stream: int, steps: Sequence[int]) -> np.ndarray:
        """The least step of one FIFO that works; its first one does not."""
        low, high = 0, steps.index(int(depths[stream]))
        best = depths
        while high - low > 1 and self.network.iterations <= MOST_ITERATIONS:
            middle = (low + high) // 2
            trial = depths.copy()
            trial[stream] = steps[middle]
            if self.works(trial):
                best, high = trial, middle
            else:
                low = middle
        return best


def storage_steps(depth: int, width: int) -> tuple[int, ...]:
    """Depths, ascending, the last at least ``depth``, of which each is the deepest that its storage holds."""
    steps: list[int] = []
    for step in chain(SMALL_STEPS, count(BLOCK_WORDS, BLOCK_WORDS)):
        if _storage(step, width) != _storage(step + 1, width):
            steps.append(step)
            if step >= depth:
                break
    return tuple(steps)


def _storage(depth: int, width: int) -> tuple[int, int]:
    """LUTs and block RAMs of a FIFO, pointers aside."""
    cost: Resources = fifo(depth, width)
    return (cost.lut if cost.bram18 == 0 else 0), cost.bram18
