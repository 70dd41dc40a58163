"""Every hardware unit of products with weights over a grid of shapes, bits and lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.conformance import UnitConformance
from tests.graphs import Builder
from tests.hardware import laned, with_lanes
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import dot_bounds
from toolchain.ir.types import QInt, Value


class TestMatVec(UnitConformance):
    """Weights and activations of 1 to 8 bits, every kind of folding, behind windows and alone."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits in ((1, 1), (2, 2), (3, 8), (4, 4), (8, 3), (8, 8), (2, 16)):
            for lanes in ((1, 1), (4, 1), (1, 3), (6, 2), (12, 6)):
                b = Builder((3, 2, 12), act_bits, signed=act_bits % 2 == 0)
                yield laned(b, b.matvec(b.input, 6, weight_bits), lanes)
        for lanes in ((2, 2), (2, 18)):
            b = Builder((5, 5, 4), 4)
            yield laned(b, b.matvec(b.window(b.input), 4), lanes, (lanes[1], 2))
        b = Builder((3, 3, 4), 4)  # a map flattened behind a window whose order is not canonical
        yield laned(b, b.matvec(b.reshape(b.window(b.input)), 4), (2, 2), (2, 2), (2, 2))


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
            yield laned(b, b.grouped(b.input, outputs, groups, weight_bits), lanes)
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
            yield laned(b, x, (lanes, simd), (simd, pe))


class TestNarrowGroupedMatVec(UnitConformance):
    """Weights of -1 and +1 and bit planes by group."""

    def graphs(self) -> Iterator[Graph]:
        for act_bits, signed in ((1, False), (2, True), (8, True)):
            for lanes in ((5, 1), (20, 4)):
                b = Builder((3, 2, 40), act_bits, signed=signed)
                x = b.grouped(b.input, 8, 4, 2)
                signs = np.where(b.nodes[0].weight < 0, -1, 1)
                b.nodes[0] = replace(b.nodes[0], weight=signs, outputs=(replace(x, type=_sums(signs, b.input)),))
                yield laned(b, x, lanes)
        b = Builder((4, 4, 8), 1)
        yield laned(b, b.grouped(b.window(b.input), 8, 4, 2, taps=9), (4, 36), (36, 4))


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
            yield laned(b, b.matvec(b.input, 2 * products, weight_bits), (simd, groups * products, products))


def long_planes() -> Graph:
    """Bit planes of more bits than an integer of Vitis HLS has."""
    b = Builder((1, 1, 1100), 1)
    return laned(b, b.matvec(b.input, 2, 2), (1100, 1))


class TestNarrowMatVec(UnitConformance):
    """Weights of -1 and +1 on any input, and bit planes of inputs of one bit, in words short and long."""

    def graphs(self) -> Iterator[Graph]:
        for act_bits, signed in ((1, False), (2, True), (8, True)):
            for simd, pe in ((1, 2), (40, 3)):
                b = Builder((3, 2, 40), act_bits, signed=signed)
                x = b.matvec(b.input, 6, 2)
                signs = np.where(b.nodes[0].weight < 0, -1, 1)
                b.nodes[0] = replace(b.nodes[0], weight=signs, outputs=(replace(x, type=_sums(signs, b.input)),))
                yield laned(b, x, (simd, pe))
        for weight_bits, signed, simd in ((2, False, 2), (2, True, 7), (1, False, 112)):
            b = Builder((2, 2, 112), 1, signed=signed)
            yield laned(b, b.matvec(b.input, 4, weight_bits), (simd, 1))
        yield long_planes()


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
            yield laned(b, x, (simd, pe * columns, taps * columns, columns))
        for simd, pe in ((1, 1), (18, 4)):
            b = Builder((3, 8, 18), 4)
            yield laned(b, b.row_conv(b.input, 8), (simd, 2 * pe, 6, 2))
        for height, width, pad in ((1, 2, 1), (2, 4, 0)):
            b = Builder((height, width, 6), 4)
            yield laned(b, b.row_conv(b.input, 8, pad=pad), (3, 4, 6, 2))
        b = Builder((5, 6, 4), 4)
        x = b.row_conv(b.window(b.input, (3, 1), pads=(1, 0, 1, 0)), 4)
        yield laned(b, x, (2, 6), (6, 2, 6, 2))


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
            yield laned(b, x, (16, columns, taps * columns, columns))

    def inputs(self, graph: Graph, seed: int) -> np.ndarray:
        kind, rng = graph.input.qint, np.random.default_rng(seed)
        frames = rng.choice([kind.min, kind.max], (3, *graph.input.shape))
        frames[0], frames[1] = kind.max, kind.min
        return frames


class TestMultiplierChoice(UnitConformance):
    """Products in LUTs or on a DSP slice of their own, against the widths' default."""

    def graphs(self) -> Iterator[Graph]:
        b = Builder((3, 2, 12), 8)
        yield laned(b, b.matvec(b.input, 6, 8), (4, 3, 0))
        b = Builder((5, 4, 6), 4)
        yield laned(b, b.depthwise(b.window(b.input), 9, 4), (2, 2), (2, 2, 1))
        b = Builder((4, 4, 6), 10, signed=True)
        yield laned(b, b.mulshift(b.input, 4), (2, 2, 0))


class TestDepthwise(UnitConformance):
    """One tap or all taps a cycle."""

    def graphs(self) -> Iterator[Graph]:
        for weight_bits, act_bits in ((2, 2), (4, 4), (8, 8)):
            for lanes, all_taps in ((1, False), (2, False), (6, False), (1, True), (3, True)):
                b = Builder((5, 4, 6), act_bits)
                x = b.depthwise(b.window(b.input), 9, weight_bits)
                window = (lanes, 9 * lanes if all_taps else lanes)
                yield laned(b, x, window, (window[1], lanes))
