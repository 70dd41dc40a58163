"""Sliding windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.blocks import Geometry, Source, Windows, whole
from toolchain.ir.ops.node import Node
from toolchain.ir.rules import require
from toolchain.ir.types import Array, Range, Shape, Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Window(Node):
    """Sliding window: (H, W, C) -> (Ho, Wo, kh * kw * C), element order (kh, kw, c); outside the map is ``pad_value``.

    ``pads`` is (top, left, bottom, right). On the stream the order is (c / lanes, kh, kw, lanes).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    pad_value: int = 0

    moves: ClassVar[bool] = True
    held: ClassVar[bool] = True

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns that the dilated kernel spans."""
        return (self.kernel[0] - 1) * self.dilation[0] + 1, (self.kernel[1] - 1) * self.dilation[1] + 1

    def evaluate(self, x: Array) -> Array:
        """Lay every window out, its taps along the channels."""
        view = self._geometry(x).views(x)
        return np.ascontiguousarray(view).reshape(*view.shape[:3], -1)

    def compute(self, *inputs: Source) -> Source:
        """Windows that are laid out where they are read."""
        x = whole(inputs[0])
        return Windows(self._geometry(x), x)

    def _geometry(self, x: Array) -> Geometry:
        return Geometry(x.shape[1], x.shape[2], self.kernel, self.stride, self.pads, self.dilation, self.pad_value)

    def output_range(self, shape: Shape, x: Range) -> Range:
        """Return the input's range, extended to the pad value where there are pads."""
        return (min(x[0], self.pad_value), max(x[1], self.pad_value)) if any(self.pads) else x

    def check(self, x: Value) -> None:
        """Check that every position has a window."""
        (h, w, c), (kh, kw), (tall, wide) = x.shape, self.kernel, self.extent
        top, left, bottom, right = self.pads
        require(max(top, bottom) < tall and max(left, right) < wide, self.name, "pads are smaller than the kernel")
        rows = (h + top + bottom - tall) // self.stride[0] + 1
        columns = (w + left + right - wide) // self.stride[1] + 1
        require(self.output.shape == (rows, columns, kh * kw * c), self.name, "window shape")
        require(x.qint.min <= self.pad_value <= x.qint.max, self.name, "the input type holds the pad value")
