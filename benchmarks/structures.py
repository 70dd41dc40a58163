"""INTEGER graphs of published networks with random weights: their structure and bit widths, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Encoding, InputType, QInt, Value


class Network:
    """Appends layers to a graph. Activations of ``act_bits`` bits; thresholds up to 4 bits, multiply-shift above."""

    def __init__(self, shape: tuple[int, int, int], weight_bits: int, act_bits: int, input_bits: int = 8) -> None:
        self.rng = np.random.default_rng(0)
        self.weight_bits, self.act_bits = weight_bits, act_bits
        self.input = Value("x", shape, QInt(input_bits, False))
        self.nodes: list[Node] = []

    def graph(self, name: str, output: Value) -> Graph:
        """The graph that ends in ``output``."""
        encoding = Encoding(InputType(self.input.qint.min, self.input.qint.max))
        ends = (Output("out", output.name),)
        return Graph(name=name, input=self.input, nodes=tuple(self.nodes), outputs=ends, encoding=encoding)

    def _append(self, op: type[Node], inputs: tuple[Value, ...], shape: tuple[int, int, int], **facts: Any) -> Value:
        name = f"{op.__name__.lower()}{len(self.nodes)}"
        names = tuple(v.name for v in inputs)
        draft = op(name=name, inputs=names, outputs=(Value(f"{name}_out", shape, QInt(62, True)),), **facts)
        self.nodes.append(draft.ranged(*inputs))
        return self.nodes[-1].output

    def window(self, x: Value, kernel: int, stride: int, pad: int) -> Value:
        """A square sliding window."""
        size = tuple((n + 2 * pad - kernel) // stride + 1 for n in x.shape[:2])
        shape = (size[0], size[1], kernel * kernel * x.shape[2])
        pads = (pad, pad, pad, pad)
        return self._append(Window, (x,), shape, kernel=(kernel, kernel), stride=(stride, stride), pads=pads)

    def matvec(self, x: Value, outputs: int, bits: int | None = None) -> Value:
        """Random weights over their whole range; one bit stands for -1 and +1."""
        kind = QInt(max(bits or self.weight_bits, 2), True)
        if (bits or self.weight_bits) == 1:
            weight = self.rng.choice(np.array([-1, 1], dtype=np.int64), (outputs, x.shape[2]))
        else:
            weight = self.rng.integers(kind.min, kind.max + 1, (outputs, x.shape[2]), dtype=np.int64)
        return self._append(MatVec, (x,), (*x.shape[:2], outputs), weight=weight, weight_type=kind)

    def conv(self, x: Value, outputs: int, kernel: int = 3, stride: int = 1, *, pad: bool = True) -> Value:
        """A convolution without its quantizer."""
        if kernel > 1 or stride > 1:
            x = self.window(x, kernel, stride, (kernel - 1) // 2 if pad else 0)
        return self.matvec(x, outputs)

    def quantize(self, x: Value, *, signed: bool = False) -> Value:
        """A requantizer to ``act_bits`` bits, one threshold set or one factor a channel."""
        channels, bits = x.shape[2], self.act_bits
        if bits <= 4:
            levels = (1 << bits) - 1
            reach = max(x.qint.max // 4, levels)
            rows = np.sort(self.rng.integers(-reach, reach + 1, (channels, levels), dtype=np.int64), axis=1)
            start, step = np.zeros(channels, dtype=np.int64), np.ones(channels, dtype=np.int64)
            return self._append(Threshold, (x,), x.shape, thresholds=rows, start=start, step=step)
        kind = QInt(bits, signed)
        mul = self.rng.integers(1 << 14, 1 << 15, channels, dtype=np.int64)
        add = self.rng.integers(-(1 << 20), 1 << 20, channels, dtype=np.int64)
        return self._append(MulShift, (x,), x.shape, mul=mul, add=add, shift=22, low=kind.min, high=kind.max)

    def layer(self, x: Value, outputs: int, kernel: int = 3, stride: int = 1, *, pad: bool = True) -> Value:
        """A convolution with its quantizer."""
        return self.quantize(self.conv(x, outputs, kernel, stride, pad=pad))

    def pool(self, x: Value) -> Value:
        """A 2 x 2 maximum."""
        window = self.window(x, 2, 2, 0)
        return self._append(Pool, (window,), (*window.shape[:2], x.shape[2]), kind="max", taps=4)

    def add(self, a: Value, b: Value) -> Value:
        """The sum of two branches."""
        return self._append(Add, (a, b), a.shape)

    def global_sum(self, x: Value) -> Value:
        """The sum over all positions."""
        return self._append(GlobalSum, (x,), (1, 1, x.shape[2]))

    def dense(self, x: Value, sizes: Sequence[int]) -> Value:
        """Flattened, then dense layers; the last one without a quantizer."""
        if x.shape[:2] != (1, 1):
            x = self._append(Reshape, (x,), (1, 1, x.size))
        for outputs in sizes[:-1]:
            x = self.quantize(self.matvec(x, outputs))
        return self.matvec(x, sizes[-1])


def resnet20() -> Graph:
    """ResNet-20 for CIFAR-10 (He et al., CVPR 2016), W8A8: 3 x 3 blocks of 16, 32, 64 channels."""
    net = Network((32, 32, 3), 8, 8)
    x = net.layer(net.input, 16)
    for block in range(9):
        outputs, stride = 16 << (block // 3), 2 if block in (3, 6) else 1
        main = net.quantize(net.conv(net.layer(x, outputs, 3, stride), outputs), signed=True)
        skip = x if stride == 1 else net.quantize(net.conv(x, outputs, 1, stride), signed=True)
        x = net.quantize(net.add(main, skip))
    pooled = net.global_sum(x)
    return net.graph("resnet20_w8a8", net.dense(pooled, [10]))


def cnv(bits: int) -> Graph:
    """CNV for CIFAR-10 (Umuroglu et al., FINN, FPGA 2017): six unpadded 3 x 3 layers, two pools, three dense layers."""
    net = Network((32, 32, 3), bits, bits)
    x = net.input
    for i, outputs in enumerate((64, 64, 128, 128, 256, 256)):
        x = net.layer(x, outputs, pad=False)
        x = net.pool(x) if i in (1, 3) else x
    return net.graph(f"cnv_w{bits}a{bits}", net.dense(x, [512, 512, 10]))


def lenet5() -> Graph:
    """LeNet-5 on 28 x 28 pixels, W4A4: 5 x 5 convolutions of 6 and 16 channels, dense 120, 84, 10."""
    net = Network((28, 28, 1), 4, 4)
    x = net.pool(net.layer(net.input, 6, 5))
    x = net.pool(net.layer(x, 16, 5, pad=False))
    return net.graph("lenet5_w4a4", net.dense(x, [120, 84, 10]))


def ultranet() -> Graph:
    """UltraNet (DAC-SDC 2020 winner) on 160 x 320 pixels, W4A4: eight 3 x 3 layers, four pools, a 1 x 1 head of 36."""
    net = Network((160, 320, 3), 4, 4)
    x = net.input
    for i, outputs in enumerate((16, 32, 64, 64, 64, 64, 64, 64)):
        x = net.layer(x, outputs)
        x = net.pool(x) if i < 4 else x
    return net.graph("ultranet_w4a4", net.matvec(x, 36))
