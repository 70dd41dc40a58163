"""Quantizers on the CPU in one pass each way, compiled by g++ when they are first used."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from toolchain.errors import FlowError
from toolchain.simulate.compiler import source_library

_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")


def rows_of(x: Tensor, scale: Tensor) -> int | None:
    """How many scales ``x`` has in turn, each for as many elements as lie together; None where the kernels do not take
    it: they take float32 on the CPU, whose first axis is the outermost, where there is a g++.
    """
    alone = scale.numel() == 1
    taken = x.dtype == scale.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    dense = x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
    if not taken or not dense or not (alone or scale.numel() == x.shape[0]) or _library() is None:
        return None
    return scale.numel()


def quantize(x: Tensor, scale: Tensor, low: float, high: float, rows: int) -> Tensor:
    """``round(clamp(x / scale, low, high)) * scale``, bit for bit that of the tensor operations.

    Args:
        x: laid out in ``rows`` equal parts of its memory, see ``rows_of``.
        scale: one for each part.
        low, high: the range of the codes.
        rows: the parts.
    """
    y, library = torch.empty_like(x), _library()
    assert library is not None
    library.fpgaflow_quantize(_at(x), _at(y), rows, x.numel() // rows, _at(scale.contiguous()), low, high)
    return y


def gradients(grad: Tensor, x: Tensor, scale: Tensor, low: float, high: float, rows: int) -> tuple[Tensor, Tensor]:
    """Gradients to ``x`` and to ``scale`` (without LSQ's factor) of ``quantize``, for that of its result.

    Args:
        grad: of any layout.
        x, scale, low, high, rows: as for ``quantize``.
    """
    grad, library = grad.contiguous(memory_format=_layout(x)), _library()
    assert library is not None
    to_x, to_scale = torch.empty_like(x), torch.empty(scale.shape)
    library.fpgaflow_quantize_gradient(
        *(_at(grad), _at(x), _at(to_x), _at(to_scale)), rows, x.numel() // rows, _at(scale.contiguous()), low, high
    )
    return to_x, to_scale


def _layout(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _at(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    try:
        library = ctypes.CDLL(str(source_library(Path(__file__).with_name("quantize.cpp"), _FLAGS)))
    except FlowError:
        return None
    table, count, limit = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    library.fpgaflow_quantize.argtypes = [table, table, count, count, table, limit, limit]
    library.fpgaflow_quantize_gradient.argtypes = [table, table, table, table, count, count, table, limit, limit]
    return library
