"""Operations that move the elements of maps and change none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.ops.node import Narrow, Node
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moving(Narrow):
    """The elements of one input in other places."""

    moves: ClassVar[bool] = True

    def output_range(self, shape: Shape, x: Range) -> Range:
        """That of the input."""
        return x


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(_Moving):
    """(H, W, C) -> (1, 1, H * W * C) in stream order; a renaming, no hardware."""

    renames: ClassVar[bool] = True

    def evaluate(self, x: Array) -> Array:
        """The same elements."""
        return x.reshape(len(x), *self.output.shape)

    def check(self, x: Value) -> None:
        """One position holds all elements."""
        require(self.output.shape == (1, 1, x.size), self.name, "flattens")


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(_Moving):
    """The channels of several values one after the other: (H, W, C_i) -> (H, W, sum of the C_i), ``channels``."""

    channels: tuple[int, ...]

    def evaluate(self, *inputs: Array) -> Array:
        """All channels."""
        return np.concatenate(inputs, axis=3)

    def output_range(self, shape: Shape, *inputs: Range) -> Range:
        """That of any input."""
        return min(low for low, _ in inputs), max(high for _, high in inputs)

    def check(self, *inputs: Value) -> None:
        """Maps of one size with the ``channels``."""
        require(tuple(x.shape[2] for x in inputs) == self.channels, self.name, f"channels are {self.channels}")
        require(len({x.shape[:2] for x in inputs}) == 1, self.name, "maps are of one size")
        require(self.output.shape == (*inputs[0].shape[:2], sum(self.channels)), self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(_Moving):
    """The channels from ``start`` on, as many as the output has: (H, W, C) -> (H, W, N)."""

    start: int

    def evaluate(self, x: Array) -> Array:
        """Those channels."""
        return x[..., self.start : self.start + self.output.shape[2]]

    def check(self, x: Value) -> None:
        """The input has the channels."""
        require(self.output.shape[:2] == x.shape[:2], self.name, "output shape")
        require(0 <= self.start <= x.shape[2] - self.output.shape[2], self.name, "the input has the channels")


@dataclass(frozen=True, kw_only=True, eq=False)
class Upsample(_Moving):
    """Every position ``factors`` times: (H, W, C) -> (H * factors[0], W * factors[1], C)."""

    factors: tuple[int, int]

    def evaluate(self, x: Array) -> Array:
        """Positions repeated along both axes."""
        return x.repeat(self.factors[0], axis=1).repeat(self.factors[1], axis=2)

    def check(self, x: Value) -> None:
        """The map grows by the factors."""
        height, width, channels = x.shape
        shape = (height * self.factors[0], width * self.factors[1], channels)
        require(min(self.factors) >= 1 and self.output.shape == shape, self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(_Moving):
    """Channels become positions: (H, W, b * b * C) -> (H * b, W * b, C) with b = ``block``.

    y[h * b + i, w * b + j, c] = x[h, w, k]; k is (i * b + j) * C + c, or (c * b + i) * b + j when ``channels_first``
    (ONNX modes DCR and CRD).
    """

    block: int
    channels_first: bool

    def spread(self, channel: int) -> int:
        """The output channel that input channel ``channel`` goes to."""
        return channel // self.block**2 if self.channels_first else channel % self.output.shape[2]

    def evaluate(self, x: Array) -> Array:
        """Channels taken apart and put between the positions."""
        batch, height, width, _ = x.shape
        b, channels = self.block, self.output.shape[2]
        if self.channels_first:
            parts = x.reshape(batch, height, width, channels, b, b).transpose(0, 1, 4, 2, 5, 3)
        else:
            parts = x.reshape(batch, height, width, b, b, channels).transpose(0, 1, 3, 2, 4, 5)
        return np.ascontiguousarray(parts).reshape(batch, height * b, width * b, channels)

    def check(self, x: Value) -> None:
        """The map grows by the block."""
        (height, width, channels), b = self.output.shape, self.block
        require(x.shape == (height // b, width // b, channels * b * b), self.name, "output shape")
        require(height % b == width % b == 0, self.name, "output shape")


OPS: tuple[type[Node], ...] = (Reshape, Concat, Slice, Upsample, DepthToSpace)
