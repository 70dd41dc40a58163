"""Joined, picked, repeated and rearranged maps: the integers move as the real values do.

These operations change no number, so the scales, offsets, clamps and bends of every channel move along; channels of
unlike scales stay side by side, and what reads them treats each by its own scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from toolchain.ir.channels import shrink
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Permute, Reshape, Slice, SpaceToDepth, Transpose, Upsample
from toolchain.ir.ops.node import Node
from toolchain.lowering.scaled import Scaled, Term
from toolchain.lowering.state import Lowering, even, lower_node, merged, single

T = TypeVar("T")


@lower_node.register
def _(node: Concat, state: Lowering, *inputs: Scaled) -> Scaled:
    parts = [merged(state, node, x) for x in inputs]
    terms = tuple(part.terms[0] for part in parts)

    def joined(numbers: Callable[[Scaled], tuple[T, ...]]) -> tuple[T, ...]:
        found = [numbers(part) for part in parts]
        spread = [v if len(v) > 1 else v * count for v, count in zip(found, node.channels, strict=True)]
        return shrink(tuple(number for numbers in spread for number in numbers))

    total = state.emit(Concat, node, terms, node.output.shape, channels=node.channels)
    state.joined[total.value.name] = terms
    return Scaled(
        (Term(total.value, joined(lambda x: x.terms[0].scale), total.low, total.high),),
        joined(lambda x: x.offset),
        joined(lambda x: x.floor),
        joined(lambda x: x.ceiling),
        joined(lambda x: x.knee),
        joined(lambda x: x.leak),
    )


@lower_node.register
def _(node: Slice, state: Lowering, x: Scaled) -> Scaled:
    moved = _moved(node, state, x, start=node.start)
    return _by_channel(moved, lambda v: v[node.start : node.start + node.output.shape[2]])


@lower_node.register
def _(node: Upsample, state: Lowering, x: Scaled) -> Scaled:
    return _moved(node, state, x, factors=node.factors, edges=node.edges)


@lower_node.register
def _(node: Crop, state: Lowering, x: Scaled) -> Scaled:
    return _moved(node, state, x, start=node.start, steps=node.steps)


@lower_node.register
def _(node: SpaceToDepth, state: Lowering, x: Scaled) -> Scaled:
    moved = _moved(node, state, x, block=node.block)
    return _by_channel(moved, lambda v: v * (node.block[0] * node.block[1]))


@lower_node.register
def _(node: Permute, state: Lowering, x: Scaled) -> Scaled:
    moved = _moved(node, state, x, order=node.order)
    return _by_channel(moved, lambda v: tuple(v[k] for k in node.order))


@lower_node.register
def _(node: Reshape, state: Lowering, x: Scaled) -> Scaled:
    """Join positions, whose channels keep their numbers, or part them as `Transpose` does."""
    positions = node.output.shape[2] // x.shape[2]
    moved = _moved(node, state, x if positions else _alike(node, state, x))
    return _by_channel(moved, lambda v: v * positions)


@lower_node.register
def _(node: Transpose, state: Lowering, x: Scaled) -> Scaled:
    return _moved(node, state, _alike(node, state, x))


def _alike(node: Node, state: Lowering, x: Scaled) -> Scaled:
    """Return ``x`` with the same numbers for all channels: they become positions, which share theirs."""
    x = merged(state, node, x)
    if max(map(len, (x.terms[0].scale, x.offset, x.floor, x.ceiling, x.knee, x.leak))) > 1:
        x = even(state, node, single(state, node, x))
    return x


@lower_node.register
def _(node: DepthToSpace, state: Lowering, x: Scaled) -> Scaled:
    """Move channels to positions: at once where those that become one share a scale, else behind the next quantizer."""
    groups: dict[int, set[tuple[object, ...]]] = {}
    numbers = [*(term.scale for term in x.terms), x.offset, x.floor, x.ceiling, x.knee, x.leak]
    for k in range(x.shape[2]):
        own = tuple(v[k] if len(v) > 1 else v[0] for v in numbers)
        groups.setdefault(node.spread(k), set()).add(own)
    if any(len(group) > 1 for group in groups.values()):
        return replace(merged(state, node, x), view=node)
    moved = _moved(node, state, x, block=node.block, channels_first=node.channels_first)
    first = {node.spread(k): k for k in reversed(range(x.shape[2]))}
    return _by_channel(moved, lambda v: tuple(v[first[c]] for c in range(node.output.shape[2])))


def _moved(node: Node, state: Lowering, x: Scaled, **attributes: object) -> Scaled:
    """Return ``x`` with its integers moved by ``node``; the numbers of its channels are still in the old order."""
    x = merged(state, node, x)
    (term,) = x.terms
    out = state.emit(type(node), node, (term,), node.output.shape, **attributes)
    return replace(x, terms=(Term(out.value, term.scale, out.low, out.high),))


def _by_channel(x: Scaled, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Scaled:
    """``x`` with ``change`` applied to all its numbers that stand for single channels."""

    def changed(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        return numbers if len(numbers) == 1 else shrink(change(numbers))

    return Scaled(
        tuple(replace(term, scale=changed(term.scale)) for term in x.terms),
        changed(x.offset),
        changed(x.floor),
        changed(x.ceiling),
        changed(x.knee),
        changed(x.leak),
    )
