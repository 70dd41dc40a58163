"""How a tensor lies in memory, for kernels that read it from end to end."""

from __future__ import annotations

import torch
from torch import Tensor


def is_dense(x: Tensor) -> bool:
    """Whether ``x`` fills its memory in one of the two orders that kernels know."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def layout_of(x: Tensor) -> torch.memory_format:
    """The order of a dense tensor's axes in memory."""
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last
