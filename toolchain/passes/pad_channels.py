"""MatVec(118 -> 33)   becomes   MatVec(120 -> 36): counts that lanes divide, exact by zeros.

Padding is a fact of the graph, not of a unit: a padded graph is an ordinary one of more channels, so that schedules,
costs, C++ and both simulators need no word about it; only the host, which fills the input's added channels with zeros
and drops the outputs', knows both counts. What an added channel carries does not matter, because whoever sums over
channels has zeros for weights there: products give zeros or copies, requantizers, filters and joins treat it as the
channel before it, and so every value keeps its range and its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.errors import UserError, unknown_name
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import Concat, Crop, Reshape, Upsample
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalMax, GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork
from toolchain.ir.ranges import input_range
from toolchain.ir.types import Array, Value

_KEEP = (Threshold, MulShift, Lookup, GlobalSum, GlobalMax, Crop, Upsample, Fork)


@dataclass(frozen=True)
class ChannelGroups:
    """Channels that are counted together, each group called by the first value that has it alone.

    ``parts`` are the groups whose channels a value has, one behind the other; ``counts`` those of each group, ``fixed``
    the groups that cannot be padded.
    """

    parts: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    fixed: frozenset[str]

    def of(self, values: Mapping[str, Value] | set[str]) -> set[str]:
        """Return the groups of ``values``."""
        return {group for name in values for group in self.parts[name]}

    def live(self, name: str, padded: Mapping[str, int]) -> Array:
        """Return which channels, (C,) bool, of the value ``name`` are its own in a graph of ``padded`` groups."""
        counts = [(self.counts[group], padded.get(group, self.counts[group])) for group in self.parts[name]]
        return np.concatenate([np.arange(most) < own for own, most in counts])


def channel_groups(graph: Graph) -> ChannelGroups:
    """The groups of ``graph``, forks inserted or not.

    Products of all channels begin groups, what treats channel by channel passes them on, sums make their terms' one.
    Where a group of channels is cut, told apart by its place, or multiplied by group, it is fixed; so is an output that
    the host does not find class by class, and an input whose codes have no zero.
    """
    return _Grouping(graph).found()


class _Grouping:
    """The walk over a graph's nodes; groups that turn out to be one are linked to the older."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.values = graph, graph.values()
        self.links: dict[str, str] = {}
        self.fixed: set[str] = set()
        self.parts: dict[str, tuple[str, ...]] = {}

    def found(self) -> ChannelGroups:
        graph = self.graph
        self.parts[graph.input.name] = (graph.input.name,)
        low, high = input_range(graph)
        if not low <= 0 <= high:
            self.fixed.add(graph.input.name)
        for node in graph.nodes:
            parts = self._after(node)
            self.parts |= {value.name: parts if parts else (node.outputs[0].name,) for value in node.outputs}
            if parts is None:
                self.fixed |= {part for name in node.inputs for part in self.parts[name]} | {node.outputs[0].name}
        for output in graph.outputs:
            if output.decoding is None or len(self.parts[output.value]) > 1:
                self.fixed.update(self.parts[output.value])
        parts_of = {name: tuple(map(self._root, parts)) for name, parts in self.parts.items()}
        fixed = frozenset(map(self._root, self.fixed))
        counts = {part: self.values[part].shape[2] for parts in parts_of.values() for part in parts}
        return ChannelGroups(parts_of, counts, fixed)

    def _root(self, part: str) -> str:
        while part in self.links:
            part = self.links[part]
        return part

    def _after(self, node: Node) -> tuple[str, ...] | None:
        """Groups of the outputs of ``node``, none for a new one; None where those of its inputs must stay."""
        before = [self.parts[name] for name in node.inputs]
        x = before[0]
        if isinstance(node, MatVec):
            return ()
        if isinstance(node, Depthwise | Pool):
            taps = node.taps if isinstance(node, Pool) else len(node.weight)
            one = x[: len(x) // taps]
            return one if one * taps == x else None
        if isinstance(node, Window):
            return x * node.taps
        if isinstance(node, Reshape):
            joined = node.output.shape[2] // self.values[node.inputs[0]].shape[2]
            return x * joined if joined else None
        if isinstance(node, Concat):
            return tuple(part for parts in before for part in parts)
        if isinstance(node, Add | Multiply):
            return self._joined(*before)
        return x if isinstance(node, _KEEP) else None

    def _joined(self, a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...] | None:
        pairs = [(self._root(one), self._root(other)) for one, other in zip(a, b, strict=False)]
        if len(a) != len(b) or any(self.values[x].shape[2] != self.values[y].shape[2] for x, y in pairs):
            return None
        order = list(self.values)
        for one, other in pairs:
            first, second = sorted((self._root(one), self._root(other)), key=order.index)
            if first != second:
                self.links[second] = first
        return a


def pad_channels(graph: Graph, padded: Mapping[str, int], *, where: str = "plan") -> Graph:
    """``graph`` (forks inserted) with as many channels of the values named in ``padded``, and of all in their groups.

    It computes the same on the host's frames; the same object when every value has as many.

    Raises:
        UserError: an unknown value, fewer channels than it has, or channels that cannot be padded.
    """
    values = graph.values()
    if all(name in values and values[name].shape[2] == count for name, count in padded.items()):
        return graph
    groups = channel_groups(graph)
    wanted = {_group(groups, values, name, count, where): count for name, count in padded.items()}
    rewriting = _Padding(graph, groups, wanted)
    return replace(
        graph,
        input=rewriting.value(graph.input),
        nodes=tuple(map(rewriting.node, graph.nodes)),
        padded_input=rewriting.added(graph.input.name),
        outputs=tuple(replace(output, padded=rewriting.added(output.value)) for output in graph.outputs),
    )


def _group(groups: ChannelGroups, values: Mapping[str, Value], name: str, count: int, where: str) -> str:
    if name not in values:
        wrong = unknown_name("padded value", name, values)
        raise UserError(wrong.what, where=where, hint=wrong.hint)
    parts = groups.parts[name]
    if len(parts) > 1 or parts[0] in groups.fixed:
        raise UserError(f"the channels of '{name}' cannot be padded", where=where, hint="leave it out")
    if count < groups.counts[parts[0]]:
        raise UserError(f"'{name}' has {groups.counts[parts[0]]} channels, more than {count}", where=where)
    return parts[0]


@dataclass(frozen=True)
class _Padding:
    """The rewriting of a graph's values and nodes."""

    graph: Graph
    groups: ChannelGroups
    wanted: Mapping[str, int]

    def live(self, name: str) -> Array:
        return self.groups.live(name, self.wanted)

    def added(self, name: str) -> int:
        return int((~self.live(name)).sum())

    def value(self, value: Value) -> Value:
        height, width, channels = value.shape
        added = self.added(value.name)
        return replace(value, shape=(height, width, channels + added)) if added else value

    def node(self, node: Node) -> Node:
        names = [*node.inputs, *(value.name for value in node.outputs)]
        if not any(group in self.wanted for name in names for group in self.groups.parts[name]):
            return node
        changes: dict[str, Any] = {"outputs": tuple(map(self.value, node.outputs))}
        live = self.live(node.outputs[0].name)
        if isinstance(node, MatVec):
            changes["weight"] = _padded_weight(node, self.live(node.inputs[0]), live)
        elif isinstance(node, Depthwise):
            changes["weight"] = _repeated(node.weight.T, live).T
        elif isinstance(node, Threshold):
            changes |= {name: _repeated(getattr(node, name), live) for name in ("thresholds", "start", "step")}
        elif isinstance(node, MulShift):
            changes |= {name: _repeated(getattr(node, name), live) for name in ("mul", "add", "base")}
        elif isinstance(node, Lookup):
            changes["table"] = _repeated(node.table, live)
        elif isinstance(node, Add):
            changes["multipliers"] = tuple(_repeated(factors, live) for factors in node.multipliers)
        elif isinstance(node, Concat):
            changes["channels"] = tuple(len(self.live(name)) for name in node.inputs)
        return replace(node, **changes)


def _repeated(entries: Array, live: Array) -> Array:
    """``entries`` (C or 1, ...), one a channel where there are several; an added one has those of the one before it."""
    return entries if len(entries) == 1 else entries[np.cumsum(live) - 1]


def _padded_weight(node: MatVec, inputs: Array, outputs: Array) -> Array:
    """Zeros for added inputs and added outputs; these are copies where weights are signs, which stay single bits."""
    weight = np.zeros((len(node.weight), len(inputs)), dtype=node.weight.dtype)
    weight[:, inputs] = node.weight
    if node.signs and inputs.all():
        return _repeated(weight, outputs)
    padded = np.zeros((len(outputs), len(inputs)), dtype=node.weight.dtype)
    padded[outputs] = weight
    return padded
