"""Every hardware unit over a grid of shapes, bits and lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.conformance import UnitConformance
from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.ir.graph import Graph
from toolchain.ir.ops.pools import GlobalMax
from toolchain.ir.ops.products import dot_bounds
from toolchain.ir.ops.requantizers import Threshold
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import QInt, Value

KERNELS = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 3), (3, 1)]


def _one(b: Builder, output: Value, *lanes: tuple[int, ...]) -> Graph:
    return with_lanes(b.graph(output), {node.name: pair for node, pair in zip(b.nodes, lanes, strict=True)})


def _window_graph(shape: tuple[int, int, int], lanes: int, parallel: bool, **facts) -> Graph:
    b = Builder(shape, 3, signed=True)
    x = b.window(b.input, pad_value=-2, **facts)
    taps = b.nodes[0].taps
    return _one(b, x, (lanes, lanes * taps if parallel else lanes))


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


class TestMatVec(UnitConformance):
    """Weights and activations of 1 to 8 bits, every kind of folding, behind windows and alone."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits in ((1, 1), (2, 2), (3, 8), (4, 4), (8, 3), (8, 8), (2, 16)):
            for lanes in ((1, 1), (4, 1), (1, 3), (6, 2), (12, 6)):
                b = Builder((3, 2, 12), act_bits, signed=act_bits % 2 == 0)
                yield _one(b, b.matvec(b.input, 6, weight_bits), lanes)
        for lanes in ((2, 2), (2, 18)):
            b = Builder((5, 5, 4), 4)
            yield _one(b, b.matvec(b.window(b.input), 4), lanes, (lanes[1], 2))
        b = Builder((3, 3, 4), 4)  # a map flattened behind a window whose order is not canonical
        yield _one(b, b.matvec(b.reshape(b.window(b.input)), 4), (2, 2), (2, 2), (2, 2))


class TestGroupedMatVec(UnitConformance):
    """Within a group in every kind of folding and several groups at once, behind windows of both kinds and alone."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits, groups, lanes in (
            (4, 4, 2, (1, 1)),
            (8, 8, 2, (6, 3)),
            (4, 4, 4, (6, 4, 0)),  # two of the four groups
            (3, 8, 4, (12, 8, 1)),  # all groups
            (4, 4, 3, (4, 4, 4)),  # packed within a group
            (4, 4, 3, (12, 12, 4)),  # packed within three
            (8, 3, 12, (1, 2)),  # two filters a channel
            (4, 4, 3, (12, 12, None, 1, True)),
        ):
            b = Builder((3, 2, 12), act_bits, signed=act_bits % 2 == 0)
            outputs = {2: 6, 3: 12, 4: 8, 12: 24}[groups]
            yield _one(b, b.grouped(b.input, outputs, groups, weight_bits), lanes)
        for channels, groups, outputs, lanes, pe, parallel in (
            (15, 3, 6, 1, 2, True),  # three groups of five channels
            (15, 3, 15, 5, 5, False),
            (15, 3, 15, 15, 15, True),
            (8, 4, 8, 2, 1, True),
            (8, 4, 8, 4, 4, False),  # two of the four groups
            (8, 4, 8, 4, 4, True),
            (6, 6, 12, 2, 4, True),  # two filters a channel
        ):
            b = Builder((5, 4, channels), 4)
            simd = lanes * 9 if parallel else lanes
            x = b.grouped(b.window(b.input, stride=(2, 1)), outputs, groups, taps=9)
            yield _one(b, x, (lanes, simd), (simd, pe))


class TestNarrowGroupedMatVec(UnitConformance):
    """Weights of -1 and +1 and bit planes by group."""

    def graphs(self) -> Iterator[Graph]:
        for act_bits, signed in ((1, False), (2, True), (8, True)):
            for lanes in ((5, 1), (20, 4)):
                b = Builder((3, 2, 40), act_bits, signed=signed)
                x = b.grouped(b.input, 8, 4, 2)
                signs = np.where(b.nodes[0].weight < 0, -1, 1)
                b.nodes[0] = replace(b.nodes[0], weight=signs, outputs=(replace(x, type=_sums(signs, b.input)),))
                yield _one(b, x, lanes)
        b = Builder((4, 4, 8), 1)
        yield _one(b, b.grouped(b.window(b.input), 8, 4, 2, taps=9), (4, 36), (36, 4))


class TestPackedMatVec(UnitConformance):
    """Products that share DSP slices, in every kind of folding."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits, products, simd, groups in (
            (8, 8, 2, 12, 1),
            (8, 8, 2, 3, 2),
            (4, 8, 3, 6, 2),
            (4, 4, 4, 1, 1),
            (4, 4, 4, 4, 2),
            (3, 3, 5, 12, 1),
            (3, 16, 2, 2, 1),
        ):
            b = Builder((3, 2, 12), act_bits, signed=groups == 2)
            yield _one(b, b.matvec(b.input, 2 * products, weight_bits), (simd, groups * products, products))


