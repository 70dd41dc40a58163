"""Passes that read a joined map: its parts lie side by side, each from a memory beat on, with nothing in between."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.engine.layers import Bend, Convolution, Pass, Requant
from toolchain.ir.types import Array, Value


@dataclass(frozen=True, eq=False)
class Joined:
    """The places of a map's channels in a joined map: ``places`` (C,) among its ``channels``."""

    places: Array
    channels: int

    @classmethod
    def alone(cls, value: Value) -> Joined:
        """The map of ``value`` by itself."""
        return cls(np.arange(value.shape[2]), value.shape[2])

    def convolved(self, p: Pass, conv: Convolution) -> Pass:
        """``p`` with weights of zero for what lies in between."""
        conv = replace(conv, weight=spread(conv.weight, self.places, self.channels))
        return replace(p, conv=conv, shape=(*p.shape[:2], self.channels), spread=self.places)

    def widened(self, p: Pass) -> Pass:
        """``p``, which makes a channel of every one alone, for what lies in between too; that means nothing."""
        return replace(self._behind(p), shape=(*p.shape[:2], self.channels), spread=self.places)

    def fanned(self, p: Pass) -> Pass:
        """``p`` with outputs of a convolution at the places of the map that is added to them."""
        assert p.conv is not None
        weight = np.zeros((self.channels, *p.conv.weight.shape[1:]), dtype=np.int64)
        weight[self.places] = p.conv.weight
        return replace(self._behind(p), conv=replace(p.conv, weight=weight))

    def is_like(self, other: Joined | None) -> bool:
        """Whether the channels of ``other`` have the same places."""
        return other is not None and self.channels == other.channels and np.array_equal(self.places, other.places)

    def _behind(self, p: Pass) -> Pass:
        """What ``p`` does behind a convolution, on all channels."""
        middle, out = ((*size[:2], self.channels) for size in (p.middle, p.out))
        window = p.window
        if window is not None and window.weight is not None:
            window = replace(window, weight=spread(window.weight, self.places, self.channels))
        first, second = self._requant(p.first), self._requant(p.second)
        return replace(p, middle=middle, out=out, first=first, window=window, second=second, kept=self.places)

    def _requant(self, requant: Requant | None) -> Requant | None:
        if requant is None:
            return None
        mul, add = (spread(v, self.places, self.channels) for v in (requant.mul, requant.add))
        below = requant.below
        if below is not None:
            below = Bend(*(spread(v, self.places, self.channels) for v in (below.mul, below.add, below.knee)))
        return replace(requant, mul=mul, add=add, below=below)


def spread(values: Array, places: Array, channels: int) -> Array:
    """``values`` (..., C) at their ``places`` (C,) among ``channels``, zeros in between."""
    found = np.zeros((*values.shape[:-1], channels), dtype=np.int64)
    found[..., places] = values
    return found
