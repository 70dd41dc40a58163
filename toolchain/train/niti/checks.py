"""The assertion mode: proves while training runs that nothing leaves the integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from toolchain.train.niti.matmul import ACCUMULATOR_LIMIT
from toolchain.train.niti.numbers import LIMIT

_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class IntegerOnly(TorchDispatchMode):
    """Inside this context every operation of PyTorch takes and gives integer tensors.

    int8 stays in -127..127, and int32 within the bound that is proven for a product of MAX_DEPTH terms, doubled for
    what rounding adds. A violation raises AssertionError with the operation's name; ``operations`` counts all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and check what goes in and comes out."""
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        uninitialized = "empty" in str(func)
        for tensor in tree_iter((args, kwargs, result)):
            if isinstance(tensor, Tensor):
                _check(tensor, str(func), uninitialized)
        return result


def _check(tensor: Tensor, operation: str, uninitialized: bool) -> None:
    if tensor.dtype not in _INTEGERS:
        raise AssertionError(f"{operation} works on {tensor.dtype}")
    limits = {torch.int8: LIMIT, torch.int32: 2 * ACCUMULATOR_LIMIT}
    if tensor.dtype not in limits or uninitialized or not tensor.numel():
        return
    low, high = (int(end) for end in torch.aminmax(tensor))
    if max(-low, high) > limits[tensor.dtype]:
        raise AssertionError(f"{operation}: {tensor.dtype} holds {low}..{high}, beyond {limits[tensor.dtype]}")
