"""Which channels to keep, as a quadratic program in 0/1 variables (Jeong et al., AISTATS 2022), solved as a linear one.

A weight counts only if both its input and its output channel are kept: the objective is the sum over layers of
``u' I v``. A layer's cost depends on its channel counts alone, so a table over pairs of counts holds any cost:
products, cycles, LUTs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pulp
from numpy.typing import NDArray

from toolchain.dse.channel_counts import best_channels, solve_counts
from toolchain.dse.channel_cpsat import solve as solve_cpsat
from toolchain.errors import UserError

Kept = dict[str, list[int]]
Cost = Callable[[int, int], int]
_COUNTS_SHARE = 0.75  # of the time that the program over counts may take; small ones need next to none
_SCALE = 1000.0  # objectives of order 1 would meet the solver's absolute gap too early


@dataclass(frozen=True)
class Weights:
    """A layer: ``importance`` (channels written, read), not negative; ``reads`` None for a depthwise filter."""

    name: str
    reads: str | None
    writes: str
    importance: NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """``costs`` by layer, of (channels read, channels written); their sum, or each of them, is at most ``bound``."""

    kind: str
    costs: Mapping[str, Cost]
    bound: int
    each: bool = False


@dataclass(frozen=True)
class Choice:
    """The kept channels of every free group, the objective, and a proved upper bound of any selection's."""

    kept: Kept
    objective: float
    bound: float
    seconds: float

    @property
    def gap(self) -> float:
        """What the bound exceeds the objective by, relative."""
        return max(0.0, self.bound - self.objective) / max(self.objective, 1e-12)


