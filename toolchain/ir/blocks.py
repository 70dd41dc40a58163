"""Integer kernels that work through a batch in blocks of rows: the windows of a whole map never lie in memory.

Each computes exactly what ``evaluate_node`` does, and keeps its result in the narrowest signed type that provably holds
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike
from threadpoolctl import ThreadpoolController

from toolchain.ir.model_ops import RealConv, RealPool
from toolchain.ir.ops import Array, Depthwise, GroupedMatVec, MatVec, Pool, Window

BLOCK_BYTES = 1 << 22
"""What a block lays out at a time: about a core's share of the cache."""

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
    """Where the windows of ``kernel`` lie on maps of ``height`` x ``width``, and what stands outside the map."""

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    fill: float

    @classmethod
    def of(cls, node: Window | RealConv | RealPool, x: Array, fill: float) -> Geometry:
        """That of ``node`` on ``x`` (N, H, W, C)."""
        kernel = node.codes.shape[1:3] if isinstance(node, RealConv) else node.kernel
        return cls(x.shape[1], x.shape[2], (kernel[0], kernel[1]), node.stride, node.pads, node.dilation, fill)

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
        """For each kernel position its element of every window: views (n, rows, Wo, C) of ``padded``."""
        columns = self.shape[1]
        for u in range(self.kernel[0]):
            for v in range(self.kernel[1]):
                top, left = u * self.dilation[0], v * self.dilation[1]
                bottom, right = ((n - 1) * s + 1 for n, s in zip((rows, columns), self.stride, strict=True))
                yield padded[:, top : top + bottom : self.stride[0], left : left + right : self.stride[1]]


@dataclass(frozen=True)
class Windows:
    """The output of ``node`` on ``x`` (N, H, W, C), laid out only block by block."""

    node: Window
    x: Array

    @property
    def geometry(self) -> Geometry:
        """Where the windows lie."""
        return Geometry.of(self.node, self.x, self.node.pad_value)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, Ho, Wo, taps * C)."""
        return len(self.x), *self.geometry.shape, self.node.taps * self.x.shape[3]

    def part(self, block: Block, dtype: DTypeLike) -> Array:
        """The windows of ``block``: (n, rows, Wo, taps * C)."""
        geometry = self.geometry
        padded = geometry.padded(self.x, block, dtype)
        if geometry.kernel == (1, 1):
            return padded[:, :: geometry.stride[0], :: geometry.stride[1]]
        view = windows(padded, geometry.kernel, geometry.stride, (0, 0, 0, 0), geometry.dilation, 0.0)
        return np.ascontiguousarray(view).reshape(*view.shape[:3], -1)

    def whole(self) -> Array:
        """All of them."""
        return self.part((slice(0, len(self.x)), slice(0, self.shape[1])), self.x.dtype)

    def largest(self) -> int:
        """No element is larger in magnitude."""
        return max(magnitude(self.x), abs(self.node.pad_value))


Source = Array | Windows


def part(source: Source, block: Block, dtype: DTypeLike) -> Array:
    """The rows of ``source`` in ``block`` as ``dtype``."""
    if isinstance(source, Windows):
        return source.part(block, dtype)
    return source[block].astype(dtype, copy=False)


def whole(source: Source) -> Array:
    """All of ``source`` as an array (N, H, W, C)."""
    return source.whole() if isinstance(source, Windows) else source


def largest(source: Source) -> int:
    """No element of an integer ``source`` is larger in magnitude."""
    return source.largest() if isinstance(source, Windows) else magnitude(source)


def magnitude(x: Array) -> int:
    """The largest magnitude in an integer array."""
    return max(-int(x.min()), int(x.max())) if x.size else 0


def blocks(frames: int, rows: int, row_bytes: int) -> Iterator[Block]:
    """All frames and rows in parts of about ``BLOCK_BYTES``: several whole frames, or rows of one."""
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
    """One BLAS thread: on blocks of this size two spend twice the processor time, most of it waiting for each other."""
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
    """Where sums whose terms' magnitudes add up to ``bound`` are exact, and fast: floats while their integers are."""
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


def widest_filter(node: MatVec | GroupedMatVec) -> int:
    """The largest sum of magnitudes of an output's weights."""
    return column_sum(node.weight.reshape(len(node.weight), -1).T)


def multiplied(node: MatVec | GroupedMatVec, work: type[np.number]) -> Callable[[Array], Array]:
    """The function that multiplies inputs (N, H, W, K) of type ``work`` by the weights of ``node``."""
    if isinstance(node, MatVec):
        weight = node.weight.astype(work).T
        return lambda x: (x.reshape(-1, x.shape[3]) @ weight).reshape(*x.shape[:3], -1)
    groups, taps, inputs = node.groups, node.taps, node.group_inputs
    stack = node.weight.reshape(groups, node.group_outputs, inputs).astype(work).transpose(0, 2, 1)

    def by_group(x: Array) -> Array:
        parts = np.moveaxis(x.reshape(-1, taps, groups, inputs // taps), 2, 0).reshape(groups, -1, inputs)
        return np.moveaxis(parts @ stack, 0, 1).reshape(*x.shape[:3], -1)

    return by_group


def matvec(node: MatVec | GroupedMatVec, source: Source) -> Array:
    """``node`` on ``source`` (N, H, W, K): the product of a block of rows at a time."""
    bound = largest(source) * widest_filter(node)
    work = work_type(bound)
    product = multiplied(node, work)
    count, rows, columns, depth = source.shape
    result = np.empty((count, rows, columns, len(node.weight)), dtype=narrowest(bound))
    copies = 2 if isinstance(node, GroupedMatVec) else 1  # the inputs and the sums of a group lie together
    item = copies * np.dtype(work).itemsize
    with one_thread():
        for block in blocks(count, rows, columns * item * (depth + len(node.weight))):
            result[block] = product(part(source, block, work))
    return result


def depthwise(node: Depthwise, source: Windows) -> Array:
    """``node`` on windows: the sum of each tap's elements times its weights, without laying them out."""
    bound = source.largest() * column_sum(node.weight)
    work, geometry = work_type(bound), source.geometry
    weight = node.weight.astype(work)
    rows, columns = geometry.shape
    channels = source.x.shape[3]
    result = np.empty((len(source.x), rows, columns, channels), dtype=narrowest(bound))
    for block in blocks(len(source.x), rows, 3 * columns * channels * np.dtype(work).itemsize):
        count = block[1].stop - block[1].start
        padded = geometry.padded(source.x, block, work)
        total: Array | None = None
        for view, factors in zip(geometry.taps(padded, count), weight, strict=True):
            term = view * factors
            total = term if total is None else np.add(total, term, out=total)
        result[block] = total
    return result


def pool(node: Pool, source: Windows) -> Array:
    """``node`` on windows, tap by tap."""
    sums = node.kind == "sum"
    kind = narrowest(source.largest() * (node.taps if sums else 1))
    geometry = source.geometry
    rows, columns = geometry.shape
    channels = source.x.shape[3]
    result = np.empty((len(source.x), rows, columns, channels), dtype=kind)
    for block in blocks(len(source.x), rows, 2 * columns * channels * result.itemsize):
        padded = geometry.padded(source.x, block, kind)
        total = result[block]
        for i, view in enumerate(geometry.taps(padded, block[1].stop - block[1].start)):
            if i == 0:
                total[...] = view
            else:
                (np.add if sums else np.maximum)(total, view, out=total)
    return result
