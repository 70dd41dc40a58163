"""The index of the largest channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.ops.node import Narrow
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Narrow):
    """Index of the largest channel, of equal ones the first or the ``last``: (1, 1, C) -> (1, 1, 1)."""

    last: bool = False

    def evaluate(self, x: Array) -> Array:
        """Return the index of the largest channel, int64; of equal ones the first, or the last."""
        index = x.shape[3] - 1 - x[..., ::-1].argmax(axis=3) if self.last else x.argmax(axis=3)
        return index[..., None].astype(np.int64)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the range of an index: any channel."""
        return 0, shape[2] - 1

    def check(self, x: Value) -> None:
        """Check that input and output have one position, and the output one channel."""
        require(x.shape[:2] == (1, 1) and self.output.shape == (1, 1, 1), self.name, "takes (1, 1, C)")