class TestNarrowMatVec(UnitConformance):
    """Weights of -1 and +1 on any input, and bit planes of inputs of one bit, in words short and long."""

    def graphs(self) -> Iterator[Graph]:
        for act_bits, signed in ((1, False), (2, True), (8, True)):
            for simd, pe in ((1, 2), (40, 3)):
                b = Builder((3, 2, 40), act_bits, signed=signed)
                x = b.matvec(b.input, 6, 2)
                signs = np.where(b.nodes[0].weight < 0, -1, 1)
                b.nodes[0] = replace(b.nodes[0], weight=signs, outputs=(replace(x, type=_sums(signs, b.input)),))
                yield _one(b, x, (simd, pe))
        for weight_bits, signed, simd in ((2, False, 2), (2, True, 7), (1, False, 112)):
            b = Builder((2, 2, 112), 1, signed=signed)
            yield _one(b, b.matvec(b.input, 4, weight_bits), (simd, 1))


def _sums(weight: np.ndarray, x: Value) -> QInt:
    low, high = dot_bounds(weight.reshape(len(weight), -1), min(x.qint.min, 0), x.qint.max)
    return QInt.holding(int(low.min()), int(high.max()))


class TestConstantMatVec(UnitConformance):
    """Weights in the logic: dense, sparse, of signs, wide, with outputs and inputs that nothing reaches."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits, signed, kept in (
            (4, 4, False, 1.0),
            (8, 8, True, 0.4),
            (2, 1, False, 0.7),
            (2, 2, True, 0.2),
            (16, 4, True, 0.5),
        ):
            b = Builder((3, 2, 12), act_bits, signed=signed)
            x = b.matvec(b.input, 6, weight_bits)
            weight = b.nodes[0].weight * (b.rng.random((6, 12)) < kept)
            weight[1], weight[2], weight[3, :-1] = 0, 0, 0
            weight[2, 5], weight[4] = -2, 2 * weight[5]
            b.nodes[0] = replace(b.nodes[0], weight=weight, outputs=(replace(x, type=_sums(weight, b.input)),))
            yield with_lanes(b.graph(x), {"matvec0": (12, 6, None, 1, True)})
        b = Builder((5, 5, 4), 4)
        x = b.matvec(b.window(b.input), 4)
        yield with_lanes(b.graph(x), {"window0": (4, 36), "matvec1": (36, 4, None, 1, True)})


class TestRowConv(UnitConformance):
    """Taps times columns on a DSP slice, padded or not, in every kind of folding, behind windows and alone."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits, signed, taps, columns, pad in (
            (4, 4, False, 3, 2, 1),
            (4, 4, False, 3, 2, 0),
            (4, 4, True, 3, 2, 1),
            (2, 2, False, 3, 3, 1),
            (3, 5, True, 3, 2, 0),
            (4, 5, False, 3, 2, 1),
            (1, 1, False, 3, 4, 1),
            (2, 2, False, 5, 2, 2),
            (2, 1, False, 5, 4, 0),
            (8, 8, False, 1, 2, 0),
            (4, 4, True, 1, 3, 0),
        ):
            b = Builder((3, 4 * columns, 18), act_bits, signed=signed)
            x = b.row_conv(b.input, 4 * columns, weight_bits, taps=taps, pad=pad)
            simd, pe = ((6, 2), (9, 1))[weight_bits % 2 if pad else 1]
            yield _one(b, x, (simd, pe * columns, taps * columns, columns))
        for simd, pe in ((1, 1), (18, 4)):
            b = Builder((3, 8, 18), 4)
            yield _one(b, b.row_conv(b.input, 8), (simd, 2 * pe, 6, 2))
        for height, width, pad in ((1, 2, 1), (2, 4, 0)):
            b = Builder((height, width, 6), 4)
            yield _one(b, b.row_conv(b.input, 8, pad=pad), (3, 4, 6, 2))
        b = Builder((5, 6, 4), 4)
        x = b.row_conv(b.window(b.input, (3, 1), pads=(1, 0, 1, 0)), 4)
        yield _one(b, x, (2, 6), (6, 2, 6, 2))


