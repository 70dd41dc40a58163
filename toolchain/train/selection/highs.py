"""The channel selection as a linear program in 0/1 variables, solved by HiGHS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pulp

from toolchain.train.selection.program import ChannelProgram, Kept, Limit, Weights

_SCALE = 1000.0  # objectives of order 1 would meet the solver's absolute gap too early


def solve_highs(program: ChannelProgram, least: float, seconds: float) -> tuple[Kept, float]:
    """Return what HiGHS found in the time, and its bound: minus infinity if ``least`` is proved the most."""
    model, channels = _model(program, least)
    model.solve(pulp.getSolver("HiGHS", msg=False, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0))
    bound = float(model.solverModel.getInfo().mip_dual_bound) / -_SCALE
    return {name: [j for j, x in enumerate(row) if (x.varValue or 0.0) > 0.5] for name, row in channels.items()}, bound


def _model(program: ChannelProgram, least: float) -> tuple[pulp.LpProblem, dict[str, list[pulp.LpVariable]]]:
    model = pulp.LpProblem("channels", pulp.LpMinimize)
    channels = {
        name: [pulp.LpVariable(f"c{g}_{j}", cat=pulp.LpBinary) for j in range(program.sizes[name])]
        for g, name in enumerate(program.free)
    }
    counts = {
        name: {k: pulp.LpVariable(f"n{g}_{k}", cat=pulp.LpBinary) for k in program.allowed(name)}
        for g, name in enumerate(program.free)
    }
    for name, row in counts.items():
        model += pulp.lpSum(row.values()) == 1
        model += pulp.lpSum(k * x for k, x in row.items()) == pulp.lpSum(channels[name])
    objective = pulp.LpAffineExpression()
    for i, layer in enumerate(program.layers):
        for x, weight in _importance(model, channels, layer, i):
            objective.addterm(x, weight)  # a channel may be alone in the term of two layers
    model.setObjective(-_SCALE * objective)
    model += objective >= least * (1 - 1e-9)  # the greedy selection stands in for a warm start
    for limit in program.limits:
        parts = [
            _cost(program, model, counts, layer, limit, f"{limit.kind}{i}") for i, layer in enumerate(program.layers)
        ]
        for part in parts if limit.each else [pulp.lpSum(parts)]:
            model += part <= limit.bound
    return model, channels


def _cost(
    program: ChannelProgram,
    model: pulp.LpProblem,
    counts: Mapping[str, Mapping[int, pulp.LpVariable]],
    layer: Weights,
    limit: Limit,
    tag: str,
) -> pulp.LpAffineExpression:
    """A layer's cost: exact, since a pair of counts is one variable whose sums are the counts' own."""
    cost, reads = partial(limit.cost, layer.name), layer.reads
    whole_in, whole_out = 1 if reads is None else program.sizes[reads], program.sizes[layer.writes]
    written, read = counts.get(layer.writes), None if reads is None else counts.get(reads)
    if written is None or read is None:
        if written is not None:
            return pulp.lpSum(cost(whole_in, n) * x for n, x in written.items())
        if read is not None:
            return pulp.lpSum(cost(n, whole_out) * x for n, x in read.items())
        return pulp.LpAffineExpression(constant=cost(whole_in, whole_out))
    pairs = {(m, n): pulp.LpVariable(f"{tag}_{m}_{n}", 0, 1) for m in read for n in written}
    for m, x in read.items():
        model += pulp.lpSum(pairs[m, n] for n in written) == x
    for n, x in written.items():
        model += pulp.lpSum(pairs[m, n] for m in read) == x
    return pulp.lpSum(cost(m, n) * x for (m, n), x in pairs.items())


def _importance(
    model: pulp.LpProblem, channels: Mapping[str, list[pulp.LpVariable]], layer: Weights, index: int
) -> list[tuple[pulp.LpVariable, float]]:
    """The objective's terms of a layer: a variable for each pair that is at most either channel."""
    written, read = channels.get(layer.writes), None if layer.reads is None else channels.get(layer.reads)
    if written is None and read is None:
        return []
    if written is None or read is None:
        row, sums = (written, layer.importance.sum(1)) if written is not None else (read, layer.importance.sum(0))
        assert row is not None
        return [(x, float(weight)) for x, weight in zip(row, sums, strict=True)]
    terms = []
    for j, u in enumerate(written):
        for i, v in enumerate(read):
            pair = pulp.LpVariable(f"w{index}_{j}_{i}", 0, 1)
            model += pair <= u
            model += pair <= v
            terms.append((pair, float(layer.importance[j, i])))
    return terms
