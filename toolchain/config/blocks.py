"""A network as a list of blocks, which a search writes as a person would."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from toolchain.config.table import Table

MOST_EXPANSION = 8


class Block(Table):
    """A block: "inverted" (1 x 1, depthwise, 1 x 1; MobileNetV2) or "residual" (two convolutions; ResNet).

    ``expansion`` is the inner channels over the incoming ones, of "inverted" alone. A block of stride 1 that keeps the
    channels adds its input; a residual one with other shapes adds a 1 x 1 convolution of it.
    """

    kind: Literal["inverted", "residual"]
    channels: int = Field(ge=1)
    kernel: Literal[3, 5] = 3
    expansion: int = Field(default=1, ge=1, le=MOST_EXPANSION)
    stride: Literal[1, 2] = 1


class Blocks(Table):
    """A network of blocks.

    It is a 3 x 3 convolution to ``stem`` channels, the blocks, a 1 x 1 convolution to ``head`` channels where that is
    not 0, the mean over all positions and a classifier.
    """

    stem: int = Field(ge=1)
    stem_stride: Literal[1, 2] = 1
    block: tuple[Block, ...] = Field(min_length=1)
    head: int = Field(default=0, ge=0)
