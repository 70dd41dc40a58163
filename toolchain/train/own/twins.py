"""The layers that functional calls stand for, and what to write in place of calls that stand for none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from toolchain.train.own.kinds import Abs, zero_pad

Make = Callable[..., nn.Module]


class NoTwinError(ValueError):
    """The call's arguments are such that no layer does the same; ``hint`` may say what to write instead."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def clamped(low: float | None, high: float | None) -> nn.Module:
    """The layer with these bounds; infinity is none, and so is None.

    Raises:
        NoTwinError: the minimum is not below the maximum.
    """
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if not low < high:
        raise NoTwinError(f"the minimum {low:g} is not below the maximum {high:g}")
    if low == 0 and high in (6, math.inf):
        return nn.ReLU() if high > 6 else nn.ReLU6()
    return nn.Hardtanh(low, high)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> nn.Module:
    return clamped(min_val, max_val)


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:  # torch's own names
    if any(bound is not None and not isinstance(bound, int | float) for bound in (min, max)):
        raise NoTwinError("a bound that is a tensor")
    return clamped(min, max)


def _clamp_min(min: float) -> nn.Module:  # torch's own name, as in the next
    return _clamp(min=min)


def _clamp_max(max: float) -> nn.Module:
    return _clamp(max=max)


def _leaky(negative_slope: float = 0.01, inplace: bool = False) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _activation(kind: Make) -> Make:
    return lambda inplace=False: kind()


def _elu(alpha: float = 1.0, inplace: bool = False) -> nn.Module:
    return nn.ELU(alpha)


def _celu(alpha: float = 1.0, inplace: bool = False) -> nn.Module:
    return nn.CELU(alpha)


def _dropout(kind: Make) -> Make:
    return lambda p=0.5, training=True, inplace=False: kind(p)


