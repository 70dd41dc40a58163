"""Products with constant weights: of all channels, by group, by channel, and along the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Source, Windows, exact_matmul, narrowest, one_thread, part, work_type
from toolchain.ir.digits import signed_digits
from toolchain.ir.names import Names
from toolchain.ir.ops.node import Node, Pointwise
from toolchain.ir.rules import require, require_weights
from toolchain.ir.types import Array, Parallelism, QInt, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Pointwise):
    """Sums of inputs times ``weight``, integers of ``weight_type``."""

    weight: Array
    weight_type: QInt

    @cached_property
    def signs(self) -> bool:
        """Whether every weight is -1 or +1, so that one bit stores it."""
        return bool((np.abs(self.weight) == 1).all())

    @cached_property
    def digits(self) -> int:
        """``signed_digits`` of the weights: terms of a product with constants."""
        return signed_digits(self.weight)

    @property
    def filters(self) -> Array:
        """The weights of each output, one row an output."""
        return self.weight.reshape(len(self.weight), -1)

    @cached_property
    def reach(self) -> int:
        """The largest sum of magnitudes of an output's weights."""
        return int(np.abs(self.filters).sum(axis=1).max(initial=0))

    def largest(self, x: Source) -> int:
        """Return the largest input times ``reach``."""
        return blocks.largest(x) * self.reach

    def operations(self, shape: Shape) -> int:
        """Count every weight once a position."""
        return shape[0] * shape[1] * int(self.weight.size)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of the accumulator, which starts at zero and passes through partial sums of the products."""
        low, high = dot_bounds(self.filters, min(x[0], 0), max(x[1], 0))
        return int(low.min()), int(high.max())

    def _check(self, inputs: int, x: Value, shape: Shape) -> None:
        require(x.shape[2] == inputs, self.name, f"weight takes {inputs} inputs, the value has {x.shape[2]}")
        require(self.output.shape == shape, self.name, "output shape")
        require_weights(self.name, self.weight, self.weight_type)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Dense(Product):
    """A product of blocks of positions with matrices of weights."""

    copies: ClassVar[int]
    """The number of copies of a block's inputs and sums that are in memory at once."""

    def multiplied(self, work: type[np.number]) -> Callable[[Array], Array]:
        """The function that multiplies inputs (N, H, W, K) of type ``work`` by the weights."""
        raise self._lacks("product")

    def evaluate(self, x: Array) -> Array:
        """The sums, in a type in which they are exact."""
        work = work_type(self.largest(x))
        return self.multiplied(work)(x.astype(work)).astype(np.int64)

    def compute(self, *inputs: Source) -> Source:
        """The product of a block of rows at a time."""
        (x,) = inputs
        bound = self.largest(x)
        work = work_type(bound)
        product = self.multiplied(work)
        count, rows, columns, depth = x.shape
        result = np.empty((count, rows, columns, len(self.weight)), dtype=narrowest(bound))
        item = self.copies * np.dtype(work).itemsize
        with one_thread():
            for block in blocks.blocks(count, rows, columns * item * (depth + len(self.weight))):
                result[block] = product(part(x, block, work))
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class MatVec(_Dense):
    """Matrix-vector product at every position: (H, W, K) -> (H, W, N) with ``weight`` (N, K) of integers."""

    copies: ClassVar[int] = 1

    @property
    def matrix(self) -> Array:
        """The weights as one matrix (N, K)."""
        return self.weight

    def multiplied(self, work: type[np.number]) -> Callable[[Array], Array]:
        """Return the function that multiplies by all weights at once."""
        weight = self.weight.astype(work).T
        return lambda x: (x.reshape(-1, x.shape[3]) @ weight).reshape(*x.shape[:3], -1)

    def check(self, x: Value) -> None:
        """Check that the weights fit the channels."""
        outputs, k = self.weight.shape
        self._check(k, x, (*x.shape[:2], outputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedMatVec(_Dense):
    """A matrix-vector product a group of channels: (H, W, taps * C) -> (H, W, N) with ``weight`` (N, taps, C / groups).

    The input has the order (tap, c) of a window; a map without one has one tap. The N outputs of ``groups`` groups lie
    one group behind the other, and those of a group read the channels of that group alone.
    """

    groups: int

    copies: ClassVar[int] = 2  # the inputs and the sums of a group lie together

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return int(self.weight.shape[1])

    @property
    def group_outputs(self) -> int:
        """The number of outputs of a group."""
        return len(self.weight) // self.groups

    @property
    def group_inputs(self) -> int:
        """Inputs of a group: its channels at every tap."""
        return int(self.weight[0].size)

    def together(self, lanes: Parallelism) -> int:
        """Groups that a unit with ``lanes`` multiplies at once: beyond a group's outputs it has all those of more."""
        return max(1, lanes.lanes_out // self.group_outputs)

    @cached_property
    def matrix(self) -> Array:
        """The weights as one matrix (N, taps * C), zeros between the groups."""
        outputs, taps, channels = self.weight.shape
        matrix = np.zeros((self.groups, outputs // self.groups, taps, self.groups, channels), dtype=np.int64)
        every = np.arange(self.groups)
        matrix[every, :, :, every] = self.weight.reshape(self.groups, -1, taps, channels)
        return matrix.reshape(outputs, -1)

    def multiplied(self, work: type[np.number]) -> Callable[[Array], Array]:
        """Return the function that multiplies inputs by the weights, in a matrix product a group."""
        groups, taps, inputs = self.groups, self.taps, self.group_inputs
        stack = self.weight.reshape(groups, self.group_outputs, inputs).astype(work).transpose(0, 2, 1)

        def by_group(x: Array) -> Array:
            parts = np.moveaxis(x.reshape(-1, taps, groups, inputs // taps), 2, 0).reshape(groups, -1, inputs)
            return np.moveaxis(parts @ stack, 0, 1).reshape(*x.shape[:3], -1)

        return by_group

    def plain(self, x: Value, names: Names) -> tuple[Node, ...]:
        """A product with zeros between the groups."""
        common = {field.name: getattr(self, field.name) for field in fields(Product)}
        return (MatVec(**common | {"weight": self.matrix}),)

    def check(self, x: Value) -> None:
        """The weights fit the channels of every group."""
        outputs, taps, channels = self.weight.shape
        require(self.groups > 0 and outputs % self.groups == 0, self.name, "every group has as many outputs")
        self._check(taps * self.groups * channels, x, (*x.shape[:2], outputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(Product):
    """One filter a channel over a window: (H, W, taps * C) -> (H, W, C) with ``weight`` (taps, C) of integers."""

    @property
    def filters(self) -> Array:
        """The taps of each channel."""
        return self.weight.T

    def operations(self, shape: Shape) -> int:
        """Return 0: there are few operations an element."""
        return 0

    def evaluate(self, x: Array) -> Array:
        """Return the sums over the taps."""
        taps, channels = self.weight.shape
        return np.einsum("nhwtc,tc->nhwc", x.reshape(*x.shape[:3], taps, channels), self.weight)

    def compute(self, *inputs: Source) -> Source:
        """Sum each tap's elements times its weights over the windows, without laying the windows out."""
        (x,) = inputs
        if not isinstance(x, Windows):
            return super().compute(*inputs)
        bound = self.largest(x)
        work, geometry = work_type(bound), x.geometry
        weight = self.weight.astype(work)
        rows, columns = geometry.shape
        channels = x.x.shape[3]
        result = np.empty((len(x.x), rows, columns, channels), dtype=narrowest(bound))
        for block in blocks.blocks(len(x.x), rows, 3 * columns * channels * np.dtype(work).itemsize):
            count = block[1].stop - block[1].start
            padded = geometry.padded(x.x, block, work)
            total: Array | None = None
            for view, factors in zip(geometry.taps(padded, count), weight, strict=True):
                term = view * factors
                total = term if total is None else np.add(total, term, out=total)
            result[block] = total
        return result

    def check(self, x: Value) -> None:
        """Check that the weights fit the window."""
        taps, channels = self.weight.shape
        require(x.shape[2] == taps * channels, self.name, "weight fits the window")
        self._check(x.shape[2], x, (*x.shape[:2], channels))


@dataclass(frozen=True, kw_only=True, eq=False)
class RowConv(Product):
    """Convolution along the rows with ``weight`` (N, taps, K); HARDWARE level.

    (H, W, K) -> (H, W + 2 * pad - taps + 1, N): y[h, w] = sum over t of ``weight[:, t]`` @ x[h, w + t - pad], x being
    zero outside the row. Behind a window of one column it is a convolution; with one tap it is a matrix-vector product
    of several positions at once. ``pad`` is 0 or half of taps - 1. Of ``groups`` of channels, the weights between them
    are zeros.
    """

    pad: int
    groups: int = 1

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return int(self.weight.shape[1])

    def evaluate(self, x: Array) -> Array:
        """The sum of a matrix product a tap."""
        padded = np.pad(x, ((0, 0), (0, 0), (self.pad, self.pad), (0, 0)))
        columns = x.shape[2] + 2 * self.pad - self.taps + 1
        taps = [exact_matmul(padded[:, :, t : t + columns], self.weight[:, t].T) for t in range(self.taps)]
        return np.sum(taps, axis=0)

    def check(self, x: Value) -> None:
        """Check that the weights fit the row."""
        outputs, taps, k = self.weight.shape
        rows, columns, _ = x.shape
        require(self.pad in (0, (taps - 1) / 2), self.name, "the pad is 0 or half of taps - 1")
        self._check(k, x, (rows, columns + 2 * self.pad - taps + 1, outputs))

    def vectors(self, shape: Shape) -> int:
        """Return the number of rows."""
        return shape[0]


def dot_bounds(weight: Array, low: int, high: int) -> tuple[Array, Array]:
    """Least and largest dot product of each row of ``weight`` (N, K) with inputs of ``[low, high]``: two (N,) arrays.

    Partial sums in any order stay within these bounds extended to zero, since every term is bounded alone. Where int64
    might not hold them, the arrays are of Python's integers.
    """
    if float(np.abs(weight.astype(np.float64)).sum(axis=1).max(initial=0.0)) * max(-low, high, 1) >= 2.0**62:
        weight = weight.astype(object)
    positive = np.maximum(weight, 0).sum(axis=1)
    negative = np.minimum(weight, 0).sum(axis=1)
    return positive * low + negative * high, positive * high + negative * low