@dataclass(frozen=True)
class ChannelProgram:
    """Layers, sizes of their groups, those that may shrink, and the limits. At least one channel of a group is kept."""

    layers: Sequence[Weights]
    sizes: Mapping[str, int]
    free: Sequence[str]
    limits: Sequence[Limit]

    def objective(self, kept: Mapping[str, Sequence[int]]) -> float:
        """The importance of all weights between kept channels."""
        total = 0.0
        for layer in self.layers:
            rows = layer.importance[self._indices(kept, layer.writes)]
            columns = slice(None) if layer.reads is None else self._indices(kept, layer.reads)
            total += float(rows[:, columns].sum())
        return total

    def fits(self, counts: Mapping[str, int]) -> bool:
        """Whether ``counts`` (free groups; the others whole) meet every limit."""
        return all(used <= limit.bound for limit in self.limits for used in self.used(limit, counts))

    def used(self, limit: Limit, counts: Mapping[str, int]) -> list[int]:
        """The costs that the limit bounds."""
        full = dict(self.sizes) | dict(counts)
        costs = [limit.costs[x.name](1 if x.reads is None else full[x.reads], full[x.writes]) for x in self.layers]
        return costs if limit.each else [sum(costs)]

    def check(self) -> None:
        """That one channel a group meets the limits.

        Raises:
            UserError: it does not; names the limit and the layer that takes most of it.
        """
        least = dict(self.sizes) | dict.fromkeys(self.free, 1)
        for limit in self.limits:
            needed = max(self.used(limit, least))
            if needed > limit.bound:
                costs = {x.name: limit.costs[x.name](1 if x.reads is None else least[x.reads], least[x.writes])
                         for x in self.layers}  # fmt: skip
                worst = max(costs, key=lambda name: costs[name])
                raise UserError(
                    f"a budget of {limit.bound:,} {limit.kind} cannot be met: one channel a layer still takes "
                    f"{needed:,}, most of it in '{worst}' ({costs[worst]:,})",
                    hint="raise the budget",
                )

    def greedy(self) -> Kept:
        """Remove what loses the least importance for what it saves until all fits; then add what gains most."""
        kept = {name: list(range(self.sizes[name])) for name in self.free}
        while not self.fits(_counts(kept)):
            moves = []
            for name in self.free:
                if len(kept[name]) > 1:
                    losses = self.gains(kept, name)[kept[name]]
                    least = int(losses.argmin())
                    moves.append((float(losses[least]) / self._saved(kept, name), name, kept[name][least]))
            _, name, channel = min(moves)
            kept[name].remove(channel)
        while True:
            moves = []
            for name in self.free:
                if self.fits(_counts(kept) | {name: len(kept[name]) + 1}) and len(kept[name]) < self.sizes[name]:
                    gains = self.gains(kept, name)
                    gains[kept[name]] = -1.0
                    most = int(gains.argmax())
                    moves.append((-float(gains[most]), name, most))
            if not moves:
                return kept
            _, name, channel = min(moves)
            kept[name] = sorted([*kept[name], channel])

    def solve(self, seconds: float, solver: Literal["highs", "cpsat"] = "highs") -> Choice:
        """The best selection found in ``seconds``, at least as good as the greedy one.

        Raises:
            UserError: a limit cannot be met, or the solver is not installed.
        """
        self.check()
        start, kept = time.monotonic(), self.greedy()
        kept = self._better(kept, best_channels(self, _counts(kept), kept))
        counts, bound = solve_counts(self, _COUNTS_SHARE * seconds)
        if counts is not None:
            kept = self._better(kept, best_channels(self, counts, kept))
        value, rest = self.objective(kept), seconds - (time.monotonic() - start)
        found, other = solve_cpsat(self, kept, rest) if solver == "cpsat" else self._highs(value, rest)
        kept = self._better(kept, found)
        value, bounds = self.objective(kept), (bound, other, self.objective({}))
        return Choice(kept, value, max(value, min(b for b in bounds if b < math.inf)), time.monotonic() - start)

    def gains(self, kept: Kept, name: str) -> NDArray[np.float64]:
        """What each channel of a group adds to the objective beside those kept of the others."""
        total = np.zeros(self.sizes[name])
        for layer in self.layers:
            if layer.writes == name:
                columns = slice(None) if layer.reads is None else self._indices(kept, layer.reads)
                total += layer.importance[:, columns].sum(1)
            if layer.reads == name:
                total += layer.importance[self._indices(kept, layer.writes)].sum(0)
        return total

    def _better(self, kept: Kept, found: Kept) -> Kept:
        """What is found, when it is a selection within the limits that is worth more."""
        if all(found.values()) and self.fits(_counts(found)) and self.objective(found) > self.objective(kept):
            return found
        return kept

    def _highs(self, least: float, seconds: float) -> tuple[Kept, float]:
        """What HiGHS has found in the time, and its bound: minus infinity where ``least`` is proved the most."""
        model, channels = self._model(least)
        model.solve(pulp.getSolver("HiGHS", msg=False, threads=1, timeLimit=max(seconds, 0.1), gapRel=0.0))
        bound = float(model.solverModel.getInfo().mip_dual_bound) / -_SCALE
        return {
            name: [j for j, x in enumerate(row) if (x.varValue or 0.0) > 0.5] for name, row in channels.items()
        }, bound

    def _model(self, least: float) -> tuple[pulp.LpProblem, dict[str, list[pulp.LpVariable]]]:
        model = pulp.LpProblem("channels", pulp.LpMinimize)
        channels = {
            name: [pulp.LpVariable(f"c{g}_{j}", cat=pulp.LpBinary) for j in range(self.sizes[name])]
            for g, name in enumerate(self.free)
        }
        counts = {
            name: [pulp.LpVariable(f"n{g}_{k}", cat=pulp.LpBinary) for k in range(1, self.sizes[name] + 1)]
            for g, name in enumerate(self.free)
        }
        for name, row in counts.items():
            model += pulp.lpSum(row) == 1
            model += pulp.lpSum(k * x for k, x in enumerate(row, 1)) == pulp.lpSum(channels[name])
        terms = [term for i, layer in enumerate(self.layers) for term in _importance(model, channels, layer, i)]
        objective = pulp.LpAffineExpression(terms)
        model.setObjective(-_SCALE * objective)
        model += objective >= least * (1 - 1e-9)  # the greedy selection stands in for a warm start
        for limit in self.limits:
            parts = [self._cost(model, counts, layer, limit, f"{limit.kind}{i}") for i, layer in enumerate(self.layers)]
            for part in parts if limit.each else [pulp.lpSum(parts)]:
                model += part <= limit.bound
        return model, channels

    def _cost(
        self, model: pulp.LpProblem, counts: Mapping[str, list[pulp.LpVariable]], layer: Weights, limit: Limit, tag: str
    ) -> pulp.LpAffineExpression:
        """A layer's cost: exact, since a pair of counts is one variable whose sums are the counts' own."""
        cost, reads = limit.costs[layer.name], layer.reads
        whole_in, whole_out = 1 if reads is None else self.sizes[reads], self.sizes[layer.writes]
        written, read = counts.get(layer.writes), None if reads is None else counts.get(reads)
        if written is None or read is None:
            if written is not None:
                return pulp.lpSum(cost(whole_in, n) * x for n, x in enumerate(written, 1))
            if read is not None:
                return pulp.lpSum(cost(n, whole_out) * x for n, x in enumerate(read, 1))
            return pulp.LpAffineExpression(constant=cost(whole_in, whole_out))
        pairs = [[pulp.LpVariable(f"{tag}_{m}_{n}", 0, 1) for n in range(len(written))] for m in range(len(read))]
        for m, x in enumerate(read):
            model += pulp.lpSum(pairs[m]) == x
        for n, x in enumerate(written):
            model += pulp.lpSum(row[n] for row in pairs) == x
        return pulp.lpSum(cost(m, n) * x for m, row in enumerate(pairs, 1) for n, x in enumerate(row, 1))

    def _indices(self, kept: Mapping[str, Sequence[int]], name: str) -> list[int]:
        return list(kept.get(name, range(self.sizes[name])))

    def _saved(self, kept: Kept, name: str) -> float:
        """The share of the exceeded limits that one channel less saves."""
        counts = _counts(kept)
        fewer, saved = counts | {name: counts[name] - 1}, 0.0
        for limit in self.limits:
            before, after = self.used(limit, counts), self.used(limit, fewer)
            saved += sum((a - b) / limit.bound for a, b in zip(before, after, strict=True) if a > limit.bound)
        return max(saved, 1e-12)


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


def _counts(kept: Mapping[str, Sequence[int]]) -> dict[str, int]:
    return {name: len(indices) for name, indices in kept.items()}
