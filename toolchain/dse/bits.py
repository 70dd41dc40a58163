"""Bits of every layer's weights and the lanes of every unit, chosen in one integer program.

A layer in fewer bits takes less of what its unit is made of and as many cycles: what it gives up are resources, which
other units turn into lanes. So the bits of a layer are options of its decision, and what they lose is one row more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol, TypeVar

import numpy as np

from toolchain.dse.expand import expansion
from toolchain.dse.ilp import Goal, IntegerProgram, available_solver
from toolchain.dse.problem import Decision, Option, Problem
from toolchain.dse.solve import Infeasible, Solution, least_bound, solve
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Array, QInt, Range
from toolchain.resources import Resources

Sensitivity = Mapping[str, Mapping[int, float]]
"""The loss of every layer, by its name, with its weights in so many bits. Losses of layers add up."""

STEPS = 1_000_000
"""Parts of the loss that is allowed: losses of layers are counted in whole ones, rounded up."""


class Lossy(Protocol):
    """A choice of bits: what it loses, and the cycles of a frame."""

    @property
    def loss(self) -> float:
        """The summed loss of the layers."""

    @property
    def cycles(self) -> float:
        """Cycles of a frame."""


L = TypeVar("L", bound=Lossy)


def demand_losses(table: Sensitivity, layers: Iterable[str], widths: Sequence[int]) -> None:
    """Raise UserError unless ``table`` has a loss for every layer in each of ``widths`` bits."""
    for name in layers:
        if missing := [bits for bits in widths if bits not in table.get(name, {})]:
            what = f"the sensitivity table has no loss of {', '.join(map(str, missing))} bits for it"
            raise UserError(what, where=name, hint="a table is JSON: layer, bits, loss")


def unbeaten(found: Iterable[L]) -> list[L]:
    """Return the choices that none beats in cycles and loss, the fastest first."""
    front: list[L] = []
    for each in sorted(found, key=lambda c: (c.cycles, c.loss)):
        if not front or each.loss < front[-1].loss:
            front.append(each)
    return front


def nearest(rows: Array, bits: int) -> Array:
    """Weights (N, K) at the nearest codes of ``bits`` bits, as real numbers; a row's largest is the largest code."""
    codes, step = coded(rows, bits)
    found: Array = codes * step
    return found


def coded(rows: Array, bits: int, *, alike: bool = False) -> tuple[Array, Array]:
    """Weights (N, K) in codes of ``bits`` bits and their steps (N, 1), at least 1; ``alike``: one step for all rows."""
    most = np.abs(rows).max(axis=1, keepdims=True)
    if alike:
        most = np.full_like(most, most.max())
    step = np.maximum(most / ((1 << (bits - 1)) - 1), 1.0)
    return np.rint(rows / step), step


def in_bits(graph: Graph, bits: Mapping[str, int]) -> Graph:
    """``graph`` with the weights of the named products in so many bits where they have more, for its cost.

    The requantizer behind a product takes up the steps, so that the graph computes about the same. Sums that something
    else reads keep their type, and their scale is lost.
    """
    ranges, readers = value_ranges(graph), graph.consumers()
    steps: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, MatVec) and bits.get(node.name, own := _bits(node)) < own:
            reads = readers[node.output.name]
            taken = isinstance(reads[0], Threshold | MulShift) if len(reads) == 1 else False
            node, step = _coarser(node, bits[node.name], reads[0] if taken else None, ranges[node.inputs[0]])
            if taken:
                steps[node.output.name] = step[:, 0]
        elif isinstance(node, Threshold | MulShift) and node.inputs[0] in steps:
            node = _rescaled(node, steps[node.inputs[0]])
        nodes.append(node)
    return graph.with_nodes(nodes)


def _bits(node: MatVec) -> int:
    return node.weight_type.bits


