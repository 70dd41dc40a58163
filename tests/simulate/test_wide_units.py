"""Every unit that can carry wide numbers, at the ends of ranges of 8 to 62 bits: C++ in native and in hardware types
equals the evaluator, and the evaluator equals Python's integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.conformance import FRAMES, UnitConformance
from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, Crop, DepthToSpace, Permute, Slice, SpaceToDepth, Transpose, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Array, QInt, Value

EDGES = (8, 16, 32, 40, 62)
"""Bits around which native types change."""


def exact(node: Node, *inputs: Array) -> Array:
    """What ``node`` computes, in Python's integers; what only moves is not its business."""
    x = inputs[0].astype(object)
    if isinstance(node, MatVec | GroupedMatVec):
        return x @ node.matrix.T.astype(object)
    if isinstance(node, RowConv):
        padded = np.pad(x, ((0, 0), (0, 0), (node.pad, node.pad), (0, 0)))
        columns = node.output.shape[1]
        weight = node.weight.astype(object)
        return sum(padded[:, :, t : t + columns] @ weight[:, t].T for t in range(node.taps))
    if isinstance(node, Depthwise):
        return (x.reshape(*x.shape[:3], *node.weight.shape) * node.weight.astype(object)).sum(axis=3)
    if isinstance(node, Pool):
        taps = x.reshape(*x.shape[:3], node.taps, -1)
        return taps.max(axis=3) if node.kind == "max" else taps.sum(axis=3)
    if isinstance(node, GlobalSum):
        return x.sum(axis=(1, 2), keepdims=True)
    if isinstance(node, Threshold):
        reached = (x[..., None] >= node.thresholds.astype(object)).sum(axis=4)
        return node.start.astype(object) + node.step.astype(object) * reached
    if isinstance(node, Add):
        first, second = (np.array(m, dtype=object) for m in node.multipliers)
        return x * first + inputs[1].astype(object) * second
    if isinstance(node, ArgMax):
        rows = [row.tolist()[::-1] if node.last else row.tolist() for row in x[:, 0, 0]]
        places = [row.index(max(row)) for row in rows]
        count = x.shape[3]
        return np.array([count - 1 - p if node.last else p for p in places], dtype=object).reshape(-1, 1, 1, 1)
    assert isinstance(node, MulShift)
    found = np.empty(x.shape, dtype=object)
    for at, value in np.ndenumerate(x):
        mul, add, base = (int(v[at[3] % len(v)]) for v in (node.mul, node.add, node.base))
        found[at] = min(max(base + round(Fraction(value * mul + add, 1 << node.shift)), node.low), node.high)
    return found


MOVING = (Window, Concat, Slice, Upsample, DepthToSpace, SpaceToDepth, Crop, Permute, Transpose, Fork, WidthConvert)


def _changed(b: Builder, shape: tuple[int, int, int], **facts: Any) -> Value:
    """The last node of ``b`` with other ``facts`` on an input of ``shape``, and the type that they take."""
    node = replace(b.nodes[-1], **facts)
    kinds = {b.input.name: b.input.qint} | {n.output.name: n.output.qint for n in b.nodes[:-1]}
    ranges = [(kinds[name].min, kinds[name].max) for name in node.inputs]
    value = replace(node.output, type=QInt.holding(*node.output_range(shape, *ranges)))
    b.nodes[-1] = replace(node, outputs=(value,))
    return value


def _graph(b: Builder, output: Value, *lanes: tuple[int, ...]) -> Graph:
    return with_lanes(b.graph(output), {node.name: pair for node, pair in zip(b.nodes, lanes, strict=True)})


def _ends(b: Builder, kind: QInt, shape: tuple[int, ...]) -> Array:
    """Numbers at and beside the ends of ``kind``."""
    choices = [kind.min, kind.min + 1, kind.max - 1, kind.max]
    return b.rng.choice(np.array(choices, dtype=np.int64), shape)


class Wide(UnitConformance):
    """Frames of one end after frames of the other, then both mixed with numbers beside them and around zero."""

    def inputs(self, graph: Graph, seed: int) -> Array:
        kind, rng = graph.input.qint, np.random.default_rng(seed)
        near = [n for n in (kind.min, kind.min + 1, -1, 0, 1, kind.max - 1, kind.max) if kind.min <= n <= kind.max]
        frames = rng.choice(np.array(near, dtype=np.int64), (FRAMES, *graph.input.shape))
        frames[0], frames[1] = kind.max, kind.min
        return frames

    def test_the_evaluator_equals_pythons_integers(self):
        """Without a compiler; each node on what the evaluator says its inputs are."""
        for seed, graph in enumerate(self.graphs()):
            values = evaluate(graph, self.inputs(graph, seed), taps=set(graph.values()))
            for node in graph.nodes:
                if isinstance(node, MOVING):
                    continue
                expected = exact(node, *(values[name] for name in node.inputs))
                assert (values[node.output.name] == expected).all(), f"{node} {graph.input.type}"
                assert node.output.qint.min <= expected.min() and expected.max() <= node.output.qint.max


