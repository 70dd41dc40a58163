"""The layers of PyTorch that a network of the user's own may have, and the settings that a unit can have."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from toolchain.errors import UserError


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of features, a signal or a map, (N, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        """Norm the channels of every position."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class ChannelSlice(nn.Module):
    """The channels from ``start`` to below ``stop`` of features, a signal or a map, (N, C, ...)."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        """Take the channels."""
        return x[:, self.start : self.stop]


class Abs(nn.Module):
    """The absolute value."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop the signs."""
        return x.abs()


class PositionSlice(nn.Module):
    """The positions ``kept`` along each axis of a signal or a map, (N, C, ...)."""

    def __init__(self, *kept: range) -> None:
        super().__init__()
        self.kept = tuple(slice(places.start, places.stop, places.step) for places in kept)

    def forward(self, x: Tensor) -> Tensor:
        """Take the positions."""
        return x[(slice(None), slice(None), *self.kept)]


class LinearUpsample(nn.Module):
    """Enlarges a signal or a map by whole ``factors``: means of two neighbours along each axis, its edges repeated."""

    def __init__(self, *factors: int) -> None:
        super().__init__()
        self.factors = tuple(map(float, factors))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge it."""
        mode = "linear" if len(self.factors) == 1 else "bilinear"
        return functional.interpolate(x, scale_factor=self.factors, mode=mode, align_corners=False)


class FeatureMap(nn.Module):
    """Features as a signal or a map of the ``sizes`` whose channels lie side by side: (N, C, ...) of (N, ... * C)."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        """Part the features, and put the channels first."""
        return x.unflatten(1, (*self.sizes, -1)).movedim(-1, 1)


class BlockShuffle(nn.Module):
    """Channels as positions of blocks of the size ``block``; of maps and square blocks a `nn.PixelShuffle`."""

    def __init__(self, *block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Lay out the channels."""
        batch, channels, *sizes = x.shape
        count = len(sizes)
        x = x.reshape(batch, channels // math.prod(self.block), *self.block, *sizes)
        x = x.permute(0, 1, *(axis for i in range(count) for axis in (2 + count + i, 2 + i)))
        return x.reshape(batch, x.shape[1], *(size * step for size, step in zip(sizes, self.block, strict=True)))


Convolution = nn.Conv1d | nn.Conv2d
Weighted = Convolution | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d
SMOOTH = (
    nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.ELU, nn.SELU, nn.CELU, nn.Softplus,
    Abs,
)  # fmt: skip
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, *SMOOTH)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
AVERAGING = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_ADAPTIVE = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
WITH_WEIGHTS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)
FLATTENS = (nn.Flatten, nn.Unflatten)
REGROUPING = (BlockShuffle, ChannelSlice, FeatureMap, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle)
"""Layers behind which a channel is another one, or a part of one."""
MOVES = (*REGROUPING, PositionSlice, nn.Upsample)
"""Layers that put copies of values into other places."""
ON_CODES = (ChannelNorm, LinearUpsample, nn.Conv1d, nn.Conv2d, nn.Linear, nn.ZeroPad2d, *POOLS, *AVERAGING)
"""Layers that read codes, as smooth functions do where each is a table."""
MOVING = (*FLATTENS, *DROPOUTS, *MOVES, nn.Identity)
"""Layers that move values, behind which nothing quantizes: what they read holds codes."""
KEEPING = (*POOLS, nn.ZeroPad2d, *MOVING)
"""Layers whose output holds values of their input."""
LAYERS = (
    *WITH_WEIGHTS, *ACTIVATIONS, *POOLS, *AVERAGING, *DROPOUTS, *FLATTENS, *MOVES, nn.ZeroPad2d, nn.Identity,
    ChannelNorm, LinearUpsample,
)  # fmt: skip


_LEANING = (nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish, nn.ELU, nn.SELU, nn.CELU)


class Values(IntEnum):
    """What a tensor holds, which tells the codes of its quantizer."""

    POSITIVE = auto()  # codes from 0
    LEANING = auto()  # much further above zero than below: codes about a zero point of their own
    SIGNED = auto()

    @staticmethod
    def of(layer: nn.Module | None, sources: Sequence[Values]) -> Values:
        """Return what ``layer``, or None for a sum, product or concatenation, makes of tensors that hold ``sources``.

        Of positive values alone sums and maxima are positive; with what leans, they lean.
        """
        if is_positive(layer):
            return Values.POSITIVE
        if isinstance(layer, _LEANING):
            return Values.LEANING
        inherits = layer is None or isinstance(layer, (*KEEPING, *AVERAGING, LinearUpsample))
        return max(sources) if inherits and sources else Values.SIGNED


def channels_behind(layer: nn.Module, channels: int) -> int:
    """Count the channels that a layer of `REGROUPING` puts out when it reads ``channels``."""
    match layer:
        case ChannelSlice():
            return layer.stop - layer.start
        case nn.PixelUnshuffle():
            return channels * layer.downscale_factor**2
        case nn.PixelShuffle():
            return channels // layer.upscale_factor**2
        case BlockShuffle():
            return channels // math.prod(layer.block)
        case FeatureMap():
            return channels // math.prod(layer.sizes)
    return channels


