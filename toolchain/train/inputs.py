"""Maps from a pixel, or a measured number, to the value that the network reads; the host computes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.ir.input_types import parse_input, quantizer_of
from toolchain.ir.quantize import quantize

Samples = NDArray[Any]
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class PixelMap:
    """The exact map from a pixel to the network's input: ``pixel * scale + offset``, one entry or one a channel.

    ``given`` is the type that the host rounds these values to, as ``parse_input`` reads it.
    """

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    given: str | None = None

    def apply(self, x: Samples) -> Numbers:
        """Input values (N, C, ...) of the pixels (uint8), correctly rounded from float64, then to ``given``."""
        scale, offset = (_row(values, x.ndim, np.float64) for values in (self.scale, self.offset))
        return _rounded((x * scale + offset).astype(np.float32), self.given)


@dataclass(frozen=True)
class FeatureMap:
    """The map from a number x to the network's input: ``(x - mean) / deviation`` in float32, as the host computes it.

    ``mean`` and ``deviation`` are float32 numbers, one a channel. ``given`` is the type that the host rounds these
    values to; without one the network's own quantizer rounds them.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    given: str | None = None

    def apply(self, x: Samples) -> Numbers:
        """Input values (N, C, ...) of the numbers (float32), rounded to ``given``."""
        mean, deviation = (_row(values, x.ndim, np.float32) for values in (self.mean, self.deviation))
        return _rounded(np.asarray((x - mean) / deviation, dtype=np.float32), self.given)


InputMap = PixelMap | FeatureMap


def map_record(pixels: InputMap) -> dict[str, Any]:
    """``pixels`` as JSON takes it; fractions as text."""
    if isinstance(pixels, PixelMap):
        numbers: dict[str, Any] = {"scale": [*map(str, pixels.scale)], "offset": [*map(str, pixels.offset)]}
    else:
        numbers = {"mean": [*pixels.mean], "deviation": [*pixels.deviation]}
    return {**numbers, "given": pixels.given}


def read_map(record: Mapping[str, Any]) -> InputMap:
    """The map of a ``map_record``."""
    if "scale" in record:
        scale, offset = (tuple(map(Fraction, record[key])) for key in ("scale", "offset"))
        return PixelMap(scale, offset, record["given"])
    return FeatureMap(tuple(record["mean"]), tuple(record["deviation"]), record["given"])


def _row(values: tuple[Any, ...], axes: int, kind: type) -> NDArray[Any]:
    """Return ``values``, one a channel or one in all, along the second of ``axes`` axes."""
    return np.array([float(v) for v in values], dtype=kind).reshape(1, -1, *(1,) * (axes - 2))


def _rounded(values: Numbers, given: str | None) -> Numbers:
    if given is None:
        return values
    quantizer = quantizer_of(parse_input(given))
    codes = quantize(quantizer, np.moveaxis(values, 1, -1)) - quantizer.zero_point
    return np.moveaxis(codes * np.asarray(quantizer.scale), -1, 1).astype(np.float32)  # type: ignore[no-any-return]


def moments(x: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every channel of ``x`` (N, C, ...)."""
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    return x.mean(others, dtype=np.float64), x.std(others, dtype=np.float64)


def feature_map(x: Samples, normalize: str, given: str | None) -> FeatureMap:
    """``unit``: the numbers themselves. ``standard``: less the mean, over the deviation of ``x`` (N, C, ...).

    A channel that never changes has the deviation 1.
    """
    if normalize == "unit":
        return FeatureMap((0.0,), (1.0,), given)
    mean, deviation = (values.astype(np.float32) for values in moments(x))
    deviation[deviation <= np.abs(mean) * np.finfo(np.float32).eps] = 1.0  # the rest is rounding
    return FeatureMap(tuple(map(float, mean)), tuple(map(float, deviation)), given)


def pixel_map(x: Samples, levels: int, normalize: str, given: str | None) -> PixelMap:
    """``unit``: p / levels. ``standard``: (p / levels - mean) / std with the moments of ``x`` to 4 decimals."""
    unit = Fraction(1, levels)
    if normalize == "unit":
        return PixelMap((unit,), (Fraction(0),), given)
    mean, deviation = moments(x.astype(np.float32) / levels)
    means = [Fraction(f"{m:.4f}") for m in mean]
    stds = [max(Fraction(f"{s:.4f}"), Fraction(1, 10000)) for s in deviation]
    return PixelMap(tuple(unit / s for s in stds), tuple(-m / s for m, s in zip(means, stds, strict=True)), given)