class TestRowConvCorners(UnitConformance):
    """Weights and inputs at the ends of their types: fields at theirs, in chains as long as they hold."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits, signed, taps, columns in (
            (4, 4, False, 3, 2),
            (4, 4, True, 3, 2),
            (2, 6, False, 3, 2),
            (2, 1, False, 3, 4),
            (8, 8, False, 1, 2),
            (8, 8, True, 1, 2),
        ):
            b = Builder((2, 12, 16), act_bits, signed=signed)
            x = b.row_conv(b.input, 2 * columns, weight_bits, taps=taps, pad=taps // 2)
            kind = QInt(weight_bits, True)
            extreme = b.rng.choice([kind.min, kind.max], b.nodes[0].weight.shape)
            extreme[0], extreme[-1] = kind.min, kind.max
            b.nodes[0] = replace(b.nodes[0], weight=extreme, outputs=(replace(x, type=_sums(extreme, b.input)),))
            yield _one(b, x, (16, columns, taps * columns, columns))

    def inputs(self, graph: Graph, seed: int) -> np.ndarray:
        kind, rng = graph.input.qint, np.random.default_rng(seed)
        frames = rng.choice([kind.min, kind.max], (3, *graph.input.shape))
        frames[0], frames[1] = kind.max, kind.min
        return frames


class TestMultiplierChoice(UnitConformance):
    """Products in LUTs or on a DSP slice of their own, against the widths' default."""

    def graphs(self) -> Iterator[Graph]:
        b = Builder((3, 2, 12), 8)
        yield _one(b, b.matvec(b.input, 6, 8), (4, 3, 0))
        b = Builder((5, 4, 6), 4)
        yield _one(b, b.depthwise(b.window(b.input), 9, 4), (2, 2), (2, 2, 1))
        b = Builder((4, 4, 6), 10, signed=True)
        yield _one(b, b.mulshift(b.input, 4), (2, 2, 0))


