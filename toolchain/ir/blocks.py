"""Evaluation of operations over blocks of rows, so that the windows of a whole map are never in memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike
from threadpoolctl import ThreadpoolController

from toolchain.ir.types import Array

BLOCK_BYTES = 1 << 22
"""The bytes that one block lays out, about a core's share of the cache."""

Block = tuple[slice, slice]
"""Frames and output rows."""


def windows(
    x: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilation: tuple[int, int],
    fill: float,
) -> Array:
    """Views (N, Ho, Wo, kh, kw, C) of the padded ``x`` (N, H, W, C)."""
    top, left, bottom, right = pads
    if any(pads):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = sliding_window_view(x, span, axis=(1, 2))[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return view.transpose(0, 1, 2, 4, 5, 3)


@dataclass(frozen=True)
class Geometry:
    """The windows of ``kernel`` on maps of ``height`` x ``width``, with the value ``fill`` outside the map."""

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    fill: float

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns that a window reaches over."""
        rows, columns = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        top, left, bottom, right = self.pads
        rows = (self.height + top + bottom - self.span[0]) // self.stride[0] + 1
        return rows, (self.width + left + right - self.span[1]) // self.stride[1] + 1

    def views(self, x: Array) -> Array:
        """Return all windows as a view of ``x``: (N, Ho, Wo, kh, kw, C)."""
        return windows(x, self.kernel, self.stride, self.pads, self.dilation, self.fill)

    def padded(self, x: Array, block: Block, dtype: DTypeLike) -> Array:
        """The rows of ``x`` that the windows of ``block`` read, with what they read outside the map."""
        frames, rows = block
        top, left, _, right = self.pads
        first = rows.start * self.stride[0] - top
        last = (rows.stop - 1) * self.stride[0] + self.span[0] - top
        inside = x[frames, max(first, 0) : max(min(last, self.height), 0)]
        if first >= 0 and last <= self.height and not left and not right:
            return inside.astype(dtype, copy=False)
        shape = (len(inside), last - first, left + self.width + right, x.shape[3])
        result = np.full(shape, self.fill, dtype=dtype)
        above = max(-first, 0)
        result[:, above : above + inside.shape[1], left : left + self.width] = inside
        return result

    def taps(self, padded: Array, rows: int) -> Iterator[Array]:
        """Yield, for each kernel position, that element of every window as a view (n, rows, Wo, C) of ``padded``."""
        columns = self.shape[1]
        for u in range(self.kernel[0]):
            for v in range(self.kernel[1]):
                top, left = u * self.dilation[0], v * self.dilation[1]
                bottom, right = ((n - 1) * s + 1 for n, s in zip((rows, columns), self.stride, strict=True))
                yield padded[:, top : top + bottom : self.stride[0], left : left + right : self.stride[1]]


@dataclass(frozen=True)
class Windows:
    """The windows of ``x`` (N, H, W, C) at ``geometry``, laid out only block by block."""

    geometry: Geometry
    x: Array

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, Ho, Wo, taps * C)."""
        rows, columns = self.geometry.kernel
        return len(self.x), *self.geometry.shape, rows * columns * self.x.shape[3]

    def part(self, block: Block, dtype: DTypeLike) -> Array:
        """The windows of ``block``: (n, rows, Wo, taps * C)."""
        geometry = self.geometry
        padded = geometry.padded(self.x, block, dtype)
        if geometry.kernel == (1, 1):
            return padded[:, :: geometry.stride[0], :: geometry.stride[1]]
        view = windows(padded, geometry.kernel, geometry.stride, (0, 0, 0, 0), geometry.dilation, 0.0)
        return np.ascontiguousarray(view).reshape(*view.shape[:3], -1)

    def whole(self) -> Array:
        """Return all windows, laid out."""
        return self.part((slice(0, len(self.x)), slice(0, self.shape[1])), self.x.dtype)

    def largest(self) -> int:
        """Return a bound of the elements' magnitudes."""
        return max(magnitude(self.x), abs(int(self.geometry.fill)))


Source = Array | Windows


def part(source: Source, block: Block, dtype: DTypeLike) -> Array:
    """The rows of ``source`` in ``block`` as ``dtype``."""
    if isinstance(source, Windows):
        return source.part(block, dtype)
    return source[block].astype(dtype, copy=False)


def whole(source: Source) -> Array:
    """Return ``source`` as an array (N, H, W, C)."""
    return source.whole() if isinstance(source, Windows) else source


def largest(source: Source) -> int:
    """Return a bound of the magnitudes of an integer ``source``."""
    return source.largest() if isinstance(source, Windows) else magnitude(source)


def magnitude(x: Array) -> int:
    """The largest magnitude in an integer array."""
    return max(-int(x.min()), int(x.max())) if x.size else 0


def blocks(frames: int, rows: int, row_bytes: int) -> Iterator[Block]:
    """Yield all frames and rows in parts of about ``BLOCK_BYTES``: several whole frames, or rows of one."""
    together = BLOCK_BYTES // max(row_bytes * rows, 1)
    if together or rows == 1:
        for start in range(0, frames, max(together, 1)):
            yield slice(start, min(start + max(together, 1), frames)), slice(0, rows)
        return
    step = max(1, BLOCK_BYTES // row_bytes)
    for frame in range(frames):
        for start in range(0, rows, step):
            yield slice(frame, frame + 1), slice(start, min(start + step, rows))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to one thread: on blocks of this size two take twice the processor time, most of it waiting."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def narrowest(bound: int) -> type[np.signedinteger]:
    """The narrowest signed type that holds every integer of magnitude ``bound`` at most."""
    for kind in (np.int8, np.int16, np.int32):
        if bound <= np.iinfo(kind).max:
            return kind
    return np.int64


def work_type(bound: int) -> type[np.number]:
    """Return the fastest type in which sums are exact whose terms' magnitudes add up to at most ``bound``."""
    if bound < 1 << 24:
        return np.float32
    return np.float64 if bound < 1 << 53 else np.int64


def exact_matmul(x: Array, w: Array) -> Array:
    """Integer product of ``x`` (..., K) and ``w`` (K, N), in floating point where that is provably exact.

    Every partial sum is at most max|x| * max column sum of |w|; below 2**24 float32 holds it exactly, below 2**53
    float64 does, and BLAS is many times faster than numpy's integer product.
    """
    bound = magnitude(x) * column_sum(w)
    work = work_type(bound)
    if work is np.int64:
        return np.asarray(x @ w)
    flat = x.reshape(-1, x.shape[-1]).astype(work)
    return (flat @ w.astype(work)).astype(np.int64).reshape(*x.shape[:-1], w.shape[1])


def column_sum(w: Array) -> int:
    """The largest sum of magnitudes down the first axis of ``w``."""
    return int(np.abs(w).sum(axis=0).max(initial=0))
