"""Pixels as mantissas: a table of 256 codes a channel, computed once and exactly."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolchain.errors import UserError
from toolchain.ir.rounding import Rounding
from toolchain.train.data import Dataset, input_map
from toolchain.train.inputs import PixelMap
from toolchain.train.niti.numbers import LIMIT, MANTISSA_BITS, Block


@dataclass(frozen=True)
class InputFormat:
    """``pixels`` maps a pixel to its real value; its mantissa is that value over 2**exponent, halves away from zero."""

    pixels: PixelMap
    exponent: int

    def table(self, levels: int) -> NDArray[np.int8]:
        """The mantissas of the pixels 0..levels, (channels or 1, levels + 1)."""
        unit = Fraction(2) ** self.exponent
        rows = [
            [_mantissa((p * scale + offset) / unit) for p in range(levels + 1)]
            for scale, offset in zip(self.pixels.scale, self.pixels.offset, strict=True)
        ]
        return np.array(rows, dtype=np.int8)


def input_format(data: Dataset, normalize: str, variant: str) -> InputFormat:
    """The input of a run: the exponent is that of the largest value any pixel can have.

    The authors take it from each batch; a network in hardware needs one, and on images that hold the darkest and the
    brightest pixel it is the same one. The version of 2020 stretches the values until the largest mantissa is 127.

    Raises:
        UserError: the data are no pixels.
    """
    pixels = input_map(data, normalize)
    if not isinstance(pixels, PixelMap) or len(data.shape) != 3:
        kind = "numbers" if data.real else f"samples {data.shape}"
        raise UserError(
            f"data set '{data.name}' holds {kind}", hint='quant.method = "niti" trains on pictures of pixels'
        )
    ends = [p * s + o for s, o in zip(pixels.scale, pixels.offset, strict=True) for p in (0, data.pixel_levels)]
    largest = max(abs(end) for end in ends)
    exponent = next(e for e in range(-64, 64) if Fraction(2) ** e >= largest) - MANTISSA_BITS
    if variant == "2020":
        stretch = LIMIT * Fraction(2) ** exponent / largest
        pixels = PixelMap(tuple(s * stretch for s in pixels.scale), tuple(o * stretch for o in pixels.offset))
    return InputFormat(pixels, exponent)


def to_block(pixels: Tensor, table: Tensor, exponent: int) -> Block:
    """Pixels (N, C, H, W) in uint8 as mantissas (N, H, W, C) by the ``table`` of their format."""
    maps = pixels.permute(0, 2, 3, 1)
    if len(table) == 1:
        return Block(table[0].index_select(0, maps.int().flatten()).view(maps.shape), exponent)
    rows = [row.index_select(0, maps[..., c].int().flatten()) for c, row in enumerate(table)]
    return Block(torch.stack(rows, 1).view(maps.shape), exponent)


def _mantissa(value: Fraction) -> int:
    return min(max(Rounding.HALF_UP.ratio(value.numerator, value.denominator), -LIMIT), LIMIT)
