"""Every hardware unit but those of products with weights over a grid of shapes, bits and lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.conformance import UnitConformance
from tests.graphs import Builder
from tests.hardware import laned, with_lanes
from toolchain.ir.graph import Graph
from toolchain.ir.ops.pools import GlobalMax
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import QInt, Value

KERNELS = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 3), (3, 1)]


def _window_graph(shape: tuple[int, int, int], lanes: int, parallel: bool, **facts) -> Graph:
    b = Builder(shape, 3, signed=True)
    x = b.window(b.input, pad_value=-2, **facts)
    taps = b.nodes[0].taps
    return laned(b, x, (lanes, lanes * taps if parallel else lanes))


class TestWindow(UnitConformance):
    """Kernels 1 to 5, strides 1 to 3, in the middle of frames that follow each other."""

    def graphs(self) -> Iterator[Graph]:
        for kernel in KERNELS:
            for stride in (1, 2, 3):
                pad = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
                for parallel in (False, True):
                    facts = {"kernel": kernel, "stride": (stride, stride), "pads": (*pad, *pad)}
                    yield _window_graph((7, 6, 4), 2, parallel, **facts)


class TestWindowEdges(UnitConformance):
    """Asymmetric pads and strides, dilation, kernels as large as the map, single rows and columns, all lanes."""

    def graphs(self) -> Iterator[Graph]:
        for parallel in (False, True):
            for shape, kernel, stride, pads, dilation in (
                ((8, 7, 4), (3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
                ((8, 7, 4), (3, 3), (1, 1), (2, 0, 1, 2), (1, 1)),
                ((8, 7, 4), (3, 2), (2, 1), (1, 1, 0, 0), (1, 1)),
                ((9, 8, 4), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
                ((9, 8, 4), (2, 3), (2, 3), (1, 0, 0, 3), (2, 2)),
                ((4, 4, 4), (4, 4), (1, 1), (0, 0, 0, 0), (1, 1)),
                ((4, 5, 4), (3, 3), (1, 1), (2, 2, 2, 2), (1, 1)),  # more output rows than input rows
                ((1, 1, 4), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
                ((1, 6, 4), (1, 3), (1, 1), (0, 1, 0, 1), (1, 1)),
                ((6, 1, 4), (3, 1), (2, 1), (1, 0, 1, 0), (1, 1)),
                ((10, 10, 4), (2, 2), (3, 3), (0, 0, 0, 0), (1, 1)),  # rows that no window covers
                ((11, 11, 4), (1, 1), (4, 4), (0, 0, 0, 0), (1, 1)),
            ):
                for lanes in (1, 4):
                    facts = {"kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation}
                    yield _window_graph(shape, lanes, parallel, **facts)


class TestPool(UnitConformance):
    """Maximum and sum, signed and unsigned, one tap or all taps a cycle."""

    def graphs(self) -> Iterator[Graph]:
        for kind in ("max", "sum"):
            for bits, signed in ((1, False), (4, True), (8, False)):
                for lanes, all_taps in ((1, False), (4, False), (2, True)):
                    b = Builder((6, 5, 4), bits, signed=signed)
                    x = b.pool(b.window(b.input, (2, 3), stride=(2, 2), pads=(0, 0, 0, 0)), 6, kind)
                    window = (lanes, 6 * lanes if all_taps else lanes)
                    yield laned(b, x, window, (window[1], lanes))


class TestChannelwise(UnitConformance):
    """Global sum and maximum, addition, argmax, copies and changes of word width."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed, lanes in ((1, False, 1), (4, True, 3), (8, False, 12), (12, True, 4)):
            b = Builder((3, 4, 12), bits, signed=signed)
            yield laned(b, b.global_sum(b.input), (lanes, lanes))
            b = Builder((3, 4, 12), bits, signed=signed)
            yield laned(b, b.append(GlobalMax, (b.input,), (1, 1, 12)), (lanes, lanes))
            for last in (False, True):
                b = Builder((1, 1, 12), min(bits, 3), signed=signed)  # few bits: most frames have a tie
                yield laned(b, b.argmax(b.input, last=last), (lanes, 1))
            for multipliers in ((1, 1), (3, -5)):
                b = Builder((3, 4, 12), bits, signed=signed)
                right = b.threshold(b.input, 3)
                yield laned(b, b.add(b.input, right, multipliers), (lanes, lanes), (lanes, lanes))
            # a table for one operand or both, common zeros, powers of two, signs, and factors of a narrow operand
            scales = np.array([24, -40, 8, 1000, 0, -8, 16, 32, 56, -72, 88, 96])
            factors = (scales, 1), (-3, scales + 1), (scales[::-1], 1 << (scales % 5)), (scales // 8, scales)
            for i, multipliers in enumerate(factors):
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.add(b.input, b.threshold(b.input, 6), multipliers)
                yield laned(b, x, (lanes, lanes), (lanes, lanes, i % 2))
        for lanes_in, lanes_out in ((1, 12), (12, 1), (2, 6), (6, 2), (4, 4)):
            yield laned(*_routed(WidthConvert, 1), (lanes_in, lanes_out))
        for copies, lanes in ((1, 2), (2, 1), (3, 6)):
            yield laned(*_routed(Fork, copies), (lanes, lanes))


class TestMultiply(UnitConformance):
    """Two maps, or a map and one position, that a delay line keeps; types, lanes, products in LUTs and on slices."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed, lanes in ((1, False, 1), (4, True, 3), (8, False, 12), (12, True, 4)):
            for products in (0, 1):
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.multiply(b.input, b.threshold(b.input, 3))
                yield laned(b, x, (lanes, lanes), (lanes, lanes, products))
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.multiply(b.input, b.append(GlobalMax, (b.input,), (1, 1, 12)))
                yield laned(b, x, (lanes, lanes), (lanes, lanes, products))


class TestLookup(UnitConformance):
    """Tables for all channels or one each, of inputs with and without sign, in LUTs and in block RAM."""

    def graphs(self) -> Iterator[Graph]:
        every = (1, 2, 6)
        for bits, out_bits, signed, several in (
            (1, 3, False, every),
            (4, 8, True, every),
            (8, 8, False, every),
            (11, 5, True, (2,)),
        ):
            for lanes in several:
                for per_channel in (False, True):
                    b = Builder((5, 11, 6), bits, signed=signed)
                    yield laned(b, b.lookup(b.input, out_bits, signed=signed, per_channel=per_channel), (lanes, lanes))


class TestRearranged(UnitConformance):
    """Channels joined and picked, positions repeated and made from channels; types, lanes, single rows and columns."""

    def graphs(self) -> Iterator[Graph]:
        for lanes in (1, 2, 4):
            b = Builder((3, 2, 8), 5, signed=True)
            parts = [b.input, b.threshold(b.input, 3), b.slice(b.input, 4, 4)]
            yield laned(b, b.concat(*parts), (lanes, lanes), (lanes, lanes), (lanes, lanes))
            b = Builder((2, 3, 12), 7)
            yield laned(b, b.slice(b.input, 4, 8), (lanes, lanes))
        for shape, factors, lanes in (
            ((3, 2, 4), (2, 2), 1),
            ((2, 20, 4), (3, 1), 4),  # long lines
            ((1, 5, 4), (1, 2), 2),
            ((4, 1, 4), (2, 3), 4),
            ((1, 1, 4), (1, 1), 4),
        ):
            b = Builder(shape, 3, signed=True)
            yield laned(b, b.upsample(b.input, factors), (lanes, lanes))
        for shape, block, lanes in (
            ((3, 2, 24), (2, 2), 2),
            ((1, 1, 18), (3, 3), 1),
            ((2, 17, 18), (3, 3), 2),
            ((2, 3, 4), (2, 2), 1),
            ((1, 5, 12), (1, 3), 2),  # signals
            ((3, 2, 12), (3, 2), 2),
        ):
            for first in (False, True):
                b = Builder(shape, 6)
                x = b.depth_to_space(b.input, block, channels_first=first)
                yield laned(b, x, (lanes * block[0] * block[1] if first else lanes, lanes))


class TestPicked(UnitConformance):
    """Rows and columns cut off, one of several taken, blocks of positions and channels put into another order."""

    def graphs(self) -> Iterator[Graph]:
        for shape, start, size, steps, lanes in (
            ((5, 6, 4), (1, 2), (3, 3), (1, 1), 2),
            ((5, 6, 4), (0, 0), (5, 6), (1, 1), 4),
            ((5, 7, 4), (1, 0), (2, 3), (3, 2), 1),
            ((6, 4, 2), (0, 1), (3, 2), (2, 2), 2),
            ((1, 9, 2), (0, 2), (1, 3), (1, 3), 1),
            ((4, 1, 2), (3, 0), (1, 1), (5, 5), 2),
            ((4, 4, 3), (2, 3), (1, 1), (1, 1), 3),
        ):
            b = Builder(shape, 5, signed=True)
            yield laned(b, b.crop(b.input, start, size, steps), (lanes, lanes))
        for shape, factors, edges, lanes in (
            ((4, 3, 4), (1, 1), (1, 1, 1, 1), 2),
            ((1, 1, 2), (1, 1), (2, 0, 1, 3), 1),
            ((3, 2, 2), (2, 1), (0, 1, 2, 0), 2),
            ((2, 9, 1), (1, 3), (1, 0, 0, 2), 1),
        ):
            b = Builder(shape, 4)
            yield laned(b, b.upsample(b.input, factors, edges), (lanes, lanes))
        for shape, block in (((6, 4, 3), (2, 2)), ((1, 9, 2), (1, 3)), ((5, 7, 2), (2, 3)), ((2, 2, 4), (1, 1))):
            for lanes in {1, block[0] * block[1]}:
                b = Builder(shape, 7)
                yield laned(b, b.space_to_depth(b.input, block), (shape[2], lanes * shape[2]))
        b = Builder((2, 6, 4), 5)  # rows under another name
        x = b.crop(b.reshape(b.input, (3, 4, 4)), (1, 1), (2, 2))
        yield laned(b, x, (2, 2), (2, 2))
        for order in ((0,), (1, 0), (0, 3, 1, 4, 2, 5)):
            b = Builder((2, 3, len(order)), 4, signed=True)
            yield laned(b, b.permute(b.input, order), (len(order), len(order)))


class TestMatMul(UnitConformance):
    """Rows and columns, heads, types, folding, products in LUTs and on slices, single positions and terms."""

    def graphs(self) -> Iterator[Graph]:
        for heads, bits, signed, lanes in (
            (1, 4, True, (2, 5, 1)),
            (2, 8, False, (3, 1, 1)),
            (2, 2, True, (6, 5, 0)),
            (4, 1, False, (1, 5, 0)),
        ):
            b = Builder((1, 7, 12), bits, signed=signed)
            right = b.crop(b.threshold(b.input, 3), (0, 1), (1, 5))
            yield laned(b, b.matmul(b.input, right, heads), *[(lanes[0],) * 2] * 2, lanes)
        for heads, terms, lanes in ((1, 6, (3, 6, 1)), (2, 6, (2, 2, 0)), (3, 4, (1, 2, 1)), (1, 1, (1, 12))):
            b = Builder((1, 6, 12), 4, signed=True)
            left = b.crop(b.slice(b.mulshift(b.input, 5, signed=True), 0, heads * terms), (0, 0), (1, 5))
            right = b.crop(b.input, (0, 0), (1, terms))
            graph = b.graph(b.matmul(left, right, heads, columns=True))
            yield with_lanes(graph, {n.name: lanes if n is b.nodes[-1] else (lanes[0],) * 2 for n in b.nodes})


class TestSoftmax(UnitConformance):
    """Widths, signs, heads, lanes; scales so small that all shares are alike, so large that one has all."""

    def graphs(self) -> Iterator[Graph]:
        for shape, bits, signed, scale, heads, lanes in (
            ((2, 3, 12), 8, True, 0.05, 2, 3),
            ((1, 7, 6), 4, False, 0.5, 1, 1),
            ((1, 6, 16), 1, False, 1e-4, 4, 4),
            ((1, 5, 8), 9, True, 9.0, 8, 1),
            ((1, 4, 64), 8, True, 0.01, 1, 16),
        ):
            b = Builder(shape, bits, signed=signed)
            yield laned(b, b.softmax(b.input, scale, heads), (lanes, lanes))

    def inputs(self, graph: Graph, seed: int) -> np.ndarray:
        kind, frames = graph.input.qint, super().inputs(graph, seed)
        frames[0], frames[1, ..., 0], frames[1, ..., 1:] = kind.max, kind.max, kind.min
        return frames


class TestNorm(UnitConformance):
    """Widths, signs, epsilons, lanes, with the mean and without; positions whose channels are all alike, all 0, all
    alike but one, and at both ends."""

    def graphs(self) -> Iterator[Graph]:
        for shape, bits, signed, epsilon, lanes, centred in (
            ((2, 4, 8), 8, True, 0.3, 2, True),
            ((1, 24, 2), 4, False, 0.0, 1, True),
            ((1, 6, 12), 1, False, 1e-4, 12, True),
            ((3, 5, 6), 12, True, 700.0, 3, True),
            ((1, 9, 64), 8, True, 1e-9, 8, True),
            ((2, 4, 8), 8, True, 0.3, 2, False),
            ((1, 24, 2), 4, False, 0.0, 1, False),
            ((1, 6, 12), 1, True, 1e-4, 12, False),
            ((3, 5, 6), 12, True, 700.0, 3, False),
        ):
            b = Builder(shape, bits, signed=signed)
            yield laned(b, b.norm(b.input, epsilon, centred=centred), (lanes, lanes))

    def inputs(self, graph: Graph, seed: int) -> np.ndarray:
        kind, frames = graph.input.qint, super().inputs(graph, seed)
        frames[2] = 0
        frames[0], frames[1, :, 1::2], frames[1, :, ::2] = kind.max, kind.min, np.clip(0, kind.min, kind.max)
        frames[1, ..., 0], frames[2, 0, 0, ::2], frames[2, 0, 0, 1::2] = kind.max, kind.min, kind.max
        return frames


class TestTranspose(UnitConformance):
    """Words of channels that become words of positions, more or fewer of either, single ones and long frames."""

    def graphs(self) -> Iterator[Graph]:
        for shape, *lanes in (
            ((1, 6, 4), (1, 1), (4, 1), (1, 6), (2, 3), (4, 6)),
            ((3, 4, 2), (2, 4), (1, 12)),
            ((1, 1, 4), (2, 1)),
            ((1, 5, 1), (1, 5)),
            ((2, 64, 8), (4, 2)),
        ):
            for pair in lanes:
                b = Builder(shape, 5, signed=True)
                yield laned(b, b.transpose(b.input), pair)


def _routed(op: type, copies: int) -> tuple[Builder, Value]:
    b = Builder((3, 2, 12), 5, signed=True)
    outputs = tuple(Value(f"copy{i}", b.input.shape, b.input.qint) for i in range(copies))
    b.nodes.append(op(name="route", inputs=("x",), outputs=outputs))
    return b, outputs[0]


class TestThreshold(UnitConformance):
    """Bits 1 to 8, a table for all or one a channel, falling and bipolar steps, thresholds out of reach."""

    def graphs(self) -> Iterator[Graph]:
        for bits in (1, 2, 4, 8):
            for lanes in (1, 2, 6):
                for per_channel in (False, True):
                    b = Builder((2, 3, 6), 9, signed=True, seed=bits)
                    yield laned(b, b.threshold(b.input, bits, per_channel=per_channel), (lanes, lanes))
        for lanes in (1, 3):
            yield self._stepped(lanes)
            yield self._turning(lanes, each=True)
            yield self._turning(lanes, each=False)

    def _turning(self, lanes: int, *, each: bool) -> Graph:
        rng, rows = np.random.default_rng(lanes), 6 if each else 1
        node = Threshold(
            name="turns",
            inputs=("x",),
            outputs=(Value("y", (2, 8, 6), QInt(6, True)),),
            thresholds=np.sort(rng.integers(-260, 261, (rows, 9)), axis=1),
            start=rng.integers(-5, 6, rows),
            step=rng.choice([-2, -1, 1, 2], (rows, 9)),
        )
        b = Builder((2, 8, 6), 9, signed=True)
        b.nodes.append(node)
        return laned(b, node.output, (lanes, lanes))

    def _stepped(self, lanes: int) -> Graph:
        thresholds = np.array([[-900, -8, 3], [0, 0, 1], [5, 255, 256], [-256, -255, 900], [1, 2, 3], [-3, -2, -1]])
        node = Threshold(
            name="steps",
            inputs=("x",),
            outputs=(Value("y", (2, 8, 6), QInt(5, True)),),
            thresholds=thresholds,
            start=np.array([-1, 3, -3, 5, 0, 7]),
            step=np.array([2, -2, 2, -1, 1, -3]),
        )
        b = Builder((2, 8, 6), 9, signed=True)
        b.nodes.append(node)
        return laned(b, node.output, (lanes, lanes))


class TestMulShift(UnitConformance):
    """Bits 1 to 8, signed and unsigned, factors for all or one a channel, halves to even, no shift at all."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed in ((1, False), (4, True), (8, False), (8, True)):
            for lanes in (1, 2, 6):
                for per_channel in (False, True):
                    b = Builder((4, 4, 6), 10, signed=True, seed=bits)
                    yield laned(b, b.mulshift(b.input, bits, signed=signed, per_channel=per_channel), (lanes, lanes))
        b = Builder((4, 4, 6), 20, signed=True)  # 32-bit factors, a 64-bit product
        yield laned(b, b.mulshift(b.input, 20, signed=True), (3, 3))
        for shift, mul in ((0, -3), (1, 1), (3, -5), (40, 1 << 33)):
            b = Builder((4, 4, 6), 10, signed=True)
            x = b.mulshift(b.input, 8, signed=True)
            factors = np.array([mul])
            b.nodes[0] = replace(b.nodes[0], shift=shift, mul=factors, add=np.array([(1 << shift) // 2]))
            yield laned(b, x, (2, 2))
        b = Builder((1, 1, 2), 4)  # numerators below half a unit: sums of as many bits as are shifted out
        none = {"mul": np.array([3]), "add": np.array([1]), "shift": 8, "low": 0, "high": 3}
        yield laned(b, b.append(MulShift, (b.input,), b.input.shape, **none), (1, 1))
