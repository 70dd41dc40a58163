"""Every pass of an engine by itself: maps at the ends of their ranges through the real top function.

The units of an engine are not called alone: a pass is the least that the top function runs, here with all its maps in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

import numpy as np

from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import engine_form
from toolchain.engine.hosts import input_beats, map_beats, result_codes
from toolchain.engine.joined import spread
from toolchain.engine.layers import Pass
from toolchain.engine.tables import Program, program
from toolchain.errors import UserError, VerificationError
from toolchain.ir.evaluate import needed, values
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Permute, Slice
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, Product
from toolchain.ir.ops.window import Window
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Array, Range, Shape
from toolchain.simulate.boundaries import boundary_vectors
from toolchain.simulate.drive import Driven

SEED = 20

LEAST_SUMS = 4
"""Windows of a pass with sums at their ends: those of its largest and its least sum."""


@dataclass(frozen=True)
class Frame:
    """The maps that a pass reads in a test, (H, W, C) by value in the graph's own codes, and their name."""

    name: str
    maps: dict[str, Array]


def drive_passes(simulation: EngineSim, *, threads: int = 2) -> Driven:
    """Run every pass alone on maps at the ends of their ranges and compare its result with the evaluator's.

    A pass is named by the value it makes, a frame is a vector. A pass that does not fit with its result in memory sees
    none.
    """
    graph = engine_form(simulation.graph)
    ranges = value_ranges(graph)
    vectors, mismatches, first = dict[str, int](), 0, ""
    with ThreadPoolExecutor(threads) as pool:
        for index, p in enumerate(simulation.found.cut.passes):
            alone = pass_alone(simulation.found, index)
            frames = directed_frames(graph, p, ranges) if alone is not None else []
            for wrong, where in pool.map(lambda frame, a=alone: _compared(simulation, graph, a, frame), frames):
                mismatches += wrong
                first = first or where
            vectors[p.result] = vectors.get(p.result, 0) + len(frames)
    return Driven(vectors, mismatches, first)


def pass_alone(found: Program, index: int) -> Program | None:
    """Pass ``index`` as a program of its own with all maps in memory; None where its tiles then fill no whole beats."""
    cut = replace(found.cut, passes=(found.cut.passes[index],), folded=found.cut.folded and index == 0)
    try:
        return program(cut, found.shape, {})
    except UserError:
        return None


def directed_frames(graph: Graph, p: Pass, ranges: Mapping[str, Range]) -> list[Frame]:
    """Frames for a pass: both ends, a residual at the other one; zeros; sums at their ends in a random map. Seeded."""
    rng = np.random.default_rng(SEED)
    names = [p.source] + ([p.merge.residual] if p.merge is not None and p.merge.residual != p.source else [])
    shapes = {name: graph.value(name).shape for name in names}
    ends = [{n: np.full(shapes[n], ranges[n][side ^ i]) for i, n in enumerate(names)} for side in (1, 0)]
    zeros = {n: np.full(shapes[n], min(max(0, ranges[n][0]), ranges[n][1])) for n in names}
    frames = [Frame("largest", ends[0]), Frame("least", ends[1]), Frame("zeros", zeros)]
    whole = p.slot is None or p.slot.own is None  # else the nodes are of all parts of a joined map
    needs = needed(graph.nodes, [p.result], names) if p.macs and whole else ()
    nodes = [node for node in needs if not node.renames]
    taken = np.arange(shapes[p.source][2])  # the channels that the product reads
    while nodes and isinstance(nodes[0], Slice | Permute):
        taken = nodes.pop(0).evaluate(taken)
    places, kernel = windows_apart(nodes, (*shapes[p.source][:2], len(taken)))
    count = ceil(LEAST_SUMS / len(places)) if places else 1
    vectors = _sums_at_their_ends(nodes, ranges[p.source], len(places) * count) if places else []
    for i in range(count):
        mixed = {n: rng.integers(*ranges[n], shapes[n], dtype=np.int64, endpoint=True) for n in names}
        for (top, left), vector in zip(places, vectors[i * len(places) :], strict=False):
            patch = mixed[p.source][top : top + kernel[0], left : left + kernel[1]]
            patch[..., taken] = vector.reshape(*patch.shape[:2], len(taken))
        frames.append(Frame("sums at their ends", mixed))
    return frames


