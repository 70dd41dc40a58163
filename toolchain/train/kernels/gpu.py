"""Quantizers on a CUDA GPU in one pass each way, by Triton, which PyTorch's CUDA builds bring along."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from toolchain.train.kernels.layout import layout_of

_BLOCK = 2048  # elements a program
_NAN_STAYS = tl.constexpr(tl.PropagateNan.ALL)


@dataclass(frozen=True)
class GpuKernel:
    """What `Kernel` is on the CPU, in float32; the sums to the scale and the line are added block by block.

    Args:
        result: the type of what `quantize` gives.
        rows, low, high: as for `Kernel`.
    """

    result: torch.dtype
    rows: int
    low: float
    high: float

    def quantize(self, x: Tensor, scale: Tensor, line: Tensor | None = None) -> Tensor:
        """As `Kernel.quantize`."""
        y = torch.empty_like(x, dtype=self.result)
        _quantize[self._grid(x)](
            x, y, scale, scale if line is None else line.contiguous(), x.numel() // self.rows, self.low, self.high,
            line is not None, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
        return y

    def gradients(
        self, grad: Tensor, x: Tensor, scale: Tensor, line: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As `Kernel.gradients`."""
        grid, to_x = self._grid(x), torch.empty_like(x)
        sums = torch.empty((1 if line is None else 3, *grid), device=x.device)
        _gradients[grid](
            grad.contiguous(memory_format=layout_of(x)), x, to_x, scale, scale if line is None else line.contiguous(),
            sums, x.numel() // self.rows, self.low, self.high, line is not None, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
        return to_x, sums[0].sum(0).reshape(scale.shape), None if line is None else sums[1:].sum((1, 2))

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return triton.cdiv(x.numel() // self.rows, _BLOCK), self.rows  # the second has 16 bits


@triton.jit
def _scaled(x, scale, line, lined: tl.constexpr):
    if lined:
        x = x * tl.load(line) - tl.load(line + 1)
    return tl.div_rn(x, scale)


@triton.jit
def _code(scaled, low, high):
    last_bit = 12582912.0  # 1.5 * 2**23, beside which float32 has no fraction: a sum with it is rounded to even
    clamped = tl.minimum(tl.maximum(scaled, low, _NAN_STAYS), high, _NAN_STAYS)
    return clamped + last_bit - last_bit


@triton.jit
def _quantize(x, y, scales, line, size, low, high, lined: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(1)
    within = tl.program_id(0) * block + tl.arange(0, block)
    at, inside = row * size + within, within < size
    scale = tl.load(scales + row)
    scaled = _scaled(tl.load(x + at, mask=inside, other=0.0).to(tl.float32), scale, line, lined)
    tl.store(y + at, _code(scaled, low, high) * scale, mask=inside)


@triton.jit
def _gradients(grad, x, to_x, scales, line, sums, size, low, high, lined: tl.constexpr, block: tl.constexpr):
    part, row = tl.program_id(0), tl.program_id(1)
    within = part * block + tl.arange(0, block)
    at, inside = row * size + within, within < size
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    given = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    scaled = _scaled(value, tl.load(scales + row), line, lined)
    passed = tl.where((scaled <= low) | (scaled >= high), 0.0, given)
    cell, cells = part * tl.num_programs(1) + row, tl.num_programs(0) * tl.num_programs(1)
    tl.store(sums + cell, tl.sum(given * _code(scaled, low, high) - scaled * passed))
    if lined:
        tl.store(sums + cells + cell, tl.sum(passed * value))
        tl.store(sums + 2 * cells + cell, -tl.sum(passed))
        passed = passed * tl.load(line)
    tl.store(to_x + at, passed, mask=inside)
