"""INTEGER graphs of ImageNet networks with seeded weights: shapes and number formats are real, answers mean nothing.

MobileNetV2 comes from the quantized file at hand; these are the networks without one.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import Concat, Slice, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Encoding, InputType, QInt, Value
from toolchain.lowering.requantize import Requantizer, to_threshold

SEED = 0
SHIFT_BITS = 13
"""Bits of a requantizer's largest factors, about."""

RESNET18 = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of the stages of ResNet-18, two blocks each (He et al., table 1)."""


YOLO, YOLO_BOXES = (16, 32, 64, 128, 256), 255
"""Channels of Tiny YOLOv3 down to its finer head, and of each head (Redmon and Farhadi, yolov3-tiny.cfg)."""

YOLOV5N = ((32, 1), (64, 2), (128, 3), (256, 1))
"""Channels of the stages of YOLOv5n, each at half the size, and how many sums of branches are in their blocks."""

YOLOV8N, YOLOV8N_HEADS = ((32, 1), (64, 2), (128, 2), (256, 1)), (64, 80)
"""Channels and sums of branches of the stages of YOLOv8n, and outputs of the two heads at each of its sizes."""

SILU_STEP, SILU_CODES = 16, (-10, 245)
"""What SiLU reads is a code / 16; its codes count from a zero point of 10."""

UNET, UNET_BACK = (16, 24, 32, 48), (28, 24, 16)
"""Channels of a U-net on the way down and back."""


class Network:
    """A graph under construction; bits are those of every layer, ``leak`` that of leaky ReLUs."""

    def __init__(
        self, name: str, weight_bits: int, act_bits: int, size: int = 224, leak: Fraction = Fraction(1, 10)
    ) -> None:
        self.name, self.weight_bits, self.act_bits = name, weight_bits, act_bits
        self.leak = leak
        self.rng = np.random.default_rng(SEED)
        self.input = Value("input", (size, size, 3), QInt(act_bits, False))
        self.nodes: list[Node] = []

    def graph(self, *outputs: Value) -> Graph:
        """The graph that ends in ``outputs``."""
        encoding = Encoding(InputType(self.input.qint.min, self.input.qint.max))
        ends = tuple(Output(f"out{i or ''}", output.name) for i, output in enumerate(outputs))
        return Graph(name=self.name, input=self.input, nodes=tuple(self.nodes), outputs=ends, encoding=encoding)

    def conv(self, x: Value, outputs: int, kernel: int = 1, stride: int = 1, *, signed: bool = False) -> Value:
        """A convolution and its quantizer."""
        taps = self.window(x, kernel, stride)
        return self.quantize(self.product(taps, outputs), taps.shape[2], signed=signed)

    def leaky_conv(self, x: Value, outputs: int, kernel: int = 3) -> Value:
        """A convolution, a leaky ReLU and its quantizer."""
        taps = self.window(x, kernel, 1)
        return self.leaky(self.product(taps, outputs), taps.shape[2])

    def silu_conv(self, x: Value, outputs: int, kernel: int = 1, stride: int = 1) -> Value:
        """A convolution, its quantizer, SiLU and its quantizer, as post-training quantization has them."""
        x = self.conv(x, outputs, kernel, stride, signed=True)
        real = np.arange(x.qint.min, x.qint.max + 1) / SILU_STEP
        codes = np.rint(real / (1 + np.exp(-real)) * SILU_CODES[1] / (x.qint.max / SILU_STEP))
        table = np.clip(codes, *SILU_CODES).astype(np.int64)[None]
        return self._add(Lookup, (x,), x.shape, table=table, low=x.qint.min)

    def window(self, x: Value, kernel: int, stride: int) -> Value:
        """A padded sliding window; nothing for 1 x 1 at stride 1."""
        if kernel == stride == 1:
            return x
        pad, size = (kernel - 1) // 2, -(-x.shape[0] // stride)
        shape = (size, size, kernel**2 * x.shape[2])
        facts = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": (pad,) * 4}
        return self._add(Window, (x,), shape, **facts)

    def product(self, x: Value, outputs: int) -> Value:
        """A matrix-vector product at every position."""
        weight = self._weights((outputs, x.shape[2]))
        return self._add(MatVec, (x,), (*x.shape[:2], outputs), weight=weight, weight_type=QInt(self.weight_bits, True))

    def quantize(self, x: Value, terms: int = 1, *, signed: bool = False) -> Value:
        """A quantizer of a factor a channel behind sums of ``terms`` products.

        The factors spread random sums, whose deviation grows with the root of the terms, over the codes.
        """
        kind, rows, shift = QInt(self.act_bits, signed), x.shape[2], self._shift
        mul = self._factors(rows, terms)
        add = self.rng.integers(0, 1 << shift, rows, dtype=np.int64)
        return self._add(MulShift, (x,), x.shape, mul=mul, add=add, shift=shift, low=kind.min, high=kind.max)

    def leaky(self, x: Value, terms: int) -> Value:
        """A leaky ReLU and its signed quantizer behind sums of ``terms`` products, spread as ``quantize`` does."""
        kind, rows = QInt(self.act_bits, True), x.shape[2]
        slope = tuple(Fraction(n, 2 << self._shift) for n in self._factors(rows, terms).tolist())
        offset = tuple(map(Fraction, self.rng.uniform(-1, 1, rows)))
        ends = (kind.min,) * rows, (kind.max,) * rows
        bends = ((Fraction(0), self.leak),) * rows
        found = Requantizer(slope, offset, kind.min, kind.max, Rounding.ROUND, False, *ends, bends)
        thresholds, start, step = to_threshold(found, x.qint.min, x.qint.max)
        return self._add(Threshold, (x,), x.shape, thresholds=thresholds, start=start, step=step)

    @property
    def _shift(self) -> int:
        return self.weight_bits + SHIFT_BITS

    def _factors(self, rows: int, terms: int) -> np.ndarray:
        top = 3 * 2.0**SHIFT_BITS / terms**0.5
        return self.rng.integers(int(top / 2), int(top), rows, dtype=np.int64)

    def divide(self, x: Value, parts: int) -> Value:
        """A quantizer that divides by about ``parts``, the same in all channels."""
        kind = QInt(self.act_bits, False)
        facts = {"mul": np.array([int(2**SHIFT_BITS / parts)]), "add": np.array([0]), "shift": SHIFT_BITS}
        return self._add(MulShift, (x,), x.shape, **facts, low=kind.min, high=kind.max)

    def sum(self, a: Value, b: Value, codes: tuple[int, int] | None = None) -> Value:
        """The sum of two branches of one scale and its quantizer, of the double one: to ``codes``, or unsigned ones."""
        kind, total = QInt(self.act_bits, False), self._add(Add, (a, b), a.shape)
        low, high = codes or (kind.min, kind.max)
        facts = {"mul": np.array([1]), "add": np.array([0]), "shift": 1, "low": low, "high": high}
        return self._add(MulShift, (total,), a.shape, **facts)

    def pool(self, x: Value, kernel: int = 3, stride: int = 2) -> Value:
        """A maximum over a kernel."""
        window = self.window(x, kernel, stride)
        return self._add(Pool, (window,), (*window.shape[:2], x.shape[2]), kind="max", taps=kernel**2)

    def upsample(self, x: Value) -> Value:
        """Every position twice along both axes."""
        return self._add(Upsample, (x,), (2 * x.shape[0], 2 * x.shape[1], x.shape[2]), factors=(2, 2))

    def part(self, x: Value, start: int, count: int) -> Value:
        """``count`` channels from ``start`` on."""
        return self._add(Slice, (x,), (*x.shape[:2], count), start=start)

    def join(self, *parts: Value) -> Value:
        """The channels of all."""
        channels = tuple(part.shape[2] for part in parts)
        return self._add(Concat, parts, (*parts[0].shape[:2], sum(channels)), channels=channels)

    def classes(self, x: Value, count: int = 1000) -> Value:
        """The mean over all positions and the logits."""
        mean = self.divide(self._add(GlobalSum, (x,), (1, 1, x.shape[2])), x.shape[0] * x.shape[1])
        return self.product(mean, count)

    def _weights(self, shape: tuple[int, int]) -> np.ndarray:
        most = QInt(self.weight_bits, True).max  # weights are symmetric, as Brevitas stores them
        return self.rng.integers(-most, most + 1, shape, dtype=np.int64)

    def _add(self, op: type[Node], inputs: tuple[Value, ...], shape: tuple[int, int, int], **facts: Any) -> Value:
        name = f"{op.__name__.lower()}{len(self.nodes)}"
        names = tuple(v.name for v in inputs)
        draft = op(name=name, inputs=names, outputs=(Value(f"{name}_out", shape, QInt(62, True)),), **facts)
        self.nodes.append(draft.ranged(*inputs))
        return self.nodes[-1].output


def resnet18(weight_bits: int, act_bits: int, size: int = 224) -> Graph:
    """ResNet-18."""
    net = Network(f"resnet18-w{weight_bits}a{act_bits}", weight_bits, act_bits, size)
    x = net.pool(net.conv(net.input, 64, 7, 2))
    for channels, stride in RESNET18:
        for step in (stride, 1):
            y = net.conv(net.conv(x, channels, 3, step), channels, 3, signed=True)
            if step > 1:
                x = net.conv(x, channels, 1, step, signed=True)
            x = net.sum(y, x)
    return net.graph(net.classes(x))


def unet(weight_bits: int, act_bits: int, size: int = 256) -> Graph:
    """A U-net with two classes a pixel and leaky ReLUs: four sizes of maps, three joined with what comes from below."""
    net = Network(f"unet-w{weight_bits}a{act_bits}", weight_bits, act_bits, size)
    x, skips = net.input, []
    for channels in UNET[:-1]:
        x = net.leaky_conv(x, channels)
        skips.append(x)
        x = net.pool(x, 2)
    x = net.leaky_conv(x, UNET[-1])
    for channels, skip in zip(UNET_BACK, reversed(skips), strict=True):
        x = net.leaky_conv(net.join(net.upsample(x), skip), channels)
    return net.graph(net.product(x, 2))


def tiny_yolo(weight_bits: int, act_bits: int, size: int = 416) -> Graph:
    """Tiny YOLOv3 with its two heads of 255 channels, leaky ReLUs of 1/8 and no pool of stride 1.

    A leak of 1/10 behind sums of 9,216 products takes numerators of 62 bits, more than are added at once.
    """
    net = Network(f"tiny-yolo-w{weight_bits}a{act_bits}", weight_bits, act_bits, size, Fraction(1, 8))
    x = net.input
    for channels in YOLO[:-1]:
        x = net.pool(net.leaky_conv(x, channels), 2)
    fine = net.leaky_conv(x, YOLO[-1])
    x = net.leaky_conv(net.leaky_conv(net.pool(fine, 2), 512), 1024)
    coarse = net.leaky_conv(x, 256, 1)
    large = net.product(net.leaky_conv(coarse, 512), YOLO_BOXES)
    x = net.join(net.upsample(net.leaky_conv(coarse, 128, 1)), fine)
    return net.graph(large, net.product(net.leaky_conv(x, 256), YOLO_BOXES))


def yolov5n(weight_bits: int, act_bits: int, size: int = 320) -> Graph:
    """YOLOv5n with SiLU, its pooled pyramid and three heads of 255 channels."""
    net = Network(f"yolov5n-w{weight_bits}a{act_bits}", weight_bits, act_bits, size)

    def block(x: Value, channels: int, pairs: int = 1, *, sums: bool = False) -> Value:
        side, x = net.silu_conv(x, channels // 2), net.silu_conv(x, channels // 2)
        for _ in range(pairs):
            y = net.silu_conv(net.silu_conv(x, channels // 2), channels // 2, 3)
            x = net.sum(x, y, SILU_CODES) if sums else y
        return net.silu_conv(net.join(x, side), channels)

    x, maps = net.silu_conv(net.input, 16, 6, 2), []
    for channels, pairs in YOLOV5N:
        x = block(net.silu_conv(x, channels, 3, 2), channels, pairs, sums=True)
        maps.append(x)
    pooled = [net.silu_conv(x, 128)]
    for _ in range(3):
        pooled.append(net.pool(pooled[-1], 5, 1))
    x, ways = net.silu_conv(net.join(*pooled), 256), []
    for skip in (maps[2], maps[1]):
        ways.append(net.silu_conv(x, skip.shape[2]))
        x = block(net.join(net.upsample(ways[-1]), skip), skip.shape[2])
    heads = [x]
    for way in reversed(ways):
        x = block(net.join(net.silu_conv(x, way.shape[2], 3, 2), way), 2 * way.shape[2])
        heads.append(x)
    return net.graph(*(net.product(head, YOLO_BOXES) for head in heads))


def yolov8n(weight_bits: int, act_bits: int, size: int = 320) -> Graph:
    """YOLOv8n: split blocks (C2f) with SiLU, a pooled pyramid, boxes (64 channels) and classes (80) at three sizes."""
    net = Network(f"yolov8n-w{weight_bits}a{act_bits}", weight_bits, act_bits, size)

    def block(x: Value, channels: int, pairs: int = 1, *, sums: bool = False) -> Value:
        whole, half = net.silu_conv(x, channels), channels // 2
        parts = [net.part(whole, 0, half), net.part(whole, half, half)]
        for _ in range(pairs):
            y = net.silu_conv(net.silu_conv(parts[-1], half, 3), half, 3)
            parts.append(net.sum(parts[-1], y, SILU_CODES) if sums else y)
        return net.silu_conv(net.join(*parts), channels)

    x, maps = net.silu_conv(net.input, 16, 3, 2), []
    for channels, pairs in YOLOV8N:
        x = block(net.silu_conv(x, channels, 3, 2), channels, pairs, sums=True)
        maps.append(x)
    pooled = [net.silu_conv(x, 128)]
    for _ in range(3):
        pooled.append(net.pool(pooled[-1], 5, 1))
    x = coarse = net.silu_conv(net.join(*pooled), 256)
    ways = []
    for skip in (maps[2], maps[1]):
        ways.append(x)
        x = block(net.join(net.upsample(x), skip), skip.shape[2])
    levels = [x]
    for way in (ways[1], coarse):
        x = block(net.join(net.silu_conv(x, x.shape[2], 3, 2), way), 2 * x.shape[2])
        levels.append(x)
    return net.graph(*(
        net.product(net.silu_conv(net.silu_conv(level, count, 3), count, 3), count)
        for level in levels for count in YOLOV8N_HEADS
    ))  # fmt: skip


def with_weights_of(graph: Graph, bits: int) -> Graph:
    """``graph`` with its weights rounded to ``bits`` bits, and quantizers that make up for the smaller sums."""
    dropped = max(int(np.abs(n.weight).max()).bit_length() + 1 - bits for n in graph.nodes if isinstance(n, MatVec))
    nodes: list[Node] = []
    types: dict[str, Value] = {graph.input.name: graph.input}
    scaled = {n.output.name for n in graph.nodes if isinstance(n, MatVec | Depthwise)}
    kind = QInt(bits, True)
    for node in graph.nodes:
        if isinstance(node, MatVec | Depthwise):
            weight = np.clip(np.rint(node.weight / 2**dropped).astype(np.int64), -kind.max, kind.max)
            node = replace(node, weight=weight, weight_type=kind)
        elif isinstance(node, MulShift) and node.inputs[0] in scaled:
            node = replace(node, mul=node.mul << dropped)
        nodes.append(node.ranged(*(types[name] for name in node.inputs)))
        types |= {v.name: v for v in nodes[-1].outputs}
    return replace(graph.with_nodes(nodes), name=f"{graph.name}-w{bits}")