def _product(nodes: Sequence[Node]) -> Product | None:
    """The first of ``nodes``, behind its window, if it multiplies by weights."""
    if not nodes:
        return None
    unit = nodes[1] if isinstance(nodes[0], Window) and len(nodes) > 1 else nodes[0]
    return unit if isinstance(unit, Product) else None


def windows_apart(nodes: Sequence[Node], shape: Shape) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Corners (top, left) of windows of the first product that lie inside a map of ``shape`` and apart; their size."""
    unit = _product(nodes)
    kernel, stride, pads = (1, 1), (1, 1), (0, 0, 0, 0)
    if unit is None:
        return [], kernel
    window = nodes[0]
    if isinstance(window, Window) and window.dilation != (1, 1):
        return [], kernel
    if isinstance(window, Window):
        kernel, stride, pads = window.kernel, window.stride, window.pads
    elif isinstance(unit, MatVec) and unit.weight.shape[1] != shape[2]:  # the product reads a flattened map
        kernel = stride = shape[:2]
    rows, columns = (
        [top for top in range(ceil(pad / s) * s - pad, size, ceil(k / s) * s) if top + k <= size]
        for size, k, s, pad in zip(shape[:2], kernel, stride, pads[:2], strict=True)
    )
    return list(product(rows, columns)), kernel


def _sums_at_their_ends(nodes: Sequence[Node], r: Range, room: int) -> list[Array]:
    """Windows of the first product, flat, that take its sums to their ends, about ``room`` at most."""
    unit = _product(nodes)
    if unit is None or room == 0:
        return []
    channels = unit.weight.size if isinstance(unit, Depthwise) else unit.weight[0].size
    shape = (1, 1, channels * unit.groups if isinstance(unit, GroupedMatVec) else channels)
    return [vector for group in boundary_vectors(unit, shape, [r], room) for vector in group.vectors[0]]


def _compared(simulation: EngineSim, graph: Graph, alone: Program, frame: Frame) -> tuple[int, str]:
    """Run a pass alone on ``frame``; return the number of wrong codes, and the first of them in words."""
    (p,) = alone.cut.passes
    where = f"pass '{p.name}' alone on maps '{frame.name}'"
    try:
        memory = _with_maps(graph, alone, frame)
        simulation.run_program(memory, alone.passes)
    except VerificationError as error:
        return 1, f"{where}: {error}"
    found = result_codes(graph, alone, p, memory)
    given = {name: x[None] for name, x in frame.maps.items()}
    start = given.get(graph.input.name, np.full((1, *graph.input.shape), max(0, graph.input.qint.min)))
    copied = given.get(p.result)  # given where the pass copies a part of a joined map
    made = copied if copied is not None else next(value for _, value in values(graph, start, {p.result}, given))
    expected = made[0] if p.slot is None or p.slot.own is None else made[0][..., p.slot.own]
    wrong = np.argwhere(found != expected)
    if not len(wrong):
        return 0, ""
    place = tuple(int(i) for i in wrong[0])
    return len(wrong), f"{where}: value '{p.result}' at {place} is {found[place]}, should be {expected[place]}"


def _with_maps(graph: Graph, alone: Program, frame: Frame) -> Array:
    """The memory (beats, 2) of a pass with the frame's maps in it."""
    memory, (p,) = alone.memory.copy(), alone.cut.passes
    for name, codes in frame.maps.items():
        if alone.cut.folded and name == p.source:
            beats = input_beats(graph, alone, codes)
        else:
            stored = alone.cut.forms[name].of(codes)
            if p.spread is not None and name == p.source:
                stored = spread(stored, p.spread, p.shape[2])
            elif p.kept is not None and name != p.source:  # what is added has the places of the result
                stored = spread(stored, p.kept, p.out[2])
            beats = map_beats(stored, alone.shape)
        start = alone.maps[name].address
        memory[start : start + len(beats)] = beats
    return memory
