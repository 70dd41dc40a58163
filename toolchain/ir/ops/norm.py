"""Each position's channels, less their mean, over their standard deviation, or over the root of their mean square."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from toolchain.ir.blocks import Source
from toolchain.ir.ops.node import Pointwise
from toolchain.ir.rules import MOST, require
from toolchain.ir.types import Array, Range, Shape, Value

FRACTION = 24
"""Fraction bits of a normalized number."""
ROOT_FRACTION = FRACTION + 2
"""Fraction bits of the root."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm(Pointwise):
    """y = round((n * x - S) * R / 2**(reciprocal - ROOT_FRACTION - FRACTION)), halves up, for n channels of sum S.

    R = floor(2**reciprocal / s), s = floor(sqrt(2**(2 * ROOT_FRACTION) * V + epsilon)), V = n * sum(x * x) - S * S, the
    least one that is not 0 in place of 0. Not ``centred``, S is 0: a norm by the root of the mean square (RMSNorm).

    With e = epsilon / 2**(2 * ROOT_FRACTION), y / 2**FRACTION is within 2**-FRACTION of (n * x - S) / sqrt(V + e):
    rounding takes half of that, the quotient's floor a quarter, and so does the root's, since
    |n * x - S| <= sqrt(d * V) and d <= V make |n * x - S| / V at most 1; d is n - 1, not ``centred`` n.
    """

    epsilon: int
    reciprocal: int
    centred: bool = True

    @property
    def shift(self) -> int:
        """Fraction bits of the product beyond those of the result."""
        return self.reciprocal - ROOT_FRACTION - FRACTION

    def evaluate(self, x: Array) -> Array:
        """The roots in Python's integers, one a position."""
        n = x.shape[-1]
        total = x.sum(axis=-1, keepdims=True) if self.centred else 0
        spread = np.maximum(n * (x * x).sum(axis=-1, keepdims=True) - total * total, freedom(n, centred=self.centred))
        factors = [self.factor(v) for v in spread.ravel().tolist()]
        scaled = (n * x - total) * np.array(factors, dtype=np.int64).reshape(spread.shape)
        return np.asarray((scaled + (1 << self.shift - 1)) >> self.shift)

    def factor(self, spread: int) -> int:
        """R for a V of ``spread``."""
        return (1 << self.reciprocal) // isqrt((spread << 2 * ROOT_FRACTION) + self.epsilon)

    def largest(self, x: Source) -> int:
        """Return the largest magnitude of n normalized numbers, reached if one differs from the rest, and the error."""
        return largest_normalized(self.output.shape[2], centred=self.centred)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of normalized numbers, which is symmetric about 0."""
        most = largest_normalized(shape[2], centred=self.centred)
        return -most, most

    def check(self, x: Value) -> None:
        """Several channels, a reciprocal as long as they need, products of at most 62 bits."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        require(x.shape[2] > 1, self.name, "there are several channels")
        ends = x.qint.min, x.qint.max
        apart = deviation(x.shape[2], ends, centred=self.centred)
        require(self.reciprocal >= least_reciprocal(apart), self.name, "the reciprocal is long enough")
        require(self.epsilon >= 0, self.name, "epsilon is not negative")
        products = (
            apart * (self.factor(freedom(x.shape[2], centred=self.centred)) + 1),
            (x.shape[2] * max(map(abs, ends))) ** 2,
        )
        require(max(products) < MOST, self.name, "its products fit 62 bits")


def freedom(channels: int, *, centred: bool) -> int:
    """The least V that is not 0, and V over the square of the largest n * x - S that it allows."""
    return channels - centred


def deviation(channels: int, x: Range, *, centred: bool) -> int:
    """The largest n * x - S."""
    return (channels - 1) * (x[1] - x[0]) if centred else channels * max(-x[0], x[1])


def least_reciprocal(apart: int) -> int:
    """The fewest bits with which the error of the quotient stays below a quarter for n * x - S up to ``apart``."""
    return ROOT_FRACTION + FRACTION + 2 + apart.bit_length()


def largest_normalized(channels: int, *, centred: bool) -> int:
    """A bound of the results: the root of ``freedom``, and the error."""
    return isqrt(freedom(channels, centred=centred) << 2 * FRACTION) + 2


OPS: tuple[type[Pointwise], ...] = (Norm,)
