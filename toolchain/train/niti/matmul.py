"""Exact int8 matrix products with int32 accumulators, and convolution windows as the rows of a matrix.

|sum of K products of mantissas| <= K * 127**2. With K <= MAX_DEPTH this is below 2**30, so that neither the product nor
the rounding behind it can leave int32; deeper products are split and their parts are summed in int64.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from toolchain.errors import UserError
from toolchain.train.niti.numbers import LIMIT

MAX_DEPTH = 1 << 16
ACCUMULATOR_LIMIT = MAX_DEPTH * LIMIT**2
assert ACCUMULATOR_LIMIT < 1 << 30
_BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}  # windows unfolded at a time; on a CPU they stay in its cache
_SHORT_RUN = 16  # bytes below which windows are gathered tap by tap
_CUDA_ROWS, _CUDA_MULTIPLE = 17, 8  # a GPU's int8 kernels want at least so many rows, and multiples of 8


def int_mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of int8 matrices (M, K) and (K, N): int32, or int64 where K exceeds MAX_DEPTH."""
    depth = a.shape[1]
    if depth <= MAX_DEPTH:
        return _int_mm(a, b)
    parts = [_int_mm(a[:, i : i + MAX_DEPTH], b[i : i + MAX_DEPTH]) for i in range(0, depth, MAX_DEPTH)]
    return torch.stack(parts).sum(0, dtype=torch.int64)


def _int_mm(a: Tensor, b: Tensor) -> Tensor:
    if a.device.type != "cuda":
        return torch._int_mm(a, b)
    (rows, depth), columns = a.shape, b.shape[1]
    k, n = -depth % _CUDA_MULTIPLE, -columns % _CUDA_MULTIPLE
    a = torch.nn.functional.pad(a, (0, k, 0, max(0, _CUDA_ROWS - rows)))
    return torch._int_mm(a, torch.nn.functional.pad(b, (0, n, 0, k)))[:rows, :columns].contiguous()


def check_device(device: torch.device) -> None:
    """Compare a product of extreme operands with int64: int8 kernels of old processors saturate on the way.

    Raises:
        UserError: this one does.
    """
    signs = torch.arange(64 * 1024).reshape(64, 1024) % 3 != 0
    a = torch.where(signs, LIMIT, -LIMIT).to(torch.int8)
    expected = a.long() @ a.long().t()
    if not torch.equal(int_mm(a.to(device), a.to(device).t()).cpu().long(), expected):
        raise UserError(
            f"the int8 matrix product of the device '{device}' is not exact", hint="train on another: train.accelerator"
        )


class Windows:
    """The k x k windows of maps (N, H, W, C) at every ``stride``-th place as rows of a matrix.

    A row's elements are (row, column, channel); the matrix is made for some images at a time.

    Where a row of a window is too short to be copied at once (the first layer of a network on grey images) the matrix
    is gathered tap by tap instead, over all positions of the map; those at the right and lower border hold windows
    that wrap around and are not used.
    """

    def __init__(self, x: Tensor, kernel: int, padding: int, stride: int = 1) -> None:
        if padding:
            x = torch.nn.functional.pad(x, (0, 0, padding, padding, padding, padding))
        self.x, self.kernel, self.stride = x.contiguous(), kernel, stride
        images, height, width, channels = x.shape
        self.outputs = (images, (height - kernel) // stride + 1, (width - kernel) // stride + 1)
        self.depth = kernel * kernel * channels
        self.by_taps = stride == 1 and kernel * channels < _SHORT_RUN
        image_bytes = self.depth * (height * width if self.by_taps else self.outputs[1] * self.outputs[2])
        self.step = max(1, _BLOCK_BYTES.get(x.device.type, _BLOCK_BYTES["cpu"]) // image_bytes)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """(images, their windows (positions, depth))."""
        for start in range(0, len(self.x), self.step):
            images = slice(start, start + self.step)
            yield images, self._unfolded(self.x[images])

    def _unfolded(self, x: Tensor) -> Tensor:
        (n, height, width, channels), k = x.shape, self.kernel
        image, line, pixel, _ = x.stride()
        if self.by_taps:
            positions = n * height * width - (k - 1) * (width + 1)
            taps = x.as_strided((k, k * channels, positions), (line, 1, pixel), x.storage_offset())
            return taps.reshape(self.depth, positions).t()
        _, rows, columns = self.outputs
        shape, strides = (n, rows, columns, k, k * channels), (image, self.stride * line, self.stride * pixel, line, 1)
        return x.as_strided(shape, strides, x.storage_offset()).reshape(n * rows * columns, self.depth)

    def times(self, weight: Tensor) -> Tensor:
        """All windows times ``weight`` (outputs, depth), depth <= MAX_DEPTH: accumulators (N, H', W', outputs)."""
        parts = []
        for images, windows in self.blocks():
            product = int_mm(windows, weight.t())
            parts.append(self._valid(product, len(self.x[images])))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def weight_gradient(self, error: Tensor) -> Tensor:
        """Sum over the positions of error (N, H', W', outputs) times window: (outputs, depth), int32 or int64."""
        positions = len(self.x) * self.x.shape[1] * self.x.shape[2]
        total = torch.zeros(
            error.shape[-1],
            self.depth,
            dtype=torch.int32 if positions <= MAX_DEPTH else torch.int64,
            device=error.device,
        )
        for images, windows in self.blocks():
            rows = error[images]
            if self.by_taps:
                full = rows.new_zeros(len(windows), rows.shape[-1])
                self._valid(full, len(rows)).copy_(rows)
                rows = full
            total += int_mm(rows.reshape(len(windows), -1).t(), windows)
        return total

    def _valid(self, rows: Tensor, images: int) -> Tensor:
        """A matrix of one row a position as a map (images, H', W', columns), a view."""
        _, height, width = self.outputs
        if not self.by_taps:
            return rows.view(images, height, width, -1)
        columns = rows.shape[1]
        line = self.x.shape[2] * columns
        return rows.as_strided((images, height, width, columns), (self.x.shape[1] * line, line, columns, 1))
