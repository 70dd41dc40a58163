"""Bits of every layer's weights together with the lanes of the streaming architecture's units: bits.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.boards import Board
from toolchain.dse.bits import Chosen, Layered, in_bits, unbeaten, with_bits
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.options import Search, planned_board
from toolchain.flow.sensitivity import Asked, output_errors, pass_name, write_bits
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.passes.pipeline import hardware_form

POINTS = 6
"""Limits of the loss that a front is searched at."""

RANDOM, RANDOM_INPUTS = 64, "random inputs"
"""Random inputs that losses are measured on where no data is at hand."""

_ABOVE = 1 + 1e-4
"""Of a limit that bits exactly reach: losses are counted in parts, rounded up."""


@dataclass(frozen=True)
class Point:
    """Bits of every layer by its name, what they lose, cycles a frame of the plan for them, and a proved bound.

    No bits that lose no more, and no lanes, take fewer cycles than ``bound``.
    """

    bits: dict[str, int]
    loss: float
    cycles: int
    bound: int

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)


def search_lane_bits(build: Build, search: Search, asked: Asked) -> tuple[list[Point], float]:
    """Find the front of frame time and loss for the network of ``build`` in streaming units; write bits.json.

    Where no data is at hand, losses are measured on 64 random inputs.

    Returns:
        the front, or the fastest within the loss that is ``asked`` for, and the clock in MHz.

    Raises:
        UserError: the table is none; nothing fits the board or the loss.
    """
    graph, board = build.network.graph, planned_board(search, "streaming")
    clock = search.clock_mhz or board.clock.default_mhz
    losses, told = asked.losses(build) or (_on_random_inputs(graph, asked.widths), RANDOM_INPUTS)
    names = {node.name: pass_name(graph, node) for node in graph.nodes if isinstance(node, MatVec)}
    own = {node: losses.get(name, {}) for node, name in names.items()}
    layered = with_bits(hardware_form(graph), own, asked.widths, ultra=board.budget.uram > 0)
    limits = _limits(layered) if asked.loss is None else [asked.loss]
    points = _points(graph, layered, board, clock, limits, search.time_limit / len(limits))
    front = [replace(p, bits={names[node]: bits for node, bits in p.bits.items()}) for p in unbeaten(points)]
    rows = [{"fps": clock * 1e6 / p.cycles, "gap": p.gap, "loss": p.loss, "bits": p.bits} for p in front]
    write_bits(build, told, losses, rows, architecture="streaming")
    return front, clock


def _on_random_inputs(graph: Graph, widths: Sequence[int]) -> dict[str, dict[int, float]]:
    kind = graph.input.qint
    codes = np.random.default_rng(0).integers(kind.min, kind.max + 1, (RANDOM, *graph.input.shape))
    return output_errors(graph, widths, codes)


def _limits(layered: Layered) -> list[float]:
    """Losses to search at: from the least to the most that the bits make, as far apart on a logarithmic scale."""
    least, most = layered.ends()
    if most == 0:
        return [0.0]
    return [x * _ABOVE for x in (least, *np.geomspace(max(least, most * 1e-4), most, POINTS - 1).tolist())]


def _points(
    graph: Graph, layered: Layered, board: Board, clock: float, limits: Sequence[float], seconds: float
) -> list[Point]:
    """The plans for the fastest bits at each limit, the widest first; limits at which nothing fits are left out.

    Where a plan loses no more and is as fast as what the widest limit allows, no other is looked for.

    Raises:
        UserError: nothing fits at any.
    """
    found: dict[tuple[int, ...], Point] = {}
    faults: list[UserError] = []
    for limit in (limits[-1], *limits[:-1]):
        if any(p.loss <= limit and p.cycles <= min(q.bound for q in found.values()) for p in found.values()):
            continue
        try:
            chosen: Chosen = layered.solve(board.budget, limit, time_limit=seconds)
            key = tuple(chosen.bits.values())
            if key not in found:
                plan = explore(in_bits(graph, chosen.bits), board, clock_mhz=clock, time_limit=seconds)
                assert plan.solver is not None and plan.solver.cycles is not None
                found[key] = Point(chosen.bits, chosen.loss, plan.solver.cycles, chosen.bound)
        except UserError as fault:
            faults.append(fault)
    if not found:
        raise faults[-1]
    return list(found.values())
