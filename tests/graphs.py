"""Small INTEGER graphs, seeded: what the tests of passes, explorer, generator and simulator run on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import (
    Concat,
    Crop,
    DepthToSpace,
    Permute,
    Reshape,
    Slice,
    SpaceToDepth,
    Transpose,
    Upsample,
)
from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.norm import ROOT_FRACTION, Norm, deviation, least_reciprocal
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ops.softmax import Softmax, least_fraction
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Encoding, InputType, QInt, Value


class Builder:
    """Appends nodes to a graph; every method takes and returns the value it reads and defines."""

    def __init__(self, shape: tuple[int, int, int], bits: int = 8, *, signed: bool = False, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.input = Value("x", shape, QInt(bits, signed))
        self.nodes: list[Node] = []

    def graph(self, output: Value, name: str = "net", heads: tuple[Value, ...] = ()) -> Graph:
        """The graph that puts ``output`` out, and the other ``heads`` as head0, head1, ..."""
        encoding = Encoding(InputType(self.input.qint.min, self.input.qint.max))
        ends = (Output("out", output.name), *(Output(f"head{i}", head.name) for i, head in enumerate(heads)))
        return Graph(name=name, input=self.input, nodes=tuple(self.nodes), outputs=ends, encoding=encoding)

    def append(self, op: type[Node], inputs: tuple[Value, ...], shape: tuple[int, int, int], /, **facts: Any) -> Value:
        """A node of any operation."""
        name = f"{op.__name__.lower()}{len(self.nodes)}"
        fixed: dict[str, Any] = {"name": name, "inputs": tuple(v.name for v in inputs), "origin": (f"onnx_{name}",)}
        draft = op(**fixed, outputs=(Value(f"{name}_out", shape, QInt(62, True)),), **facts)
        self.nodes.append(draft.ranged(*inputs))
        return self.nodes[-1].output

    def window(
        self,
        x: Value,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (1, 1, 1, 1),
        dilation: tuple[int, int] = (1, 1),
        pad_value: int = 0,
    ) -> Value:
        """A sliding window."""
        height, width, channels = x.shape
        rows, columns = (
            (size + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
            for axis, size in enumerate((height, width))
        )
        shape = (rows, columns, kernel[0] * kernel[1] * channels)
        facts: dict[str, Any] = {
            "kernel": kernel,
            "stride": stride,
            "pads": pads,
            "dilation": dilation,
            "pad_value": pad_value,
        }
        return self.append(Window, (x,), shape, **facts)

    def matvec(self, x: Value, outputs: int, bits: int = 4) -> Value:
        """A matrix-vector product with random weights of ``bits`` bits."""
        kind = QInt(bits, True)
        weight = self.rng.integers(kind.min, kind.max + 1, (outputs, x.shape[2]), dtype=np.int64)
        return self.append(MatVec, (x,), (*x.shape[:2], outputs), weight=weight, weight_type=kind)

    def grouped(self, x: Value, outputs: int, groups: int, bits: int = 4, *, taps: int = 1) -> Value:
        """A matrix-vector product a group with random weights of ``bits`` bits, behind a window of ``taps`` taps."""
        kind = QInt(bits, True)
        size = (outputs, taps, x.shape[2] // taps // groups)
        weight = self.rng.integers(kind.min, kind.max + 1, size, dtype=np.int64)
        shape = (*x.shape[:2], outputs)
        return self.append(GroupedMatVec, (x,), shape, weight=weight, weight_type=kind, groups=groups)

    def row_conv(self, x: Value, outputs: int, bits: int = 4, *, taps: int = 3, pad: int = 1) -> Value:
        """A convolution along the rows with random weights of ``bits`` bits, the least one in the middle."""
        kind = QInt(bits, True)
        weight = self.rng.integers(kind.min, kind.max + 1, (outputs, taps, x.shape[2]), dtype=np.int64)
        weight[0] = kind.min
        shape = (x.shape[0], x.shape[1] + 2 * pad - taps + 1, outputs)
        return self.append(RowConv, (x,), shape, weight=weight, weight_type=kind, pad=pad)

    def depthwise(self, x: Value, taps: int, bits: int = 4) -> Value:
        """A filter a channel with random weights of ``bits`` bits, behind a window of ``taps`` taps."""
        kind = QInt(bits, True)
        channels = x.shape[2] // taps
        weight = self.rng.integers(kind.min, kind.max + 1, (taps, channels), dtype=np.int64)
        return self.append(Depthwise, (x,), (*x.shape[:2], channels), weight=weight, weight_type=kind)

    def pool(self, x: Value, taps: int, kind: str = "max") -> Value:
        """A pool behind a window of ``taps`` taps."""
        return self.append(Pool, (x,), (*x.shape[:2], x.shape[2] // taps), kind=kind, taps=taps)

    def global_sum(self, x: Value) -> Value:
        """The sum over all positions."""
        return self.append(GlobalSum, (x,), (1, 1, x.shape[2]))

    def threshold(self, x: Value, bits: int = 4, *, per_channel: bool = True) -> Value:
        """A ``bits``-bit unsigned quantizer with random thresholds over the middle of the input's range."""
        rows, levels = (x.shape[2] if per_channel else 1), (1 << bits) - 1
        reach = max(x.qint.max // 4, levels)
        thresholds = np.sort(self.rng.integers(-reach, reach + 1, (rows, levels), dtype=np.int64), axis=1)
        start, step = np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=np.int64)
        return self.append(Threshold, (x,), x.shape, thresholds=thresholds, start=start, step=step)

    def mulshift(self, x: Value, bits: int = 4, *, signed: bool = False, per_channel: bool = True) -> Value:
        """A ``bits``-bit multiply-add-shift quantizer that spreads a quarter of the input's range."""
        kind, rows, shift = QInt(bits, signed), (x.shape[2] if per_channel else 1), 16
        unit = max(1, (kind.max << shift) * 4 // max(x.qint.max, 1))
        mul = self.rng.integers(max(1, unit // 2), unit + 1, rows, dtype=np.int64)
        add = self.rng.integers(-(1 << shift), 1 << shift, rows, dtype=np.int64)
        return self.append(MulShift, (x,), x.shape, mul=mul, add=add, shift=shift, low=kind.min, high=kind.max)

    def again(self, x: Value) -> Value:
        """What the node that makes ``x`` makes, by another node of the same numbers."""
        made = next(node for node in self.nodes if node.output is x)
        name = f"again{len(self.nodes)}"
        self.nodes.append(replace(made, name=name, outputs=(replace(x, name=f"{name}_out"),)))
        return self.nodes[-1].output

    def unchanged(self, x: Value) -> Value:
        """The codes of ``x`` once more, as a quantizer of their own scale gives them."""
        mul, add = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        return self.append(MulShift, (x,), x.shape, mul=mul, add=add, shift=0, low=x.qint.min, high=x.qint.max)

    def add(self, a: Value, b: Value, multipliers: tuple[Any, Any] = (1, 1)) -> Value:
        """The sum of two values, each times a factor or one a channel."""
        arrays = tuple(np.array(m, dtype=np.int64).reshape(-1) for m in multipliers)
        return self.append(Add, (a, b), a.shape, multipliers=arrays)

    def multiply(self, a: Value, b: Value) -> Value:
        """The product of two values, the second one a map or one position."""
        once = b.shape != a.shape
        return self.append(Multiply, (a, b), a.shape, factor=b.qint, once=once)

    def lookup(self, x: Value, bits: int = 4, *, signed: bool = False, per_channel: bool = True) -> Value:
        """Random entries of ``bits`` bits for every input."""
        kind, rows = QInt(bits, signed), (x.shape[2] if per_channel else 1)
        table = self.rng.integers(kind.min, kind.max + 1, (rows, x.qint.max - x.qint.min + 1), dtype=np.int64)
        return self.append(Lookup, (x,), x.shape, table=table, low=x.qint.min)

    def concat(self, *values: Value) -> Value:
        """The channels of several values."""
        channels = tuple(x.shape[2] for x in values)
        return self.append(Concat, values, (*values[0].shape[:2], sum(channels)), channels=channels)

    def slice(self, x: Value, start: int, size: int) -> Value:
        """Some channels."""
        return self.append(Slice, (x,), (*x.shape[:2], size), start=start)

    def upsample(
        self, x: Value, factors: tuple[int, int] = (2, 2), edges: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> Value:
        """Every position several times."""
        (height, width, channels), (top, left, bottom, right) = x.shape, edges
        shape = (height * factors[0] + top + bottom, width * factors[1] + left + right, channels)
        return self.append(Upsample, (x,), shape, factors=factors, edges=edges)

    def depth_to_space(self, x: Value, block: tuple[int, int] = (2, 2), *, channels_first: bool = False) -> Value:
        """Channels as positions."""
        height, width, channels = x.shape
        shape = (height * block[0], width * block[1], channels // (block[0] * block[1]))
        return self.append(DepthToSpace, (x,), shape, block=block, channels_first=channels_first)

    def space_to_depth(self, x: Value, block: tuple[int, int] = (2, 2)) -> Value:
        """Positions as channels."""
        height, width, channels = x.shape
        shape = (height // block[0], width // block[1], channels * block[0] * block[1])
        return self.append(SpaceToDepth, (x,), shape, block=block)

    def crop(self, x: Value, start: tuple[int, int], size: tuple[int, int], steps: tuple[int, int] = (1, 1)) -> Value:
        """Some rows and columns."""
        return self.append(Crop, (x,), (*size, x.shape[2]), start=start, steps=steps)

    def permute(self, x: Value, order: tuple[int, ...]) -> Value:
        """The channels in another order."""
        return self.append(Permute, (x,), x.shape, order=order)

    def transpose(self, x: Value) -> Value:
        """Positions and channels exchanged."""
        return self.append(Transpose, (x,), (1, x.shape[2], x.shape[0] * x.shape[1]))

    def matmul(self, a: Value, b: Value, heads: int = 1, *, columns: bool = False) -> Value:
        """Matrix products by head."""
        sums = b.shape[2] // heads if columns else b.shape[0] * b.shape[1]
        shape = (1, a.shape[0] * a.shape[1], heads * sums)
        return self.append(MatMul, (a, b), shape, factor=b.qint, heads=heads, columns=columns)

    def softmax(self, x: Value, scale: float = 0.1, heads: int = 1) -> Value:
        """The softmax of each head, for integers that are worth ``scale``."""
        fraction = least_fraction(x.shape[2] // heads)
        differences = np.arange(x.qint.max - x.qint.min + 1)
        table = np.rint(np.exp(-scale * differences) * (1 << fraction)).astype(np.int64)
        return self.append(Softmax, (x,), x.shape, table=table, fraction=fraction, heads=heads)

    def norm(self, x: Value, epsilon: float = 0.5, *, centred: bool = True) -> Value:
        """Each position's channels, normalized; ``epsilon`` in squares of the input's integers."""
        apart = deviation(x.shape[2], (x.qint.min, x.qint.max), centred=centred)
        facts = {
            "epsilon": round(x.shape[2] ** 2 * epsilon * (1 << 2 * ROOT_FRACTION)),
            "reciprocal": least_reciprocal(apart),
            "centred": centred,
        }
        return self.append(Norm, (x,), x.shape, **facts)

    def argmax(self, x: Value, *, last: bool = False) -> Value:
        """The index of the largest channel."""
        return self.append(ArgMax, (x,), (1, 1, 1), last=last)

    def reshape(self, x: Value, shape: tuple[int, int, int] | None = None) -> Value:
        """All elements as channels, or other rows and columns."""
        return self.append(Reshape, (x,), shape or (1, 1, x.size))

    def conv(self, x: Value, outputs: int, *, kernel: int = 3, stride: int = 1, bits: int = 4) -> Value:
        """A padded convolution; a kernel of 1 without stride needs no window."""
        if kernel > 1 or stride > 1:
            pad = (kernel - 1) // 2
            x = self.window(x, (kernel, kernel), stride=(stride, stride), pads=(pad, pad, pad, pad))
        return self.matvec(x, outputs, bits)


def mlp(sizes: tuple[int, ...] = (16, 12, 8, 4), *, bits: int = 2, seed: int = 0) -> Graph:
    """Dense layers with thresholds between them on a flat input of ``sizes[0]`` bits-bit codes, and an argmax."""
    b = Builder((1, 1, sizes[0]), bits, seed=seed)
    x = b.input
    for outputs in sizes[1:-1]:
        x = b.threshold(b.matvec(x, outputs, bits), bits)
    return b.graph(b.argmax(b.matvec(x, sizes[-1], bits)), "mlp")


def conv_net(*, size: int = 8, channels: int = 4, bits: int = 4, seed: int = 0) -> Graph:
    """Convolution, strided depthwise, 1x1, max pool, flatten, dense: every way a window is used."""
    b = Builder((size, size, 2), 8, seed=seed)
    x = b.threshold(b.conv(b.input, channels), bits)
    x = b.mulshift(b.depthwise(b.window(x, stride=(2, 2)), 9), bits)
    x = b.threshold(b.matvec(x, 2 * channels), bits, per_channel=False)
    x = b.pool(b.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    return b.graph(b.matvec(b.reshape(x), 5), "conv_net")


def residual_net(*, size: int = 8, channels: int = 4, bits: int = 4, blocks: int = 2, seed: int = 0) -> Graph:
    """Residual blocks, every second one with stride and a 1x1 convolution on its skip, then pool and classifier."""
    b = Builder((size, size, 3), 8, seed=seed)
    x = b.threshold(b.conv(b.input, channels), bits)
    for block in range(blocks):
        stride = 1 + block % 2
        channels *= stride
        main = b.threshold(b.conv(x, channels, stride=stride, bits=bits), bits)
        main = b.mulshift(b.conv(main, channels, bits=bits), bits + 1, signed=True)
        skip = x if stride == 1 else b.mulshift(b.conv(x, channels, kernel=1, stride=2, bits=bits), bits + 1)
        x = b.threshold(b.add(main, skip, (1, 2)), bits)
    return b.graph(b.matvec(b.global_sum(x), 10, 8), "residual_net")


def grouped_net(*, size: int = 8, groups: int = 4, width: int = 2, bits: int = 4, seed: int = 0) -> Graph:
    """A residual block of ResNeXt with stride: a grouped convolution between two of 1 x 1, then a grouped 1 x 1."""
    b = Builder((size, size, 3), 8, seed=seed)
    channels = groups * width
    x = b.threshold(b.conv(b.input, channels), bits)
    main = b.threshold(b.matvec(x, channels, bits), bits)
    main = b.mulshift(b.grouped(b.window(main, stride=(2, 2)), channels, groups, bits, taps=9), bits)
    main = b.mulshift(b.matvec(main, 2 * channels, bits), bits + 1, signed=True)
    skip = b.mulshift(b.conv(x, 2 * channels, kernel=1, stride=2, bits=bits), bits + 1, signed=True)
    x = b.threshold(b.add(main, skip), bits)
    x = b.threshold(b.grouped(x, channels, 2, bits), bits)
    return b.graph(b.matvec(b.global_sum(x), 5, 8), "grouped_net")


def unet(*, size: int = 8, channels: int = 4, bits: int = 4, seed: int = 0) -> Graph:
    """Down and up again in both ways, with the maps of each size joined; the parts of the last one are joined too."""
    b = Builder((size, size, 2), 8, seed=seed)
    top = b.threshold(b.conv(b.input, channels), bits)
    low = b.pool(b.window(top, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    low = b.threshold(b.conv(low, 4 * channels), bits)
    up = b.concat(b.upsample(low), top, b.depth_to_space(low, channels_first=True))
    x = b.threshold(b.conv(up, 2 * channels), bits)
    left, right = b.slice(x, 0, channels), b.slice(x, channels, channels)
    x = b.concat(right, b.matvec(left, channels))
    return b.graph(b.matvec(x, 3), "unet")


def gated_net(*, size: int = 6, channels: int = 6, bits: int = 4, seed: int = 0) -> Graph:
    """Squeeze and excite: a map times a table of its average, a channel a table; then two maps multiplied."""
    b = Builder((size, size, 2), 8, seed=seed)
    x = b.threshold(b.conv(b.input, channels), bits)
    gate = b.mulshift(b.matvec(b.mulshift(b.global_sum(x), bits), channels, bits), bits, signed=True)
    x = b.mulshift(b.multiply(x, b.lookup(gate, bits)), bits)
    x = b.mulshift(b.multiply(x, b.threshold(b.conv(x, channels), bits)), bits)
    return b.graph(b.matvec(x, 5), "gated_net")


def joined_rows(height: int, width: int, channels: int) -> Graph:
    """A map, and below it the one that is made of it."""
    b = Builder((height, width, channels), 4)
    above = b.threshold(b.conv(b.input, channels), 4)
    below = b.threshold(b.conv(above, channels), 4)
    joined = b.concat(b.reshape(above), b.reshape(below))
    return b.graph(b.conv(b.reshape(joined, (2 * height, width, channels)), 3), "rows")


def random_input(graph: Graph, images: int = 2, seed: int = 0) -> np.ndarray:
    """Random codes (images, H, W, C) over the whole range of the graph's input."""
    kind = graph.input.qint
    shape = (images, *graph.input.shape)
    return np.random.default_rng(seed).integers(kind.min, kind.max + 1, shape, dtype=np.int64)