def _max_pool(kind: Make) -> Make:
    def make(
        kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:  # fmt: skip
        return kind(kernel_size, stride, padding, dilation, return_indices, ceil_mode)

    return make


def _upsample(
    size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> nn.Module:  # fmt: skip
    if antialias:
        raise NoTwinError("antialias=True")
    return nn.Upsample(size, scale_factor, mode, align_corners)


def _pad(pad: Sequence[int], mode: str = "constant", value: float | None = None) -> nn.Module:
    if mode != "constant" or value or len(pad) not in (2, 4):
        raise NoTwinError("not zeros around the map")
    return zero_pad(pad)


_FUNCTIONS: dict[Any, Make] = {
    F.relu: _activation(nn.ReLU),
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    F.relu6: _activation(nn.ReLU6),
    F.hardtanh: _hardtanh,
    F.leaky_relu: _leaky,
    torch.clamp: _clamp,
    torch.clip: _clamp,
    torch.clamp_min: _clamp_min,
    torch.clamp_max: _clamp_max,
    F.sigmoid: nn.Sigmoid,
    torch.sigmoid: nn.Sigmoid,
    F.tanh: nn.Tanh,
    torch.tanh: nn.Tanh,
    F.silu: _activation(nn.SiLU),
    F.mish: _activation(nn.Mish),
    F.hardswish: _activation(nn.Hardswish),
    F.hardsigmoid: _activation(nn.Hardsigmoid),
    F.gelu: nn.GELU,
    F.elu: _elu,
    F.celu: _celu,
    F.selu: _activation(nn.SELU),
    F.softplus: nn.Softplus,
    **dict.fromkeys((torch.abs, abs), Abs),
    F.dropout: _dropout(nn.Dropout),
    F.dropout1d: _dropout(nn.Dropout1d),
    F.dropout2d: _dropout(nn.Dropout2d),
    F.max_pool1d: _max_pool(nn.MaxPool1d),
    F.max_pool2d: _max_pool(nn.MaxPool2d),
    torch.max_pool1d: _max_pool(nn.MaxPool1d),
    torch.max_pool2d: _max_pool(nn.MaxPool2d),
    F.avg_pool1d: nn.AvgPool1d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    F.pad: _pad,
    **dict.fromkeys((F.interpolate, F.upsample), _upsample),
    F.pixel_shuffle: nn.PixelShuffle,
    F.pixel_unshuffle: nn.PixelUnshuffle,
    F.channel_shuffle: nn.ChannelShuffle,
}
_METHODS: dict[str, Make] = {
    **dict.fromkeys(("relu", "relu_"), nn.ReLU),
    **dict.fromkeys(("clamp", "clip", "clamp_", "clip_"), _clamp),
    **dict.fromkeys(("clamp_min", "clamp_min_"), _clamp_min),
    **dict.fromkeys(("clamp_max", "clamp_max_"), _clamp_max),
    **dict.fromkeys(("sigmoid", "sigmoid_"), nn.Sigmoid),
    **dict.fromkeys(("tanh", "tanh_"), nn.Tanh),
    "abs": Abs,
}
_OVER_THE_MAP: dict[Any, tuple[Make, Make]] = {
    **dict.fromkeys((torch.mean, "mean"), (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)),
    **dict.fromkeys((torch.amax, "amax"), (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)),
}
RESHAPING = frozenset(
    [torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, "flatten", "reshape", "view", "squeeze", "unsqueeze"]
)
"""Calls that are judged by the shapes of what they read and give."""
KEEPING = frozenset(["contiguous", "clone", "detach", torch.clone])
"""Calls that change no value."""
CASTS = frozenset(["to", "type", "type_as", "float", "cpu"])
"""Calls that change no value where they give float32 numbers."""

_WEIGHTS = "make it a layer of the network (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.PReLU), which holds its weights"
_LOGITS = "return the logits: the loss and the host apply it"
_SMOOTH = "use Sigmoid, Tanh, SiLU, GELU, Hardswish, Hardsigmoid, ELU, SELU, CELU, Mish or Softplus"
_ELSEWHERE = "export builds it in a network that is quantized elsewhere: of Brevitas layers, or by onnxruntime"
_BUILT_ELSEWHERE = """
channel_shuffle conv_transpose1d conv_transpose2d convtranspose depthtospace expand gather getitem interpolate maximum
minimum permute resize slice split transpose
"""
_MOMENTS = """
group_norm groupnorm groupnormalization instance_norm instancenorm1d instancenorm2d instancenormalization
local_response_norm localresponsenorm lrn
"""
_HINTS: dict[str, str] = {
    **dict.fromkeys(("conv1d", "conv2d", "linear", "matmul", "batch_norm", "prelu"), _WEIGHTS),
    **dict.fromkeys(("softmax", "log_softmax", "logsoftmax", "argmax", "topk"), _LOGITS),
    **dict.fromkeys(("logsigmoid", "softsign", "tanhshrink", "glu"), _SMOOTH),
    **dict.fromkeys(_MOMENTS.split(), "its moments differ from input to input: train with BatchNorm"),
    "sub": "fold the sign into the weights of the layer before, and add",
    **dict.fromkeys(("truediv", "div"), "put the factor into the weights of a layer"),
    **dict.fromkeys(_BUILT_ELSEWHERE.split(), _ELSEWHERE),
    **dict.fromkeys(
        ("convtranspose1d", "convtranspose2d"), f"give it a stride of its kernel, no padding; {_ELSEWHERE}"
    ),
    **dict.fromkeys(
        ("gru", "lstm", "rnn"), "export builds a QuantLSTM that was trained with Brevitas, or unrolled steps"
    ),
}
_QUANTIZABLE = """
conv_transpose1d conv_transpose2d convtranspose1d convtranspose2d getitem interpolate layer_norm layernorm mean permute
reshape split sub sum transpose truediv view
"""
QUANTIZABLE = frozenset(_QUANTIZABLE.split())
"""Calls and layers that `toolchain.train.ptq` may read, in norms of the channels or channel shuffles say."""
OR_QUANTIZE = "; or train it elsewhere in float: 'fpgaflow quantize' reads more"
KNOWN = (
    "Conv1d, Conv2d, Linear, BatchNorm, ReLU, ReLU6, LeakyReLU, PReLU, Hardtanh, smooth functions such as SiLU, "
    "max and average pools, Flatten, Dropout, zero pads, sums, products and torch.cat over channels, parts and "
    "shuffles of channels, upsampling by whole factors, as layers or as functions"
)


def gated(layer: nn.Module | None) -> nn.Module | None:
    """The layer that is a tensor's product with what ``layer`` makes of that tensor; None where there is none."""
    made = {nn.Sigmoid: nn.SiLU, nn.Hardsigmoid: nn.Hardswish}.get(type(layer))  # type: ignore[call-overload]
    return None if made is None else made()


def hint_for(name: str) -> str:
    """Return the text that says what to write in place of the operation ``name``."""
    return _HINTS.get(name.lower().strip("_"), f"known: {KNOWN}")


def has_twin(target: Any) -> bool:
    """Return whether layers do the same as calls of ``target``, for some arguments."""
    return target in (_METHODS if isinstance(target, str) else _FUNCTIONS) or target in _OVER_THE_MAP


def twins(target: Any, args: Sequence[Any], kwargs: dict[str, Any], shape: Sequence[int]) -> list[nn.Module] | None:
    """The layers that a call does the same as, one after the other; None for a call that is none of these.

    Args:
        target: a function, or the name of a tensor's method.
        args, kwargs: without the tensor that comes first.
        shape: of that tensor.

    Raises:
        NoTwinError: the function has layers, but not for these arguments.
    """
    if target in _OVER_THE_MAP:
        return _over_the_map(_OVER_THE_MAP[target], shape, *args, **kwargs)
    make = _METHODS.get(target) if isinstance(target, str) else _FUNCTIONS.get(target)
    if make is None:
        return None
    try:
        return [make(*args, **kwargs)]
    except TypeError as error:
        raise NoTwinError(f"these arguments are not known: {error}") from error


def _over_the_map(
    kinds: tuple[Make, Make], shape: Sequence[int], dim: Any = None, keepdim: bool = False, **other: Any
) -> list[nn.Module]:
    """A mean or a maximum over all positions, which leaves the channels."""
    axes = [dim] if isinstance(dim, int) else list(dim or ())
    if other or sorted(axis % len(shape) for axis in axes) != list(range(2, len(shape))) or len(shape) not in (3, 4):
        wanted = "2" if len(shape) == 3 else "(2, 3)"
        raise NoTwinError(f"over the axes {dim}; only over the whole map, dim={wanted}")
    return [kinds[len(shape) - 3](1), *([] if keepdim else [nn.Flatten(1)])]


def reshaped(before: Sequence[int], after: Sequence[int]) -> list[nn.Module]:
    """The layers that do what a reshape of ``before`` to ``after`` does, both with the batch first.

    Raises:
        NoTwinError: it is no flattening, and no map of one position that is made of features.
    """
    if tuple(before) == tuple(after):
        return []
    if len(after) == 2 and after[0] == before[0]:
        return [nn.Flatten(1)]
    if len(before) == 4 and tuple(after) == (before[0], before[1], before[2] * before[3]):
        return [nn.Flatten(2)]
    ones = (1,) * (len(after) - len(before))
    if ones and {*before[2:]} <= {1} and tuple(after) == (*before, *ones) and len(after) in (3, 4):
        return [nn.Unflatten(len(before) - 1, (-1, *ones))]  # one position
    if len(before) == 2 and len(after) in (3, 4) and after[0] == before[0]:
        return [nn.Unflatten(1, tuple(after[1:]))]
    hint = "use torch.flatten(x, 1), or x.mean((2, 3))" if len(after) < len(before) else hint_for("")
    raise NoTwinError(f"from {tuple(before)} to {tuple(after)}; only to (N, -1)", hint)