def _coarser(node: MatVec, bits: int, reader: Node | None, x: Range) -> tuple[MatVec, Array]:
    """``node`` in ``bits`` bits and the steps of its rows; its sums are of their own type for a ``reader``."""
    alike = reader is None or all(len(each) == 1 for each in _numbers(reader))
    codes, step = coded(node.weight, bits, alike=alike)
    found = replace(node, weight=codes.astype(np.int64), weight_type=QInt(bits, node.weight_type.signed))
    if reader is not None:
        value = replace(node.output, type=QInt.holding(*found.output_range(node.output.shape, x)))
        found = replace(found, outputs=(value,))
    return found, step


def _numbers(reader: Node) -> tuple[Array, ...]:
    return (reader.thresholds,) if isinstance(reader, Threshold) else (reader.mul,)  # type: ignore[attr-defined]


def _rescaled(node: Threshold | MulShift, step: Array) -> Node:
    """``node`` behind sums that are divided by ``step``, one an output; factors stay as long as they are."""
    if isinstance(node, Threshold):
        rows = step[:, None] if len(node.thresholds) > 1 else step[:1, None]
        return replace(node, thresholds=np.ceil(node.thresholds / rows).astype(np.int64))
    factors = node.mul * (step if len(node.mul) > 1 else step[:1])
    more = np.abs(factors).max() / max(int(np.abs(node.mul).max()), 1)
    less = min(node.shift, ceil(np.log2(more)) if more > 1 else 0)
    kind = node.output.qint
    return replace(
        node,
        mul=np.rint(factors / 2**less).astype(np.int64),
        add=node.add >> less,
        shift=node.shift - less,
        low=max(node.low, kind.min),
        high=min(node.high, kind.max),
    )


def with_bits(graph: Graph, table: Sensitivity, widths: Sequence[int], *, ultra: bool = False) -> Layered:
    """The choices of ``graph`` (as `expand` takes it), those of its products in all bits of ``widths``.

    Of bits that a layer's weights fit the fewest are an option, as it stands.

    Raises:
        UserError: the table lacks a product, or a width of one.
    """
    widths = sorted(widths)
    layers = {node.name: node for node in graph.nodes if isinstance(node, MatVec)}
    demand_losses(table, layers, widths)
    every = {bits: expansion(in_bits(graph, dict.fromkeys(layers, bits)), ultra=ultra) for bits in widths}
    options = {bits: {d.name: d.options for d in each.decisions()} for bits, each in every.items()}
    widest = every[widths[-1]]
    names = {chain.name: [n.name for n in chain.nodes if n.name in layers] for chain in widest.chains}
    decisions = []
    for name, found in options[widths[-1]].items():
        for layer in names.get(name, []):  # one at most: a product begins a chain, or its window does
            found = tuple(
                replace(option, bits={layer: bits})
                for bits in _kept(widths, _bits(layers[layer]))
                for option in options[bits][name]
            )
        decisions.append(Decision(name, found))
    return Layered(widest.joined(tuple(decisions)), table, {name: n.weight.size for name, n in layers.items()})


def _kept(widths: Sequence[int], own: int) -> Sequence[int]:
    """Return those of rising ``widths`` that are below a layer's ``own``, and the first that is not."""
    below = [bits for bits in widths if bits < own]
    return widths[: len(below) + 1]


@dataclass(frozen=True)
class Chosen:
    """Bits by layer, what they lose, and the selection; ``bound``: no bits that lose no more take fewer cycles."""

    bits: dict[str, int]
    loss: float
    solution: Solution
    bound: int

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.solution.cycles - self.bound) / self.solution.cycles)


