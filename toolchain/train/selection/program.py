"""Choice of channels as a quadratic program in 0/1 variables (Jeong et al., AISTATS 2022), as plain data.

A weight counts only if both its input and its output channel are kept: the objective is the sum over layers of
``u' I v``. A layer's cost depends on its channel counts alone, so a table over pairs of counts holds any cost:
products, cycles, LUTs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UserError

Kept = dict[str, list[int]]
Cost = Callable[[int, int], int]


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

    def cost(self, layer: str, reads: int, writes: int) -> int:
        """Return a layer's cost; 0 if it reads or writes no channel, and so is not there."""
        return self.costs[layer](reads, writes) if reads and writes else 0


@dataclass(frozen=True)
class Choice:
    """The kept channels of every free group, the objective, and a proved upper bound of any selection's."""

    kept: Kept
    objective: float
    bound: float
    seconds: float

    @property
    def gap(self) -> float:
        """Relative distance of the bound from the objective."""
        return max(0.0, self.bound - self.objective) / max(self.objective, 1e-12)


@dataclass(frozen=True)
class ChannelProgram:
    """Layers, sizes of their groups, those that may shrink, and the limits.

    Of a group at least ``least`` channels are kept, and a multiple of ``multiple``, or all it has; of one in
    ``optional``, whose layers a skip goes around, also none. ``hint`` says what helps where that is too much.
    """

    layers: Sequence[Weights]
    sizes: Mapping[str, int]
    free: Sequence[str]
    limits: Sequence[Limit]
    least: int = 1
    multiple: int = 1
    hint: str = "raise the budget"
    optional: frozenset[str] = frozenset()

    def allowed(self, name: str) -> list[int]:
        """Return the numbers of channels of the group ``name`` that may be kept, ascending."""
        size = self.sizes[name]
        some = [n for n in range(min(self.least, size), size + 1) if n % self.multiple == 0 or n == size]
        return [0, *some] if name in self.optional else some

    def floor(self, name: str) -> int:
        """The fewest channels of the group ``name`` that are kept."""
        return self.allowed(name)[0]

    def objective(self, kept: Mapping[str, Sequence[int]]) -> float:
        """The importance of all weights between kept channels."""
        total = 0.0
        for layer in self.layers:
            rows = layer.importance[self.indices(kept, layer.writes)]
            columns = slice(None) if layer.reads is None else self.indices(kept, layer.reads)
            total += float(rows[:, columns].sum())
        return total

    def fits(self, counts: Mapping[str, int]) -> bool:
        """Return whether ``counts`` (free groups; the others whole) meet every limit."""
        return all(used <= limit.bound for limit in self.limits for used in self.used(limit, counts))

    def used(self, limit: Limit, counts: Mapping[str, int]) -> list[int]:
        """The costs that the limit bounds."""
        full = dict(self.sizes) | dict(counts)
        costs = [limit.cost(x.name, 1 if x.reads is None else full[x.reads], full[x.writes]) for x in self.layers]
        return costs if limit.each else [sum(costs)]

    def check(self) -> None:
        """Check that the fewest channels a group meet the limits.

        Raises:
            UserError: it does not; names the limit and the layer that takes most of it.
        """
        least = dict(self.sizes) | {name: self.floor(name) for name in self.free}
        fewest = -(-self.least // self.multiple) * self.multiple
        channels = "one channel" if fewest == 1 else f"a floor of {fewest} channels"
        for limit in self.limits:
            needed = max(self.used(limit, least))
            if needed > limit.bound:
                costs = {x.name: limit.cost(x.name, 1 if x.reads is None else least[x.reads], least[x.writes])
                         for x in self.layers}  # fmt: skip
                worst = max(costs, key=lambda name: costs[name])
                raise UserError(
                    f"a budget of {limit.bound:,} {limit.kind} cannot be met: {channels} a layer still takes "
                    f"{needed:,}, most of it in '{worst}' ({costs[worst]:,})",
                    hint=self.hint,
                )

    def greedy(self) -> Kept:
        """Remove what loses the least importance for what it saves until all fits; then add what gains most."""
        kept = {name: list(range(self.sizes[name])) for name in self.free}
        allowed = {name: self.allowed(name) for name in self.free}
        while not self.fits(counts_of(kept)):
            moves = []
            for name in self.free:
                fewer = [n for n in allowed[name] if n < len(kept[name])]
                if fewer:
                    losses = self.gains(kept, name)[kept[name]]
                    least = np.argsort(losses, kind="stable")[: len(kept[name]) - fewer[-1]]
                    saved = self._saved(kept, name, fewer[-1])
                    moves.append((float(losses[least].sum()) / saved, name, [kept[name][at] for at in least]))
            _, name, channels = min(moves)
            kept[name] = [channel for channel in kept[name] if channel not in channels]
        while True:
            moves = []
            for name in self.free:
                more = next((n for n in allowed[name] if n > len(kept[name])), None)
                if more is not None and self.fits(counts_of(kept) | {name: more}):
                    gains = self.gains(kept, name)
                    gains[kept[name]] = -1.0
                    most = np.argsort(-gains, kind="stable")[: more - len(kept[name])]
                    moves.append((-float(gains[most].sum()), name, most.tolist()))
            if not moves:
                return kept
            _, name, channels = min(moves)
            kept[name] = sorted([*kept[name], *channels])

    def gains(self, kept: Kept, name: str) -> NDArray[np.float64]:
        """Return what each channel of a group adds to the objective beside those that other groups keep."""
        total = np.zeros(self.sizes[name])
        for layer in self.layers:
            if layer.writes == name:
                columns = slice(None) if layer.reads is None else self.indices(kept, layer.reads)
                total += layer.importance[:, columns].sum(1)
            if layer.reads == name:
                total += layer.importance[self.indices(kept, layer.writes)].sum(0)
        return total

    def indices(self, kept: Mapping[str, Sequence[int]], name: str) -> list[int]:
        """The channels that are kept of the group ``name``: all of one that may not shrink."""
        return list(kept.get(name, range(self.sizes[name])))

    def _saved(self, kept: Kept, name: str, count: int) -> float:
        """The share of the exceeded limits that a group of only ``count`` channels saves."""
        counts = counts_of(kept)
        fewer, saved = counts | {name: count}, 0.0
        for limit in self.limits:
            before, after = self.used(limit, counts), self.used(limit, fewer)
            saved += sum((a - b) / limit.bound for a, b in zip(before, after, strict=True) if a > limit.bound)
        return max(saved, 1e-12)


def counts_of(kept: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the number of channels that each group keeps."""
    return {name: len(indices) for name, indices in kept.items()}
