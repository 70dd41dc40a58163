"""Thresholds as one line or two: equal at every input, or none."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.engine.lines import Lines, lines_of
from toolchain.ir.ops.requantizers import Threshold, round_half_even_shift
from toolchain.ir.types import Array, QInt, Value

SUMS = -900, 1100


def threshold(thresholds: Array, start: Array, step: Array) -> Threshold:
    """A node of these numbers, one row a channel."""
    y = Value("y", (1, 1, len(thresholds)), QInt(9, True))
    return Threshold(name="t", inputs=("x",), outputs=(y,), thresholds=thresholds, start=start, step=step)


def quantizer(seed: int, bits: int, leak: float, channels: int = 4) -> Threshold:
    """Rounded lines of random slopes and offsets, ``leak`` times as steep below 0, falling in some channels."""
    rng = np.random.default_rng(seed)
    low = -(1 << bits) // 3 if leak < 1 else 0
    codes = np.arange(low + 1, low + (1 << bits))
    slope = rng.uniform(0.2, 2.5, (channels, 1)) * (1 << bits) / (SUMS[1] - SUMS[0])
    values = np.where(codes <= 0, (codes - 0.5) / leak, codes - 0.5)
    thresholds = np.ceil((values + rng.uniform(-9, 9, (channels, 1))) / slope).astype(np.int64)
    start, step = np.full(channels, low), rng.choice((-1, 1), channels)
    thresholds = np.where(step[:, None] < 0, 1 - thresholds[:, ::-1], thresholds)
    return threshold(thresholds, np.where(step < 0, low + len(codes), start), step)


def codes_of(lines: Lines, x: Array) -> Array:
    """The codes (N, C) of inputs (N, 1)."""
    mul, add = lines.mul[1], lines.add[1]
    if lines.knee is not None:
        below = x < lines.knee
        mul, add = np.where(below, lines.mul[0], mul), np.where(below, lines.add[0], add)
    return np.clip(round_half_even_shift(x * mul + add, lines.shift), lines.low, lines.high)


@pytest.mark.parametrize("leak", (1.0, 0.25, 0.1, 0.01))
@pytest.mark.parametrize("bits", (1, 2, 4, 8))
def test_lines_give_the_codes_of_every_input(bits: int, leak: float) -> None:
    x = np.arange(SUMS[0], SUMS[1] + 1)[:, None]
    for seed in range(6):
        node = quantizer(seed, bits, leak)
        lines = lines_of(node, *SUMS)
        assert lines is not None
        assert np.array_equal(codes_of(lines, x), node.evaluate(np.broadcast_to(x, (len(x), 4))))


def test_a_plain_quantizer_has_no_knee() -> None:
    lines = lines_of(quantizer(0, 4, 1.0), *SUMS)
    assert lines is not None and lines.knee is None


def test_channels_that_end_at_different_codes_keep_to_them() -> None:
    """Those that a limit holds for all inputs too."""
    thresholds = np.array([[-90, -30, 30], [10, 40, 70], [2000, 3000, 4000], [-3000, -2000, -1500]])
    node = threshold(thresholds, np.array([-2, 4, 1, 0]), np.ones(4, dtype=np.int64))
    lines = lines_of(node, *SUMS)
    x = np.arange(SUMS[0], SUMS[1] + 1)[:, None]
    assert lines is not None
    assert np.array_equal(codes_of(lines, x), node.evaluate(np.broadcast_to(x, (len(x), 4))))


def test_one_channel_stands_for_all() -> None:
    lines = lines_of(quantizer(3, 4, 0.1, channels=1), *SUMS)
    assert lines is not None and lines.mul.shape == (2, 1)


@pytest.mark.parametrize(
    ("thresholds", "step"),
    [([[-500, -400, 0, 300, 310, 320, 600, 900]], [1]), ([[0]], [2])],
    ids=["three slopes", "bipolar"],
)
def test_other_staircases_have_no_lines(thresholds: list[list[int]], step: list[int]) -> None:
    assert lines_of(threshold(np.array(thresholds), np.array([-1]), np.array(step)), *SUMS) is None
