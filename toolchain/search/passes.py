"""The passes of the engine that a network of blocks will be cut into, before it is trained or even made.

They follow the rules of ``toolchain.engine.cut``: a window or a sum is part of the pass of the convolution that it
alone reads. Only shapes and number formats mean something; weights are views of a single number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from toolchain.config.blocks import Block
from toolchain.engine.coded_graph import WIDEST_CODE
from toolchain.engine.cut import FOLDED_CHANNELS
from toolchain.engine.layers import Convolution, Cut, Merge, Pass, Requant, Sliding, Stored
from toolchain.search.network import Network

FACTOR_BITS, OFFSET_BITS, SHIFT = 28, 38, 27
"""A requantizer's factor, offset and shift: assumption, as trained networks of such blocks have them at most."""

MERGE_FACTOR, MERGE_SHIFT = (1 << 21) - 1, 20
"""Factors of a sum of branches; the same assumption."""

_REQUANT = Requant(
    np.array([(1 << (FACTOR_BITS - 1)) - 1]), np.array([(1 << (OFFSET_BITS - 2)) - 1]), SHIFT, 0, 255, Stored(0)
)


@dataclass(frozen=True)
class Task:
    """The task of a space's networks: images of ``channels`` x ``size`` pixels of ``input_bits`` to ``classes``."""

    channels: int
    size: tuple[int, int]
    classes: int
    input_bits: int

    def shape(self, network: Network) -> tuple[int, int, int]:
        """(H, W, C) of the input of ``network``."""
        height, width = (network.size, network.size) if network.size else self.size
        return height, width, self.channels


def cut_of(network: Network, task: Task) -> Cut:
    """The passes of ``network``."""
    build = _Build(network, task)
    build.run()
    return Cut(tuple(build.passes), build.folded, _code_bits(network, task))


def _code_bits(network: Network, task: Task) -> int:
    """Bits of a stored code: words of 4 or of 8 bits fill memory beats."""
    return 4 if max(network.act_bits, task.input_bits) <= 4 else WIDEST_CODE


def weights_of(bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """The largest weight of ``bits`` bits in every place, without the memory for it."""
    return np.broadcast_to(np.int64((1 << (bits - 1)) - 1), shape)


def _out(size: int, stride: int) -> int:
    return -(-size // stride)


@dataclass
class _Build:
    network: Network
    task: Task
    passes: list[Pass] = field(default_factory=list)
    folded: bool = False

    def run(self) -> None:
        blocks = self.network.blocks
        shape = self.task.shape(self.network)
        x = self._stem(shape)
        for index, block in enumerate(blocks.block, 1):
            x = (self._inverted if block.kind == "inverted" else self._residual)(f"block{index}", block, x)
        if blocks.head:
            x = self._conv("conv2", x, blocks.head)
        x = self._mean(x)
        self._conv("fc", x, self.task.classes, raw=True)

    def _stem(self, shape: tuple[int, int, int]) -> str:
        outputs, stride = self.network.blocks.stem, self.network.blocks.stem_stride
        if shape[2] > FOLDED_CHANNELS:
            return self._conv("conv1", "input", outputs, 3, stride, shape=shape)
        self.folded = True
        small = (_out(shape[0], stride), _out(shape[1], stride), 9 * shape[2])
        return self._conv("conv1", "input", outputs, shape=small)

    def _conv(
        self,
        name: str,
        x: str,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        shape: tuple[int, int, int] | None = None,
        raw: bool = False,
    ) -> str:
        height, width, inputs = source = shape or self._shape(x)
        weight = weights_of(self.network.bits[name], (outputs, kernel, kernel, inputs))
        out = (_out(height, stride), _out(width, stride), outputs)
        conv = Convolution(weight, (stride, stride), (kernel // 2,) * 4)
        first = None if raw else _REQUANT
        self.passes.append(Pass(name, x, name, source, out, out, conv, first, None, None, None, raw))
        return name

    def _shape(self, x: str) -> tuple[int, int, int]:
        return next(p.out for p in reversed(self.passes) if p.result == x)

    def _slide(self, name: str, x: str, window: Sliding, out: tuple[int, int, int], *, alone: bool) -> str:
        """The window unit behind ``x``: in its pass, unless another reader needs ``x`` or the pass is over."""
        last = self.passes[-1]
        if not alone and last.result == x and last.window is None and last.merge is None:
            self.passes[-1] = replace(last, result=name, out=out, window=window, second=_REQUANT)
            return name
        shape = self._shape(x)
        self.passes.append(Pass(name, x, name, shape, shape, out, None, None, window, _REQUANT, None))
        return name

    def _filter(self, name: str, x: str, block: Block, *, alone: bool) -> str:
        height, width, channels = self._shape(x)
        k, stride = block.kernel, block.stride
        out = (_out(height, stride), _out(width, stride), channels)
        pad = k // 2
        bottom, right = (
            max(0, (n - 1) * stride + k - size - pad) for n, size in zip(out[:2], (height, width), strict=True)
        )
        weight = weights_of(self.network.bits[name], (k * k, channels))
        return self._slide(
            name, x, Sliding("filter", k, stride, (pad, pad, bottom, right), 0, weight), out, alone=alone
        )

    def _merge(self, name: str, residual: str) -> str:
        merge = Merge(residual, MERGE_FACTOR, MERGE_FACTOR, 0, MERGE_SHIFT, 0, 255, Stored(0))
        self.passes[-1] = replace(self.passes[-1], result=name, merge=merge)
        return name

    def _inverted(self, name: str, block: Block, x: str) -> str:
        adds = block.stride == 1 and self._shape(x)[2] == block.channels
        y = x
        if block.expansion > 1:
            y = self._conv(f"{name}.expand.conv", x, self._shape(x)[2] * block.expansion)
        y = self._filter(f"{name}.conv", y, block, alone=adds and y == x)
        y = self._conv(f"{name}.project", y, block.channels)
        return self._merge(f"{name}.sum", x) if adds else y

    def _residual(self, name: str, block: Block, x: str) -> str:
        y = self._conv(f"{name}.conv1", x, block.channels, block.kernel, block.stride)
        rest = x
        if f"{name}.shortcut.conv" in self.network.bits:
            rest = self._conv(f"{name}.shortcut.conv", x, block.channels, 1, block.stride)
        self._conv(f"{name}.conv2", y, block.channels, block.kernel)
        return self._merge(f"{name}.sum", rest)

    def _mean(self, x: str) -> str:
        channels = self._shape(x)[2]
        return self._slide("mean", x, Sliding("global_sum"), (1, 1, channels), alone=False)
