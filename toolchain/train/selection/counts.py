"""A smaller program beside the channel selection: how many channels of each group, not which.

What a layer can hold with given counts is bounded from above by a table: of every output channel the largest weights
to as many inputs as are read, of the outputs the best, and the same the other way round. The optimum over the counts
bounds every selection far below the linear relaxation of the selection itself, where half of every channel earns half
of everything at a quarter of the cost. Its counts, filled with the best channels, are a selection to begin with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pulp
from numpy.typing import NDArray

from toolchain.train.selection.program import ChannelProgram, Kept, Weights

_SCALE = 1000.0  # objectives of order 1 would meet the solver's absolute gap too early
_ROUNDS = 20  # rounds in which the channels of one group after the other are chosen

Counts = dict[int, Any]  # a variable, or 1, a count
Cell = tuple[int, int, Any]


def solve_counts(program: ChannelProgram, seconds: float) -> tuple[dict[str, int] | None, float]:
    """Counts of the free groups, None when none were found in ``seconds``, and a bound of any selection's objective."""
    model = pulp.LpProblem("counts", pulp.LpMinimize)
    counts = {
        name: {k: pulp.LpVariable(f"n{g}_{k}", cat=pulp.LpBinary) for k in program.allowed(name)}
        for g, name in enumerate(program.free)
    }
    for row in counts.values():
        model += pulp.lpSum(row.values()) == 1
    cells = [_cells(model, program, counts, layer, f"p{at}") for at, layer in enumerate(program.layers)]
    tables = [most(layer) for layer in program.layers]
    model.setObjective(-_SCALE * pulp.lpSum(t[m, n] * x for t, of in zip(tables, cells, strict=True) for m, n, x in of))
    for limit in program.limits:
        if not limit.each:  # else the cells beyond it are not there
            parts = zip(program.layers, cells, strict=True)
            costs = [limit.cost(layer.name, m, n) * x for layer, of in parts for m, n, x in of]
            model += pulp.lpSum(costs) <= limit.bound
    model.solve(pulp.getSolver("HiGHS", msg=False, threads=1, timeLimit=max(seconds, 0.1), gapRel=1e-4))
    bound = float(model.solverModel.getInfo().mip_dual_bound) / -_SCALE
    found = {name: [k for k, x in row.items() if (x.varValue or 0.0) > 0.5] for name, row in counts.items()}
    if any(len(chosen) != 1 for chosen in found.values()):
        return None, bound
    return {name: chosen[0] for name, chosen in found.items()}, bound


def _cells(
    model: pulp.LpProblem, program: ChannelProgram, counts: Mapping[str, Counts], layer: Weights, tag: str
) -> list[Cell]:
    """(channels read, channels written, 1 where these are the layer's counts else 0) of all that no limit rules out."""
    one: Counts = {1: 1} if layer.reads is None else {program.sizes[layer.reads]: 1}
    read = counts.get(layer.reads or "", one)
    written = counts.get(layer.writes, {program.sizes[layer.writes]: 1})
    allowed = [
        [
            all(not limit.each or limit.cost(layer.name, m, n) <= limit.bound for limit in program.limits)
            for n in written
        ]
        for m in read
    ]
    if len(read) == 1 or len(written) == 1:
        cells = [(m, n, x if len(written) == 1 else y) for m, x in read.items() for n, y in written.items()]
        for (_, _, cell), fits in zip(cells, [fits for row in allowed for fits in row], strict=True):
            if not fits:
                model += cell == 0
        return cells
    cells = [
        (m, n, pulp.LpVariable(f"{tag}_{m}_{n}", 0, 1))
        for m, row in zip(read, allowed, strict=True)
        for n, fits in zip(written, row, strict=True)
        if fits
    ]
    by_read: dict[int, list[pulp.LpVariable]] = {m: [] for m in read}
    by_written: dict[int, list[pulp.LpVariable]] = {n: [] for n in written}
    for m, n, x in cells:
        by_read[m].append(x)
        by_written[n].append(x)
    for given, sums in ((read, by_read), (written, by_written)):
        for count, parts in sums.items():
            model += pulp.lpSum(parts) == given[count]
    return cells


def most(layer: Weights) -> NDArray[np.float64]:
    """The most importance that m inputs and n outputs of a layer can hold, at [m, n]; at least the true one."""
    matrix = layer.importance
    if layer.reads is None:
        matrix = matrix.sum(1, keepdims=True)
    by_output = -np.sort(-matrix, axis=1)  # the largest weights of each output first
    outputs = np.cumsum(-np.sort(-np.cumsum(by_output, axis=1), axis=0), axis=0)
    by_input = -np.sort(-matrix, axis=0)
    inputs = np.cumsum(-np.sort(-np.cumsum(by_input, axis=0), axis=1), axis=1)
    return np.pad(np.minimum(outputs, inputs).T, ((1, 0), (1, 0)))


def best_channels(program: ChannelProgram, counts: Mapping[str, int], start: Kept) -> Kept:
    """Return each group's ``counts`` channels that matter most beside those that other groups keep, from ``start`` on.

    One group after the other is chosen anew until nothing changes; the objective never falls after the first round.
    """
    kept = {name: list(indices) for name, indices in start.items()}
    for _ in range(_ROUNDS):
        before = dict(kept)
        for name in program.free:
            gains = program.gains(kept, name)
            order = np.argsort(-gains, kind="stable")
            kept[name] = sorted(int(j) for j in order[: counts[name]])
        if kept == before:
            break
    return kept