class TestWideSums(Wide):
    """Products, pools and sums whose results reach the ends of native types and of 62 bits."""

    def graphs(self) -> Iterator[Graph]:
        for total in EDGES:
            weight_bits = {8: 3, 16: 8, 32: 16}.get(total, 18)
            act = QInt(total - weight_bits - 2, total % 16 == 0)  # four products, so two bits more
            kind = QInt(weight_bits, True)
            b = Builder((1, 2, 4), act.bits, signed=act.signed)
            b.matvec(b.input, 2, weight_bits)
            x = _changed(b, b.input.shape, weight=_ends(b, kind, (2, 4)))
            yield _graph(b, x, (2, 1, total // 8 % 2))
            b = Builder((2, 2, 2), act.bits, signed=act.signed)
            window = b.window(b.input, (2, 2), pads=(1, 1, 0, 0), pad_value=act.min)
            b.depthwise(window, 4, weight_bits)
            x = _changed(b, window.shape, weight=_ends(b, kind, (4, 2)))
            yield _graph(b, x, (1, 4), (4, 1, 1))
            sums = QInt(total - 3, total % 16 == 0)
            for pool in ("sum", "max"):
                b = Builder((2, 2, 2), sums.bits, signed=sums.signed)
                window = b.window(b.input, (2, 2), pads=(1, 1, 0, 0), pad_value=sums.max)
                yield _graph(b, b.pool(window, 4, pool), (1, 1), (1, 1))
            b = Builder((2, 4, 2), sums.bits, signed=sums.signed)
            yield _graph(b, b.global_sum(b.input), (1, 1))

    def test_sums_reach_their_ends(self):
        """The bits named above are those of the sums."""
        found = {node.output.qint.bits for graph in self.graphs() for node in graph.nodes}
        assert {8, 16, 32, 40, 62} <= found | {n + 1 for n in found}


class TestWideProducts(Wide):
    """Signs, constants, groups, packed slices and rows with the widest operands that they take."""

    def graphs(self) -> Iterator[Graph]:
        for bits in (31, 59):
            b = Builder((1, 2, 4), bits, signed=True)
            b.matvec(b.input, 2, 2)
            x = _changed(b, b.input.shape, weight=np.array([[1, -1, 1, -1], [-1, -1, -1, -1]]))
            yield _graph(b, x, (2, 2, 0))
        b = Builder((1, 2, 4), 50, signed=True)
        b.matvec(b.input, 2, 9)
        x = _changed(b, b.input.shape, weight=np.array([[255, -256, 255, -256], [0, -256, 1, 129]]))
        yield _graph(b, x, (4, 2, None, 1, True))
        b = Builder((1, 2, 4), 42, signed=True)
        b.grouped(b.input, 4, 2, 18)
        kind = QInt(18, True)
        yield _graph(b, _changed(b, b.input.shape, weight=_ends(b, kind, (4, 1, 2))), (2, 2, 1))
        for weight, act, products in ((QInt(3, True), QInt(18, True), 2), (QInt(3, True), QInt(17, False), 2)):
            b = Builder((1, 2, 4), act.bits, signed=act.signed)
            b.matvec(b.input, 4, weight.bits)
            x = _changed(b, b.input.shape, weight=_ends(b, weight, (4, 4)))
            yield _graph(b, x, (2, 2, products))
        for weight_bits, columns in ((8, 2), (26, 1)):  # fields of 17 and of 38 bits
            b = Builder((1, 4, 4), 9, signed=True)
            b.row_conv(b.input, 4, weight_bits, taps=1, pad=0)
            x = _changed(b, b.input.shape, weight=_ends(b, QInt(weight_bits, True), (4, 1, 4)))
            yield _graph(b, x, (2, 2, columns, columns))


class TestWideRequantizers(Wide):
    """Numerators of 8 to 124 bits with limits, factors and offsets at their ends; thresholds, starts and steps too."""

    def graphs(self) -> Iterator[Graph]:
        for x_bits, mul_bits, shift, code_bits in (
            (5, 3, 0, 8),
            (5, 3, 3, 4),
            (9, 7, 7, 8),
            (17, 15, 15, 16),
            (17, 16, 12, 33),
            (33, 30, 31, 32),
            (33, 31, 32, 31),
            (33, 32, 20, 40),
            (40, 38, 60, 16),
            (62, 61, 62, 61),
            (62, 1, 0, 61),
        ):
            for lanes, per_channel in ((1, False), (2, True)):
                yield self._requantizer(x_bits, mul_bits, shift, code_bits, lanes, per_channel)
        for bits, code in ((62, 3), (33, 31), (34, 33), (9, 50)):
            b = Builder((1, 2, 2), bits, signed=True)
            kind, size = b.input.qint, 1 << code
            thresholds = np.array([[kind.min, kind.min + 1, 0, kind.max], [-1, 0, kind.max - 1, kind.max]])
            b.threshold(b.input, 2)
            start, step = np.array([-size + 1, size]), np.array([size // 2 - 1, -size // 2])
            x = _changed(b, b.input.shape, thresholds=thresholds, start=start, step=step)
            yield _graph(b, x, (1, 1))

    def _requantizer(self, x_bits: int, mul_bits: int, shift: int, code_bits: int, lanes: int, each: bool) -> Graph:
        b = Builder((1, 4, 2), x_bits, signed=True, seed=shift)
        b.mulshift(b.input)
        kind, code = QInt(mul_bits + 1, True), QInt(code_bits, True)
        mul = np.array([kind.max, kind.min + 1] if each else [kind.max])
        whole = 1 << shift
        add = np.array([whole // 2, -(whole // 2)] if each else [whole - 1])
        base = np.array([(1 << code_bits // 2) & ~1, -2] if each else [0])
        facts = {"mul": mul, "add": add, "base": base, "shift": shift, "low": code.min + 1, "high": code.max}
        return _graph(b, _changed(b, b.input.shape, **facts), (lanes, lanes, int(mul_bits > 4)))


class TestWideElements(Wide):
    """Additions with wide factors, and what only moves or compares numbers of 62 bits."""

    def graphs(self) -> Iterator[Graph]:
        each = [(1 << 29) - 1, -(1 << 29)], [-(1 << 30), 1]  # a factor a channel
        same = (8, (1 << 52, -(1 << 53) + 1)), (31, ((1 << 29) - 1, -(1 << 29))), (60, (1, -1))
        for bits, factors in (*same, (30, each)):
            b = Builder((1, 2, 2), bits, signed=True)
            right = b.mulshift(b.input)
            right = _changed(b, b.input.shape, mul=np.array([-1]), add=np.array([0]), shift=0, **_limits(bits))
            yield _graph(b, b.add(b.input, right, factors), (1, 1), (1, 1))
        for last in (False, True):
            b = Builder((1, 1, 6), 62, signed=True)
            yield _graph(b, b.argmax(b.input, last=last), (2, 1))
        b = Builder((3, 3, 2), 62, signed=True)
        for parallel in (False, True):
            b = Builder((3, 3, 2), 62, signed=True)
            x = b.window(b.input, (2, 2), pads=(1, 1, 0, 0), pad_value=-(1 << 61) + 1)
            yield _graph(b, x, (1, 4 if parallel else 1))
        b = Builder((1, 2, 4), 62, signed=True)
        parts = [b.input, b.threshold(b.input, 2), b.slice(b.input, 2, 2)]
        yield _graph(b, b.concat(*parts), (2, 2), (2, 2), (2, 2))
        b = Builder((2, 2, 4), 62)
        yield _graph(b, b.upsample(b.input), (2, 2))
        b = Builder((2, 2, 4), 62)
        yield _graph(b, b.depth_to_space(b.input), (1, 1))
        b = Builder((2, 3, 2), 62, signed=True)
        x = b.permute(b.space_to_depth(b.crop(b.input, (0, 1), (2, 2))), (3, 1, 7, 5, 0, 2, 4, 6))
        yield _graph(b, x, (2, 2), (2, 8), (8, 8))
        for op, lanes, kind in ((Fork, (2, 2), QInt(62, True)), (WidthConvert, (1, 4), QInt(62, False))):
            b = Builder((1, 2, 4), kind.bits, signed=kind.signed)
            value = Value("y", b.input.shape, b.input.qint)
            b.nodes.append(op(name="route", inputs=("x",), outputs=(value,)))
            yield _graph(b, value, lanes)


def _limits(bits: int) -> dict[str, int]:
    return {"low": -(1 << (bits - 1)) + 1, "high": (1 << (bits - 1)) - 1}


@pytest.mark.parametrize("bits", range(8, 63, 6))
def test_the_evaluator_of_every_operation_equals_pythons_integers_at_random(bits):
    """Two hundred small nodes of each width with numbers of any size that their type allows."""
    rng = np.random.default_rng(bits)
    for _ in range(20):
        b = Builder((2, 2, 4), max(2, bits - 4), signed=bool(rng.integers(2)), seed=int(rng.integers(1 << 30)))
        kind = b.input.qint
        x = rng.integers(kind.min, kind.max + 1, (3, 2, 2, 4))
        for value in (b.global_sum(b.input), b.pool(b.input, 2, "sum"), b.matvec(b.input, 3, 2), b.threshold(b.input)):
            node = b.nodes[-1] if b.nodes[-1].output == value else next(n for n in b.nodes if n.output == value)
            graph = Graph("g", b.input, (node,), (Output("out", value.name),), b.graph(value).encoding)
            assert (evaluate(graph, x)[value.name] == exact(node, x)).all(), node