class TestDepthwise(UnitConformance):
    """One tap or all taps a cycle."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits in ((2, 2), (4, 4), (8, 8)):
            for lanes, all_taps in ((1, False), (2, False), (6, False), (1, True), (3, True)):
                b = Builder((5, 4, 6), act_bits)
                x = b.depthwise(b.window(b.input), 9, weight_bits)
                window = (lanes, 9 * lanes if all_taps else lanes)
                yield _one(b, x, window, (window[1], lanes))


class TestPool(UnitConformance):
    """Maximum and sum, signed and unsigned, one tap or all taps a cycle."""

    def graphs(self) -> Iterator[Graph]:
        for kind in ("max", "sum"):
            for bits, signed in ((1, False), (4, True), (8, False)):
                for lanes, all_taps in ((1, False), (4, False), (2, True)):
                    b = Builder((6, 5, 4), bits, signed=signed)
                    x = b.pool(b.window(b.input, (2, 3), stride=(2, 2), pads=(0, 0, 0, 0)), 6, kind)
                    window = (lanes, 6 * lanes if all_taps else lanes)
                    yield _one(b, x, window, (window[1], lanes))


class TestChannelwise(UnitConformance):
    """Global sum and maximum, addition, argmax, copies and changes of word width."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed, lanes in ((1, False, 1), (4, True, 3), (8, False, 12), (12, True, 4)):
            b = Builder((3, 4, 12), bits, signed=signed)
            yield _one(b, b.global_sum(b.input), (lanes, lanes))
            b = Builder((3, 4, 12), bits, signed=signed)
            yield _one(b, b.append(GlobalMax, (b.input,), (1, 1, 12)), (lanes, lanes))
            for last in (False, True):
                b = Builder((1, 1, 12), min(bits, 3), signed=signed)  # few bits: most frames have a tie
                yield _one(b, b.argmax(b.input, last=last), (lanes, 1))
            for multipliers in ((1, 1), (3, -5)):
                b = Builder((3, 4, 12), bits, signed=signed)
                right = b.threshold(b.input, 3)
                yield _one(b, b.add(b.input, right, multipliers), (lanes, lanes), (lanes, lanes))
            # a table for one operand or both, common zeros, powers of two, signs, and factors of a narrow operand
            scales = np.array([24, -40, 8, 1000, 0, -8, 16, 32, 56, -72, 88, 96])
            factors = (scales, 1), (-3, scales + 1), (scales[::-1], 1 << (scales % 5)), (scales // 8, scales)
            for i, multipliers in enumerate(factors):
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.add(b.input, b.threshold(b.input, 6), multipliers)
                yield _one(b, x, (lanes, lanes), (lanes, lanes, i % 2))
        for lanes_in, lanes_out in ((1, 12), (12, 1), (2, 6), (6, 2), (4, 4)):
            yield _one(*_routed(WidthConvert, 1), (lanes_in, lanes_out))
        for copies, lanes in ((1, 2), (2, 1), (3, 6)):
            yield _one(*_routed(Fork, copies), (lanes, lanes))


class TestMultiply(UnitConformance):
    """Two maps, or a map and one position, that a delay line keeps; types, lanes, products in LUTs and on slices."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed, lanes in ((1, False, 1), (4, True, 3), (8, False, 12), (12, True, 4)):
            for products in (0, 1):
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.multiply(b.input, b.threshold(b.input, 3))
                yield _one(b, x, (lanes, lanes), (lanes, lanes, products))
                b = Builder((3, 4, 12), bits, signed=signed)
                x = b.multiply(b.input, b.append(GlobalMax, (b.input,), (1, 1, 12)))
                yield _one(b, x, (lanes, lanes), (lanes, lanes, products))


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
                    yield _one(b, b.lookup(b.input, out_bits, signed=signed, per_channel=per_channel), (lanes, lanes))


class TestRearranged(UnitConformance):
    """Channels joined and picked, positions repeated and made from channels; types, lanes, single rows and columns."""

    def graphs(self) -> Iterator[Graph]:
        for lanes in (1, 2, 4):
            b = Builder((3, 2, 8), 5, signed=True)
            parts = [b.input, b.threshold(b.input, 3), b.slice(b.input, 4, 4)]
            yield _one(b, b.concat(*parts), (lanes, lanes), (lanes, lanes), (lanes, lanes))
            b = Builder((2, 3, 12), 7)
            yield _one(b, b.slice(b.input, 4, 8), (lanes, lanes))
        for shape, factors, lanes in (
            ((3, 2, 4), (2, 2), 1),
            ((2, 20, 4), (3, 1), 4),  # long lines
            ((1, 5, 4), (1, 2), 2),
            ((4, 1, 4), (2, 3), 4),
            ((1, 1, 4), (1, 1), 4),
        ):
            b = Builder(shape, 3, signed=True)
            yield _one(b, b.upsample(b.input, factors), (lanes, lanes))
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
                yield _one(b, x, (lanes * block[0] * block[1] if first else lanes, lanes))


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
            yield _one(b, b.crop(b.input, start, size, steps), (lanes, lanes))
        for shape, factors, edges, lanes in (
            ((4, 3, 4), (1, 1), (1, 1, 1, 1), 2),
            ((1, 1, 2), (1, 1), (2, 0, 1, 3), 1),
            ((3, 2, 2), (2, 1), (0, 1, 2, 0), 2),
            ((2, 9, 1), (1, 3), (1, 0, 0, 2), 1),
        ):
            b = Builder(shape, 4)
            yield _one(b, b.upsample(b.input, factors, edges), (lanes, lanes))
        for shape, block in (((6, 4, 3), (2, 2)), ((1, 9, 2), (1, 3)), ((5, 7, 2), (2, 3)), ((2, 2, 4), (1, 1))):
            for lanes in {1, block[0] * block[1]}:
                b = Builder(shape, 7)
                yield _one(b, b.space_to_depth(b.input, block), (shape[2], lanes * shape[2]))
        b = Builder((2, 6, 4), 5)  # rows under another name
        x = b.crop(b.reshape(b.input, (3, 4, 4)), (1, 1), (2, 2))
        yield _one(b, x, (2, 2), (2, 2))
        for order in ((0,), (1, 0), (0, 3, 1, 4, 2, 5)):
            b = Builder((2, 3, len(order)), 4, signed=True)
            yield _one(b, b.permute(b.input, order), (len(order), len(order)))


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
            yield _one(b, b.matmul(b.input, right, heads), *[(lanes[0],) * 2] * 2, lanes)
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
            yield _one(b, b.softmax(b.input, scale, heads), (lanes, lanes))

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
            yield _one(b, b.norm(b.input, epsilon, centred=centred), (lanes, lanes))

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
                yield _one(b, b.transpose(b.input), pair)


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
                    yield _one(b, b.threshold(b.input, bits, per_channel=per_channel), (lanes, lanes))
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
        return _one(b, node.output, (lanes, lanes))

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
        return _one(b, node.output, (lanes, lanes))


class TestMulShift(UnitConformance):
    """Bits 1 to 8, signed and unsigned, factors for all or one a channel, halves to even, no shift at all."""

    def graphs(self) -> Iterator[Graph]:
        for bits, signed in ((1, False), (4, True), (8, False), (8, True)):
            for lanes in (1, 2, 6):
                for per_channel in (False, True):
                    b = Builder((4, 4, 6), 10, signed=True, seed=bits)
                    yield _one(b, b.mulshift(b.input, bits, signed=signed, per_channel=per_channel), (lanes, lanes))
        b = Builder((4, 4, 6), 20, signed=True)  # 32-bit factors, a 64-bit product
        yield _one(b, b.mulshift(b.input, 20, signed=True), (3, 3))
        for shift, mul in ((0, -3), (1, 1), (3, -5), (40, 1 << 33)):
            b = Builder((4, 4, 6), 10, signed=True)
            x = b.mulshift(b.input, 8, signed=True)
            factors = np.array([mul])
            b.nodes[0] = replace(b.nodes[0], shift=shift, mul=factors, add=np.array([(1 << shift) // 2]))
            yield _one(b, x, (2, 2))
