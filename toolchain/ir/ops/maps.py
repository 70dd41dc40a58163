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
        """Return the range of the input: elements move and keep their values."""
        return x


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(_Moving):
    """(H, W, C) -> (1, 1, H * W * C), or other rows and columns, in stream order; no hardware.

    Positions are joined, parted or kept: the channels of one are those of several others.
    """

    renames: ClassVar[bool] = True

    def evaluate(self, x: Array) -> Array:
        """Return the same elements in the shape of the output."""
        return x.reshape(len(x), *self.output.shape)

    def check(self, x: Value) -> None:
        """Check that no element is lost, and that the channels of one side divide those of the other."""
        large, small = (f(self.output.shape[2], x.shape[2]) for f in (max, min))
        require(self.output.size == x.size and large % small == 0, self.name, "joins, parts or keeps positions")


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(_Moving):
    """The channels of several values one after the other: (H, W, C_i) -> (H, W, sum of the C_i), ``channels``."""

    channels: tuple[int, ...]

    def evaluate(self, *inputs: Array) -> Array:
        """Join the channels of all inputs."""
        return np.concatenate(inputs, axis=3)

    def output_range(self, shape: Shape, *inputs: Range) -> Range:
        """Return the smallest range that holds those of all inputs."""
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
        """Return the output's channels of ``x``, from ``start`` on."""
        return x[..., self.start : self.start + self.output.shape[2]]

    def check(self, x: Value) -> None:
        """Check that the input has the channels."""
        require(self.output.shape[:2] == x.shape[:2], self.name, "output shape")
        require(0 <= self.start <= x.shape[2] - self.output.shape[2], self.name, "the input has the channels")


@dataclass(frozen=True, kw_only=True, eq=False)
class Upsample(_Moving):
    """Every position ``factors`` times: (H, W, C) -> (H * factors[0], W * factors[1], C).

    Those at an edge of the map are ``edges`` (top, left, bottom, right) times more beyond it.
    """

    factors: tuple[int, int]
    edges: tuple[int, int, int, int] = (0, 0, 0, 0)

    def evaluate(self, x: Array) -> Array:
        """Return the positions repeated along both axes."""
        for axis in (0, 1):
            times = np.full(x.shape[axis + 1], self.factors[axis])
            times[0] += self.edges[axis]
            times[-1] += self.edges[axis + 2]
            x = x.repeat(times, axis=axis + 1)
        return x

    def check(self, x: Value) -> None:
        """The map grows by the factors and the edges."""
        rows, columns = (
            size * factor + before + after
            for size, factor, before, after in zip(x.shape, self.factors, self.edges, self.edges[2:], strict=False)
        )
        fits = min(self.factors) >= 1 and min(self.edges) >= 0
        require(fits and self.output.shape == (rows, columns, x.shape[2]), self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(_Moving):
    """Channels become positions: (H, W, a * b * C) -> (H * a, W * b, C) with (a, b) = ``block``.

    y[h * a + i, w * b + j, c] = x[h, w, k]; k is (i * b + j) * C + c, or (c * a + i) * b + j when ``channels_first``
    (ONNX modes DCR and CRD).
    """

    block: tuple[int, int]
    channels_first: bool

    @property
    def parts(self) -> int:
        """The number of positions that one position becomes."""
        return self.block[0] * self.block[1]

    def spread(self, channel: int) -> int:
        """The output channel that input channel ``channel`` goes to."""
        return channel // self.parts if self.channels_first else channel % self.output.shape[2]

    def evaluate(self, x: Array) -> Array:
        """Channels taken apart and put between the positions."""
        batch, height, width, _ = x.shape
        (a, b), channels = self.block, self.output.shape[2]
        if self.channels_first:
            parts = x.reshape(batch, height, width, channels, a, b).transpose(0, 1, 4, 2, 5, 3)
        else:
            parts = x.reshape(batch, height, width, a, b, channels).transpose(0, 1, 3, 2, 4, 5)
        return np.ascontiguousarray(parts).reshape(batch, height * a, width * b, channels)

    def check(self, x: Value) -> None:
        """The map grows by the block."""
        (height, width, channels), (a, b) = self.output.shape, self.block
        require(x.shape == (height // a, width // b, channels * self.parts), self.name, "output shape")
        require(height % a == width % b == 0, self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceToDepth(_Moving):
    """Positions become channels: (H * a, W * b, C) -> (H, W, a * b * C) with (a, b) = ``block``.

    y[h, w, (i * b + j) * C + c] = x[h * a + i, w * b + j, c]; rows and columns that fill no block are left out.
    """

    block: tuple[int, int]

    def evaluate(self, x: Array) -> Array:
        """The positions of every block one behind the other."""
        height, width, _ = self.output.shape
        (a, b), channels = self.block, x.shape[3]
        whole = x[:, : height * a, : width * b].reshape(len(x), height, a, width, b, channels)
        return np.ascontiguousarray(whole.transpose(0, 1, 3, 2, 4, 5)).reshape(len(x), height, width, -1)

    def check(self, x: Value) -> None:
        """The map shrinks by the block."""
        (height, width, channels), (a, b) = x.shape, self.block
        require(self.output.shape == (height // a, width // b, channels * a * b), self.name, "output shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(_Moving):
    """Some rows and columns: (H, W, C) -> (Ho, Wo, C).

    Those from ``start`` on, every one of ``steps`` along both axes, as many as the output has.
    """

    start: tuple[int, int]
    steps: tuple[int, int] = (1, 1)

    def evaluate(self, x: Array) -> Array:
        """Return the kept rows and columns of ``x``."""
        rows, columns = (
            slice(first, first + (count - 1) * step + 1, step)
            for first, count, step in zip(self.start, self.output.shape, self.steps, strict=False)
        )
        return np.ascontiguousarray(x[:, rows, columns])

    def check(self, x: Value) -> None:
        """Check that the input has the positions."""
        require(self.output.shape[2] == x.shape[2], self.name, "output shape")
        for axis in (0, 1):
            last = self.start[axis] + (self.output.shape[axis] - 1) * self.steps[axis]
            require(self.steps[axis] >= 1, self.name, "steps are positive")
            require(self.start[axis] >= 0 and last < x.shape[axis], self.name, "the input has the positions")


@dataclass(frozen=True, kw_only=True, eq=False)
class Permute(_Moving):
    """The channels in another order: y[h, w, k] = x[h, w, order[k]]."""

    order: tuple[int, ...]

    def evaluate(self, x: Array) -> Array:
        """Return the channels in their new order."""
        return x[..., list(self.order)]

    def check(self, x: Value) -> None:
        """Check that every channel has a place."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        require(sorted(self.order) == list(range(x.shape[2])), self.name, "the order holds every channel once")


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(_Moving):
    """Positions become channels and channels positions: (H, W, C) -> (1, C, H * W), y[0, c, h * W + w] = x[h, w, c]."""

    def evaluate(self, x: Array) -> Array:
        """The matrix of positions and channels, its axes exchanged."""
        count, height, width, channels = x.shape
        matrix = x.reshape(count, 1, height * width, channels)
        return np.ascontiguousarray(matrix.transpose(0, 1, 3, 2))

    def check(self, x: Value) -> None:
        """One row, a position a channel."""
        height, width, channels = x.shape
        require(self.output.shape == (1, channels, height * width), self.name, "output shape")


OPS: tuple[type[Node], ...] = (Reshape, Concat, Slice, Upsample, DepthToSpace, SpaceToDepth, Crop, Permute, Transpose)
