"""The layers that parts, shuffles and turns of a tensor stand for, told by where each of its numbers goes.

A call is run on the places of the numbers in place of the numbers, so that `chunk`, `split`, an index or a chain of
`view` and `transpose` need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isqrt, prod

import torch
from torch import Tensor, nn

from toolchain.train.own.kinds import ChannelSlice, PositionSlice
from toolchain.train.own.twins import NoTwinError, reshaped

_HINT = "take channels that lie side by side, and positions in their order"


def taken(shape: Sequence[int], take: Callable[[Tensor], Tensor]) -> list[nn.Module]:
    """The layers that ``take`` a part of a tensor of ``shape``, (N, C, ...).

    Raises:
        NoTwinError: other parts than a run of channels, and positions in their order.
    """
    found = take(_places(shape))
    kept = [_kept(found, shape, axis) for axis in range(len(shape))]
    batch, channels, *positions = kept
    part = _places(shape)[tuple(slice(axis.start, axis.stop, axis.step) for axis in kept)]
    if batch != range(shape[0]) or channels.step != 1 or not torch.equal(part.flatten(), found.flatten()):
        raise NoTwinError("it takes more than a part of the channels and of the positions", _HINT)
    layers: list[nn.Module] = []
    if channels != range(shape[1]):
        layers.append(ChannelSlice(channels.start, channels.stop))
    if positions != [range(size) for size in shape[2:]]:
        layers.append(PositionSlice(*positions))
    return [*layers, *reshaped(part.shape, found.shape)]


def shuffled(shape: Sequence[int], turn: Callable[[Tensor], Tensor]) -> list[nn.Module] | None:
    """The layers that put all numbers of a tensor of ``shape``, (N, C, ...), where ``turn`` does; None without any."""
    places = _places(shape)
    found = turn(places)
    for layers in _shuffles(shape, found.shape):
        moved = places
        for layer in layers:
            moved = layer(moved)
        if torch.equal(moved, found):
            return layers
    return None


def _shuffles(before: Sequence[int], after: Sequence[int]) -> Iterator[list[nn.Module]]:
    """Yield the layers that give a tensor of the shape ``after``, which may be the wanted ones."""
    channels = before[1]
    if tuple(before) == tuple(after):
        yield []
        for groups in range(2, channels):
            if channels % groups == 0:
                yield [nn.ChannelShuffle(groups)]
    elif len(before) == len(after) == 4 and min(after) > 0:
        block = isqrt(channels // after[1])
        if block > 1:
            yield [nn.PixelShuffle(block)]
            yield [nn.ChannelShuffle(block**2), nn.PixelShuffle(block)]
        block = isqrt(after[1] // channels)
        if block > 1:
            yield [nn.PixelUnshuffle(block)]
            yield [nn.PixelUnshuffle(block), nn.ChannelShuffle(channels)]


def _places(shape: Sequence[int]) -> Tensor:
    """The places of the numbers of a tensor, as numbers that layers move without loss."""
    return torch.arange(prod(shape), dtype=torch.float64).reshape(tuple(shape))


def _kept(places: Tensor, shape: Sequence[int], axis: int) -> range:
    """The indices along ``axis`` that ``places`` are of.

    Raises:
        NoTwinError: none, or not in steps of one size.
    """
    indices = (places.flatten().long() // prod(shape[axis + 1 :]) % shape[axis]).bincount().nonzero().flatten().tolist()
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    kept = range(indices[0], indices[-1] + 1, step) if indices else range(0)
    if not indices or [*kept] != indices:
        raise NoTwinError(f"it takes the elements {indices} of axis {axis}", _HINT)
    return kept