@dataclass(frozen=True)
class Layered:
    """A problem whose options have bits, the losses of these by layer, and the number of each layer's weights."""

    problem: Problem
    table: Sensitivity
    sizes: Mapping[str, int]

    def loss(self, bits: Mapping[str, int]) -> float:
        """Return the loss of layers in so many bits."""
        return sum(self.table[layer][width] for layer, width in bits.items())

    def ends(self) -> tuple[float, float]:
        """The least and the most that bits lose."""
        losses = [[self.loss(o.bits) for o in d.options] for d in self.problem.decisions]
        return sum(map(min, losses)), sum(map(max, losses))

    def limited(self, limit: float) -> Problem:
        """The problem of bits that lose at most ``limit``.

        Raises:
            UserError: none lose as little.
        """
        return _limited(self.problem, self.loss, limit)

    def solve(self, budget: Resources, limit: float, *, time_limit: float = 60.0, solver: str = "highs") -> Chosen:
        """The fastest bits and lanes together that lose at most ``limit``.

        Where the program finds nothing in time, the bits that take least memory and then the lanes, with the bound that
        the program's relaxation proves.

        Raises:
            Infeasible: nothing fits, whatever the bits.
            UserError: no bits lose as little.
        """
        problem = self.limited(limit)
        try:
            found = solve(problem, budget, time_limit=time_limit, solver=solver)
        except Infeasible as error:
            if error.over != Resources():
                raise
            chosen = self.in_turn(budget, limit, time_limit=time_limit, solver=solver)
            return replace(chosen, bound=min(least_bound(problem, budget, solver), chosen.bound))
        return self._chosen(found)

    def in_turn(self, budget: Resources, limit: float, *, time_limit: float = 60.0, solver: str = "highs") -> Chosen:
        """First the bits that take least memory and lose at most ``limit``, then lanes for them; the bound is of these.

        Raises:
            Infeasible: they do not fit.
            UserError: no bits lose as little.
        """
        return self.fixed(self.smallest(limit), budget, time_limit=time_limit, solver=solver)

    def fixed(
        self, bits: Mapping[str, int], budget: Resources, *, time_limit: float = 60.0, solver: str = "highs"
    ) -> Chosen:
        """The fastest lanes for these bits.

        Raises:
            Infeasible: nothing fits.
        """
        decisions = (
            Decision(d.name, tuple(o for o in d.options if all(bits[n] == b for n, b in o.bits.items())))
            for d in self.problem.decisions
        )
        problem = replace(self.problem, decisions=tuple(decisions))
        return self._chosen(solve(problem, budget, time_limit=time_limit, solver=solver))

    def smallest(self, limit: float) -> dict[str, int]:
        """Bits that lose at most ``limit`` and have the fewest bits of weights in all.

        Raises:
            UserError: none lose as little.
        """
        widths = {name: sorted({o.bits[name] for d in self.problem.decisions for o in d.options if name in o.bits})
                  for name in self.sizes}  # fmt: skip
        decisions = tuple(
            Decision(name, tuple(Option({}, 0, Resources(lut=size * b), bits={name: b}) for b in widths[name]))
            for name, size in self.sizes.items()
        )
        memory = Resources(lut=sum(size * max(widths[name]) for name, size in self.sizes.items()))
        problem = _limited(Problem(decisions), self.loss, limit)
        picked = IntegerProgram(problem, memory, available_solver("highs")).select(Goal.SCARCEST, 60.0).picked
        assert picked is not None, "within the limit there are bits"
        return {layer: width for option in picked for layer, width in option.bits.items()}

    def _chosen(self, found: Solution) -> Chosen:
        bits = {layer: width for option in found.chosen.values() for layer, width in option.bits.items()}
        return Chosen(bits, self.loss(bits), found, found.cycles_bound)


def _limited(problem: Problem, loss: Callable[[Mapping[str, int]], float], limit: float) -> Problem:
    """``problem`` with the losses of its options in parts of ``limit``, those that lose more left out."""

    def priced(option: Option) -> Option:
        own = loss(option.bits)
        return replace(option, loss=(ceil(own / limit * STEPS) if limit else STEPS + 1) if own else 0)

    decisions = []
    for d in problem.decisions:
        decisions.append(Decision(d.name, tuple(o for o in map(priced, d.options) if o.loss <= STEPS)))
    if sum(min((o.loss for o in d.options), default=STEPS + 1) for d in decisions) > STEPS:
        raise UserError(f"no bits lose as little as {limit}", hint="allow more loss, or give more bits to choose from")
    return Problem(tuple(decisions), problem.joints, STEPS)
