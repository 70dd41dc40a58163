"""Quantizers in one pass each way: on the CPU compiled by g++ when they are first used, on a GPU by Triton."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from toolchain.errors import FlowError
from toolchain.simulate.cache import in_use
from toolchain.simulate.compiler import source_library
from toolchain.train.kernels.layout import is_dense, layout_of

if TYPE_CHECKING:
    from toolchain.train.kernels.gpu import GpuKernel

_GPU_ELEMENTS, _GPU_ROWS = 2**31, 2**16  # a kernel's indices have 32 bits, the second axis of its grid 16
_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
_KINDS = {
    (torch.float32, torch.float32): "float32",
    (torch.bfloat16, torch.bfloat16): "bfloat16",
    (torch.bfloat16, torch.float32): "widened",
    (torch.float32, torch.bfloat16): "narrowed",
}


@dataclass(frozen=True)
class Kernel:
    """A quantizer ``round(clamp(x / scale, low, high)) * scale``, bit for bit that of the tensor operations.

    Args:
        kind: the types of ``x`` and of the result; it computes in float32 unless both are bfloat16.
        rows: the equal parts of ``x``'s memory that have a scale each.
        low, high: the range of the codes.
    """

    kind: str
    rows: int
    low: float
    high: float

    def quantize(self, x: Tensor, scale: Tensor, line: Tensor | None = None) -> Tensor:
        """The quantized ``x``, or ``x * slope - offset`` with ``line`` their (slope, offset), float32."""
        y = torch.empty_like(x, dtype=torch.bfloat16 if self.kind in ("bfloat16", "narrowed") else torch.float32)
        size = x.numel() // self.rows
        ends = (self.low, self.high, None if line is None else _at(line.contiguous()))
        _function("quantize", self.kind)(_at(x), _at(y), self.rows, size, _at(scale.contiguous()), *ends)
        return y

    def gradients(
        self, grad: Tensor, x: Tensor, scale: Tensor, line: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients to ``x``, to ``scale`` (without LSQ's factor) and to ``line`` for that of the result.

        The last two are float32 sums.

        Args:
            grad: of any layout.
            x, scale, line: as for ``quantize``.
        """
        grad = grad.contiguous(memory_format=layout_of(x))
        to_x, to_scale = torch.empty_like(x), torch.empty(scale.shape)
        to_line = None if line is None else torch.empty(2)
        lines = (None, None) if line is None or to_line is None else (_at(line.contiguous()), _at(to_line))
        _function("gradients", self.kind)(
            *(_at(grad), _at(x), _at(to_x), _at(to_scale)), self.rows, x.numel() // self.rows,
            *(_at(scale.contiguous()), self.low, self.high, *lines),
        )  # fmt: skip
        return to_x, to_scale, to_line


def kernel_for(x: Tensor, scale: Tensor, low: float, high: float, result: torch.dtype) -> Kernel | GpuKernel | None:
    """The kernel for ``x`` and ``scale`` with the ``result``'s type.

    None where there is none: it takes float32 and bfloat16, dense, whose first axis is the outermost where each row has
    a scale, on the CPU with a g++ (not from bfloat16 to bfloat16 with these: tensors of scales make float32), and on a
    CUDA GPU with Triton (not from bfloat16 to bfloat16).
    """
    kind = _KINDS.get((x.dtype, result)) if scale.dtype == torch.float32 else None
    if kind is None or not x.numel() or not is_dense(x) or scale.numel() not in (1, x.shape[0] if x.dim() else 1):
        return None
    if kind == "bfloat16" and (scale.dim() or x.device.type != "cpu"):
        return None
    if x.device.type == "cuda" and x.numel() < _GPU_ELEMENTS and scale.numel() < _GPU_ROWS and _has_triton():
        from toolchain.train.kernels.gpu import GpuKernel  # imports Triton

        return GpuKernel(result, scale.numel(), low, high)
    return Kernel(kind, scale.numel(), low, high) if x.device.type == "cpu" and _library() is not None else None


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _at(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler or a cache."""
    try:
        with in_use():
            library = ctypes.CDLL(str(source_library(Path(__file__).with_name("quantize.cpp"), _FLAGS)))
    except FlowError:
        return None
    for kind in _KINDS.values():
        for name, tables in (("quantize", 2), ("gradients", 4)):
            table, count, limit = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
            ends = [table] if name == "quantize" else [table, table]
            function = getattr(library, f"fpgaflow_{name}_{kind}")
            function.argtypes = [*[table] * tables, count, count, table, limit, limit, *ends]
    return library


def _function(name: str, kind: str) -> Any:
    library = _library()
    assert library is not None
    return getattr(library, f"fpgaflow_{name}_{kind}")