def is_positive(layer: nn.Module | None) -> bool:
    """Return whether the output of ``layer`` is never negative; ReLU6 is a Hardtanh."""
    known = isinstance(layer, nn.ReLU | nn.Sigmoid | nn.Hardsigmoid | nn.Softplus | Abs)
    return known or (isinstance(layer, nn.Hardtanh) and layer.min_val >= 0)


def check_layer(where: str, layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Demand of a layer settings that a unit can have; a padding by name becomes numbers, in place.

    Args:
        where: what an error calls the place of the layer.
        layer: any layer of PyTorch or Brevitas.
        shape: of its input, batch first.

    Raises:
        UserError: a setting that no unit has.
    """
    if isinstance(layer, Convolution):
        if layer.padding_mode != "zeros":
            raise UserError(f"it pads with '{layer.padding_mode}'", where=where, hint="pad with zeros")
        if isinstance(layer.padding, str):
            _spell_padding(layer, where)
    if isinstance(layer, Norm) and not (layer.affine and layer.track_running_stats):
        hint = "set affine=True and track_running_stats=True"
        raise UserError("a batch norm without scale, offset or statistics", where=where, hint=hint)
    own = isinstance(layer, Weighted) and not type(layer).__module__.startswith("brevitas.nn")
    if own and "weight" not in layer._parameters:
        parametrized = parametrize.is_parametrized(layer)
        remover = (
            "parametrize.remove_parametrizations" if parametrized else "remove_weight_norm or remove_spectral_norm"
        )
        hint = f"call torch.nn.utils.{remover} first"
        raise UserError("its weight is parametrized (weight or spectral norm)", where=where, hint=hint)
    if getattr(layer, "divisor_override", None) is not None:
        hint = "leave divisor_override out"
        raise UserError("it divides by another number than its window has", where=where, hint=hint)
    if isinstance(layer, nn.ZeroPad2d):
        _check_pad(where, layer, shape)
    _check_numbers(where, layer)
    if isinstance(layer, nn.Linear) and len(shape) > 3:
        what = f"a fully connected layer over the last axis of a map, {tuple(shape[1:])}"
        raise UserError(what, where=where, hint="use a 1x1 convolution over channels")
    if isinstance(layer, POOLS) and getattr(layer, "return_indices", False):
        raise UserError("it returns indices", where=where, hint="set return_indices=False")
    if isinstance(layer, AVERAGING) and getattr(layer, "ceil_mode", False) and _adds_windows(layer, shape[2:]):
        hint = "set ceil_mode=False and pad"
        raise UserError("ceil_mode that adds windows beyond the pads of an average", where=where, hint=hint)


def _check_pad(where: str, layer: nn.ZeroPad2d, shape: tuple[int, ...]) -> None:
    if min(layer.padding) < 0:
        hint = "pads are 0 and more; crop with a convolution or a pool"
        raise UserError(f"it pads by {min(layer.padding)}", where=where, hint=hint)
    if len(shape) < 3 or (len(shape) == 3 and any(layer.padding[2:])):
        hint = "pad the height and width of maps, or the length of signals"
        raise UserError(f"it pads {tuple(shape[1:])} by {tuple(layer.padding)}", where=where, hint=hint)


def _check_numbers(where: str, layer: nn.Module) -> None:
    """Demand numbers with which an activation rises, or is a function at all."""
    if isinstance(layer, nn.LeakyReLU | nn.PReLU):
        slopes = [layer.negative_slope] if isinstance(layer, nn.LeakyReLU) else layer.weight.tolist()
        if not all(0 <= slope < math.inf for slope in slopes):
            hint = "give a slope of 0 or more"
            raise UserError(f"a slope of {min(slopes):g}, which makes it fall", where=where, hint=hint)
    if isinstance(layer, nn.ELU | nn.CELU) and not math.isfinite(layer.alpha):
        raise UserError(f"an alpha of {layer.alpha:g}", where=where, hint="give a finite one")
    if isinstance(layer, nn.Softplus) and (layer.beta, layer.threshold) != (1, 20):
        what = f"a Softplus of beta {layer.beta:g} and threshold {layer.threshold:g}"
        raise UserError(what, where=where, hint="leave both out, and scale by the layers around it")
    if isinstance(layer, nn.CELU) and layer.alpha <= 0:
        raise UserError(f"a CELU of alpha {layer.alpha:g}", where=where, hint="give an alpha above 0")


def _adds_windows(pool: Any, sizes: tuple[int, ...]) -> bool:
    """Return whether ``ceil_mode`` adds windows over a map of ``sizes``."""
    settings = (pool.kernel_size, pool.stride, pool.padding, getattr(pool, "dilation", 1))
    every = (_each(setting, len(sizes)) for setting in settings)
    for size, kernel, stride, pad, dilation in zip(sizes, *every, strict=True):
        last = size + 2 * pad - dilation * (kernel - 1) - 1  # where the last window may start
        start = last - last % stride + stride  # of the window behind, which is none where it starts behind the map
        if last % stride and start < size + pad:
            return True
    return False


def _each(given: Any, axes: int) -> tuple[Any, ...]:
    """A setting of a pool as a number an axis."""
    return tuple(given) if isinstance(given, tuple | list) else (given,) * axes


def with_equal_windows(where: str, layer: nn.Module, shape: tuple[int, ...], *, whole: bool = False) -> nn.Module:
    """``layer``; an adaptive pool on an input of ``shape`` that leaves more than one value as the plain pool it is.

    Where ``whole``, one over the whole map as well. ``ceil_mode`` without effect, which onnxruntime counts otherwise
    than PyTorch, is left out.

    Raises:
        UserError: an adaptive pool with windows of several sizes.
    """
    sizes = shape[2:]
    if getattr(layer, "ceil_mode", False) and not _adds_windows(layer, sizes):
        floored = copy.deepcopy(layer)
        floored.ceil_mode = False  # type: ignore[assignment]
        return floored
    if not isinstance(layer, _ADAPTIVE):
        return layer
    wanted = _each(layer.output_size, len(sizes))
    counts = tuple(size if count is None else count for size, count in zip(sizes, wanted, strict=True))
    if set(counts) == {1} and not whole:
        return layer
    if any(size % count for size, count in zip(sizes, counts, strict=True)):
        before, after = (" x ".join(map(str, each)) for each in (sizes, counts))
        hint = f"let the sizes divide {before}, or use a pool with a kernel_size"
        raise UserError(f"its windows differ in size, from {before} to {after}", where=where, hint=hint)
    kernel = tuple(size // count for size, count in zip(sizes, counts, strict=True))
    kinds: tuple[Any, Any] = (nn.MaxPool1d, nn.MaxPool2d) if isinstance(layer, POOLS) else (nn.AvgPool1d, nn.AvgPool2d)
    made: nn.Module = kinds[len(kernel) - 1](kernel)
    return made


def with_factors(where: str, layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """``layer``; an upsampling of an input of ``shape`` by its whole factors: of copies, or a `LinearUpsample`.

    Raises:
        UserError: one by other factors, or of other values.
    """
    if not isinstance(layer, nn.Upsample):
        return layer
    sizes = shape[2:]
    wanted = _each(layer.scale_factor if layer.size is None else layer.size, len(sizes))
    factors = tuple(n if layer.size is None else n / size for n, size in zip(wanted, sizes, strict=True))
    whole = len(sizes) in (1, 2) and all(factor >= 1 and factor == int(factor) for factor in factors)
    if whole and layer.mode in ("nearest", "nearest-exact"):
        if layer.size is None and layer.mode == "nearest":
            return layer
        return nn.Upsample(scale_factor=tuple(map(float, factors)))  # type: ignore[arg-type]
    if whole and layer.mode in ("linear", "bilinear") and not layer.align_corners:
        return LinearUpsample(*map(int, factors))
    corners = ", align_corners=True" if layer.align_corners else ""
    what = f"an upsampling of {tuple(shape[1:])} by {tuple(factors)}, mode='{layer.mode}'{corners}"
    hint = "enlarge by whole factors, mode='nearest', or 'bilinear' without align_corners"
    raise UserError(what, where=where, hint=hint)


def with_zero_pads(where: str, layer: nn.Module) -> nn.Module:
    """``layer``; a constant pad, `nn.ZeroPad1d` among them, as the `nn.ZeroPad2d` that it is.

    Raises:
        UserError: it pads with another number.
    """
    if not isinstance(layer, nn.ConstantPad1d | nn.ConstantPad2d) or isinstance(layer, nn.ZeroPad2d):
        return layer
    if layer.value:
        raise UserError(f"it pads with {layer.value:g}", where=where, hint="pad with zeros")
    return zero_pad(layer.padding)


def zero_pad(pads: Sequence[int]) -> nn.ZeroPad2d:
    """A pad of zeros on the left and the right, and where there are four ``pads`` on the top and the bottom."""
    left, right, top, bottom = pads if len(pads) == 4 else (*pads, 0, 0)
    return nn.ZeroPad2d((left, right, top, bottom))


def _spell_padding(layer: Convolution, where: str) -> None:
    """Turn the padding "same" or "valid" into numbers, in place."""
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "same" and any(total % 2 for total in reach):
        raise UserError(
            "padding='same' of an even kernel",
            where=where,
            hint="pad with nn.ZeroPad1d or nn.ZeroPad2d, then padding=0",
        )
    layer.padding = tuple(total // 2 if layer.padding == "same" else 0 for total in reach)  # type: ignore[assignment]
    layer._reversed_padding_repeated_twice = [pad for pad in layer.padding[::-1] for _ in range(2)]  # type: ignore[misc]
