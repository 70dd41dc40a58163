"""What vectors a unit is driven with: they reach the ends that are proven for it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import dot_bounds
from toolchain.ir.types import QInt, Value
from toolchain.memory import RESERVED, Memory
from toolchain.simulate.directed import Directed, directed


def _driven(b: Builder, *ranges: tuple[int, int]) -> tuple[Node, Directed]:
    """The last node of ``b`` and its vectors; ``ranges`` are those of its inputs."""
    node = b.nodes[-1]
    values = {b.input.name: b.input} | {n.output.name: n.output for n in b.nodes}
    found = directed(node, [values[name].shape for name in node.inputs], list(ranges))
    assert found is not None
    return node, found


@pytest.mark.parametrize("shape", [(1, 1, 9), (8, 8, 9)])
@pytest.mark.parametrize("r", [(0, 5), (-7, 7), (2, 6)])
def test_every_sum_of_a_matrix_reaches_its_least_and_largest_value(shape, r):
    b = Builder(shape, 4, signed=True)
    b.matvec(b.input, 6)
    node, found = _driven(b, r)
    sums = node.evaluate(found.inputs[0]).reshape(-1, 6)
    least, largest = dot_bounds(node.weight, *r)
    np.testing.assert_array_equal(sums.min(axis=0), least)
    np.testing.assert_array_equal(sums.max(axis=0), largest)


@pytest.mark.parametrize("groups", [2, 4])
def test_every_sum_of_every_group_reaches_its_least_and_largest_value(groups):
    b = Builder((3, 3, 8), 4, signed=True)
    b.grouped(b.window(b.input), 12, groups, taps=9)
    node, found = _driven(b, (-8, 7))
    sums = node.evaluate(found.inputs[0]).reshape(-1, 12)
    least, largest = dot_bounds(node.weight.reshape(12, -1), -8, 7)
    np.testing.assert_array_equal(sums.min(axis=0), least)
    np.testing.assert_array_equal(sums.max(axis=0), largest)


@pytest.mark.parametrize("taps, pad, width", [(3, 1, 8), (3, 0, 8), (5, 2, 3), (1, 0, 4)])
def test_every_sum_of_a_row_convolution_reaches_its_least_and_largest_value(taps, pad, width):
    """Of a row that is narrower than the kernel, those of the taps that lie in it."""
    b = Builder((4, width, 3), 4)
    b.row_conv(b.input, 5, taps=taps, pad=pad)
    node, found = _driven(b, (0, 15))
    sums = node.evaluate(found.inputs[0]).reshape(-1, 5)
    inside = [[t for t in range(taps) if 0 <= w + t - pad < width] for w in range(width + 2 * pad - taps + 1)]
    bounds = [dot_bounds(node.weight[:, known].reshape(5, -1), 0, 15) for known in inside]
    np.testing.assert_array_equal(sums.min(axis=0), np.min([least for least, _ in bounds], axis=0))
    np.testing.assert_array_equal(sums.max(axis=0), np.max([largest for _, largest in bounds], axis=0))


def test_every_sum_of_a_depthwise_filter_reaches_its_least_and_largest_value():
    b = Builder((3, 3, 4), 4, signed=True)
    b.depthwise(b.window(b.input), 9)
    node, found = _driven(b, (-8, 7))
    sums = node.evaluate(found.inputs[0]).reshape(-1, 4)
    least, largest = dot_bounds(node.weight.T, -8, 7)
    np.testing.assert_array_equal(sums.min(axis=0), least)
    np.testing.assert_array_equal(sums.max(axis=0), largest)


@pytest.mark.parametrize("per_channel", [False, True])
def test_every_channel_sees_both_sides_of_every_threshold(per_channel):
    b = Builder((4, 4, 3), 8, signed=True)
    b.threshold(b.input, 4, per_channel=per_channel)
    node, found = _driven(b, (-128, 127))
    for c in range(3):
        seen = set(found.inputs[0][..., c].reshape(-1).tolist())
        row = node.thresholds[c if per_channel else 0]
        assert seen >= {int(x) for t in row for x in (t - 1, t) if -128 <= x <= 127}


@pytest.mark.parametrize("mul, add, base, shift, low, high", [
    ((37, -90, 0), (100, 7, 5), (0,), 8, -8, 7),
    ((4, -12, 64), (32, 0, 16), (0,), 6, 0, 15),
    ((3, 1, -1), (0, 1 << 40, 0), (0,), 0, -(1 << 33), 1 << 33),
    ((37 << 52, -90 << 52, 0), (-4 << 52, 9, 5 << 52), (-20, 8, 2), 60, -30, 17),
])  # fmt: skip
def test_every_channel_sees_both_sides_of_every_change_of_code_and_the_ties(mul, add, base, shift, low, high):
    b = Builder((32, 32, 3), 9, signed=True)
    b.mulshift(b.input)
    facts = {"mul": np.array(mul), "add": np.array(add), "shift": shift, "low": low, "high": high}
    facts["base"] = np.array(base)
    node = type(b.nodes[-1])(
        name="m", inputs=("x",), outputs=(Value("y", (32, 32, 3), QInt.holding(low, high)),), **facts
    )
    found = directed(node, [b.input.shape], [(-200, 211)])
    assert found is not None
    everything = np.arange(-200, 212)[None, :, None, None].repeat(3, axis=3)
    codes = node.evaluate(everything)[0, :, 0]
    for c in range(3):
        seen = set(found.inputs[0][..., c].reshape(-1).tolist())
        changes = np.flatnonzero(np.diff(codes[:, c])) - 200
        assert seen >= {-200, 211}
        if len(changes) < 300:
            assert seen >= set(changes.tolist()) | set((changes + 1).tolist())
        remainder = (np.arange(-200, 212) * mul[c] + add[c]) % (1 << shift)
        if shift and mul[c] and (remainder == 1 << (shift - 1)).any():
            assert seen & set((np.flatnonzero(remainder == 1 << (shift - 1)) - 200).tolist())


def test_elements_of_a_frame_have_numbers_of_their_own():
    b = Builder((5, 6, 4), 3)
    b.window(b.input)
    _, found = _driven(b, (0, 7))
    digits = found.inputs[0][:3].reshape(3, -1)
    assert len({tuple(column) for column in digits.T.tolist()}) == 5 * 6 * 4


def test_two_inputs_see_the_combinations_of_their_ends():
    b = Builder((3, 3, 2), 4, signed=True)
    b.add(b.input, b.mulshift(b.input, 5))
    _, found = _driven(b, (-8, 7), (0, 31))
    seen = set(zip(*(x.reshape(-1).tolist() for x in found.inputs), strict=True))
    assert seen >= {(-8, 0), (-8, 31), (7, 0), (7, 31), (0, 0)}


def test_frames_of_one_end_follow_frames_of_the_other():
    b = Builder((4, 4, 2), 4, signed=True)
    b.threshold(b.input)
    _, found = _driven(b, (-8, 7))
    frames = [set(frame.reshape(-1).tolist()) for frame in found.inputs[0]]
    start = frames.index({7}) if {7} in frames else -1
    assert start >= 0
    b = Builder((4, 4, 2), 4, signed=True)
    b.global_sum(b.input)
    _, found = _driven(b, (-8, 7))
    assert [set(frame.reshape(-1).tolist()) for frame in found.inputs[0][:4]] == [{7}, {-8}, {7}, {0}]


def test_vectors_are_the_same_every_time_and_named():
    b = Builder((1, 1, 5), 4)
    b.matvec(b.input, 3)
    (_, first), (_, second) = _driven(b, (0, 15)), _driven(b, (0, 15))
    np.testing.assert_array_equal(first.inputs[0], second.inputs[0])
    assert first.name(0) == "the largest, the least, zeros (1 of 4)"
    assert first.name(first.vectors - 1).startswith("random")


def test_large_maps_get_few_frames():
    b = Builder((128, 128, 16), 4)
    b.window(b.input)
    _, found = _driven(b, (0, 15))
    assert len(found.inputs[0]) == 2
    assert found.inputs[0].dtype == np.int8
    assert directed(b.nodes[-1], [b.input.shape], [(0, 15)], Memory(RESERVED + 10**6)) is None
