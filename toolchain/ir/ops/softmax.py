"""The softmax of each head's channels at every position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.blocks import Source
from toolchain.ir.ops.node import Pointwise
from toolchain.ir.ops.norm import FRACTION
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Pointwise):
    """y = round(e * floor(2**(fraction + FRACTION + 2) / S) / 2**(fraction + 2)), halves up; S is a head's sum of e.

    e = table[m - x] with m the largest x of the head; table[d] is exp(-d * scale) in units of 2**-fraction, to the
    nearest. With a ``fraction`` of ``least_fraction`` y / 2**FRACTION is within 2**-FRACTION of the softmax: rounding
    takes half of that, the quotient's floor a quarter, and n + 1 entries off by half a unit each, of a sum of at least
    2**fraction, a quarter.
    """

    table: Array
    fraction: int
    heads: int = 1

    @property
    def shift(self) -> int:
        """Fraction bits of the product beyond those of the result."""
        return self.fraction + 2

    def evaluate(self, x: Array) -> Array:
        """The entries, their sums, the quotients."""
        parts = x.reshape(*x.shape[:3], self.heads, -1)
        entries = self.table[parts.max(axis=-1, keepdims=True) - parts]
        factors = (1 << self.fraction + FRACTION + 2) // entries.sum(axis=-1, keepdims=True)
        return ((entries * factors + (1 << self.shift - 1)) >> self.shift).reshape(x.shape)

    def largest(self, x: Source) -> int:
        """Return the code of one."""
        return 1 << FRACTION

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range from zero to one."""
        return 0, 1 << FRACTION

    def check(self, x: Value) -> None:
        """Whole heads, an entry for every difference, numbers of at most 62 bits."""
        require(self.output.shape == x.shape, self.name, "keeps the shape")
        require(x.shape[2] % self.heads == 0, self.name, "the channels are those of heads")
        require(self.table.shape == (x.qint.max - x.qint.min + 1,), self.name, "an entry for every difference")
        require(int(self.table[0]) == 1 << self.fraction, self.name, "the first entry is one")
        require(bool((self.table >= 0).all() and (np.diff(self.table) <= 0).all()), self.name, "the entries fall")
        require(self.fraction >= least_fraction(x.shape[2] // self.heads), self.name, "its entries are fine enough")
        require(self.fraction + FRACTION + 2 <= 62, self.name, "its numbers fit 62 bits")


def least_fraction(channels: int) -> int:
    """The fewest fraction bits of the entries with which their errors stay below a quarter."""
    return FRACTION + 1 + channels.bit_length()


OPS: tuple[type[Pointwise], ...] = (Softmax,)
