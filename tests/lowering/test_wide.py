"""Wide integers: 16-bit activations, unlike channels, products beyond 64 bits. Exact, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.ir.ops.model import Affine, LeakyRelu, RealAdd
from toolchain.ir.ops.products import dot_bounds
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Encoding, InputType, QInt, Value
from toolchain.lowering.pipeline import to_integer
from toolchain.lowering.requantize import Requantizer, definition, definitions, to_threshold
from toolchain.lowering.requantizer_node import (
    TooManyCodes,
    cheaper,
    mul_shift_cost,
    requantizer_node,
    threshold_cost,
)

DEVIATIONS = np.float64(np.float32([0.229, 0.224, 0.225]))


def node_of(requantizer: Requantizer, low: int, high: int):
    output = Value("y", (1, 1, len(requantizer.slope)), QInt.holding(requantizer.low, requantizer.high))
    bits = QInt.holding(low, high).bits
    return requantizer_node(requantizer, low, high, bits, lut_per_dsp=196, name="q", inputs=("x",), outputs=(output,))


def random_line(seed: int, channels: int, reach: int, kind: QInt) -> Requantizer:
    """Quotients of float32 scales, some falling, whose codes all lie within a part of [-reach, reach]."""
    rng = np.random.default_rng(seed)
    steps = 2.0 * (kind.max - kind.min) / reach * rng.uniform(1, 4, channels) * rng.choice([1, -1], channels)
    slope = tuple(Fraction(float(np.float32(s))) / Fraction(float(np.float32(0.1))) / 10 for s in steps)
    offset = tuple(Fraction(float(np.float32(o))) for o in rng.uniform(kind.min, kind.max, channels))
    return Requantizer(
        slope, offset, kind.min, kind.max, Rounding.ROUND, False, (kind.min,) * channels, (kind.max,) * channels
    )


def numerator_bits(node: MulShift, reach: int) -> list[int]:
    return [abs(end).bit_length() for end in node.line_range(-reach, reach)]


@pytest.mark.parametrize(("reach_bits", "signed"), [(20, False), (25, True), (29, False), (31, True)])
def test_16_bits_take_a_multiplier_at_every_width_of_the_sum(reach_bits, signed):
    """Against the definition at the two sides of sampled steps, at both ends and at random inputs."""
    reach, kind = 1 << reach_bits, QInt(16, signed)
    requantizer = random_line(reach_bits, 3, reach, kind)
    node = node_of(requantizer, -reach, reach)
    assert isinstance(node, MulShift)
    rows = to_threshold(requantizer, -reach, reach)[0][:, ::997]
    random = np.random.default_rng(0).integers(-reach, reach + 1, (3, 200))
    points = np.clip(np.concatenate([rows, rows - 1, [[-reach, reach]] * 3, random], axis=1), -reach, reach)
    expected = [definition(requantizer, c, row.tolist()) for c, row in enumerate(points)]

    assert node.evaluate(points.T[None, None])[0, 0].T.tolist() == expected
    assert all(bits > 64 for bits in numerator_bits(node, reach)) == (reach_bits > 28)
    assert bool(node.base.any()) == (reach_bits > 28)


def test_channels_are_found_in_blocks_as_they_are_together(monkeypatch):
    requantizer = random_line(1, 5, 1 << 24, QInt(13, False))
    whole = node_of(requantizer, -(1 << 24), 1 << 24)
    monkeypatch.setattr("toolchain.lowering.requantizer_node.BLOCK_STEPS", 2 << 13)
    blocks = node_of(requantizer, -(1 << 24), 1 << 24)

    assert [n.mul.tolist() for n in (whole, blocks)] == [whole.mul.tolist()] * 2
    assert (whole.lines, whole.shift) == (blocks.lines, blocks.shift)


def test_16_bits_behind_a_bend_name_the_quantizer_and_the_bits_that_do():
    b = ModelBuilder((4, 4, 2), 6)
    x = b.conv(b.quant("x", 8, True, scale=0.0078125), 3, 3, bits=8)
    x = b.add(LeakyRelu, (x,), b.shapes[x], slope=np.array([0.1]))
    b.quant(x, 16, True, scale=2.0**-13)
    with pytest.raises(
        UserError,
        match=r"^16 bits behind a leaky ReLU take \d+ comparators a channel \[quantize3, .*; quantize it with at most",
    ):
        to_integer(b.graph())


def test_ties_of_a_scale_that_is_no_power_of_two_are_the_reason_given():
    """An average of nine at 16 bits: ties go to even codes and away from odd ones, which no line does."""
    kind = QInt(16, True)
    line, limits = ((Fraction(1, 18),), (Fraction(0),)), ((kind.min,), (kind.max,))
    requantizer = Requantizer(*line, kind.min, kind.max, Rounding.ROUND, False, *limits)
    with pytest.raises(TooManyCodes, match="^16 bits whose scale meets ties that round to even, but is no power of"):
        node_of(requantizer, -(1 << 20), 1 << 20)
    assert isinstance(node_of(replace(requantizer, rounding=Rounding.HALF_UP), -(1 << 20), 1 << 20), MulShift)


def test_no_quantizer_of_more_than_12_bits_becomes_comparators():
    for bits, kind in ((12, MulShift), (13, MulShift), (2, Threshold)):
        requantizer = random_line(2, 2, 1 << 20, QInt(bits, False))
        assert isinstance(node_of(requantizer, -(1 << 20), 1 << 20), kind)


@pytest.mark.parametrize(("high", "kind"), [(4095, Threshold), (4096, None)])
def test_a_bent_staircase_of_4095_steps_is_compared_and_one_of_more_is_refused(high: int, kind: type | None) -> None:
    """As many comparators as a loop that Vitis HLS unrolls, here and where the steps are given."""
    line, limits = ((Fraction(1, 3),), (Fraction(0),)), ((0,), (high,))
    bent = Requantizer(*line, 0, high, Rounding.ROUND, False, *limits, bends=((Fraction(10), Fraction(1, 7)),))
    low, end = -300, 3 * high + 100
    rows = to_threshold(bent, low, end)
    common = {"name": "q", "inputs": ("x",), "outputs": (Value("y", (1, 1, 1), QInt(13, False)),)}
    exact = partial(definitions, bent)
    if kind is not None:
        node = node_of(bent, low, end)
        assert isinstance(node, kind)
        given = cheaper(bent, rows, low, end, 15, exact, lut_per_dsp=196, **common)
        assert isinstance(given, kind) and given.thresholds.tolist() == node.thresholds.tolist()
        return
    with pytest.raises(TooManyCodes, match="^13 bits behind a leaky ReLU take 4096 comparators a channel$") as error:
        node_of(bent, low, end)
    assert error.value.bits == 8
    with pytest.raises(TooManyCodes, match="^4096 thresholds a channel that lie on no line take as many comparators$"):
        cheaper(bent, rows, low, end, 15, exact, lut_per_dsp=196, **common)


def test_a_comparator_costs_a_lut_a_bit_and_its_table_another_for_64_channels() -> None:
    assert [threshold_cost(15, channels, 12) for channels in (1, 2, 64, 65)] == [180, 360, 360, 540]


@pytest.mark.parametrize(
    ("mul", "input_bits", "luts"),
    [([8, 8], 12, 12 + 5 + 8), ([-8, 8], 12, 12 + 5 + 8), ([0], 12, 12 + 1 + 8), ([5], 12, 196 + 12 + 4 + 8),
     ([4, 8], 12, 196 + 12 + 5 + 8), ([5], 28, 2 * 196 + 28 + 4 + 8)],
)  # fmt: skip
def test_a_multiplier_costs_its_slices_and_one_that_only_shifts_none(
    mul: list[int], input_bits: int, luts: int
) -> None:
    assert mul_shift_cost(np.array(mul), input_bits, 4, 196) == luts


def test_unlike_deviations_of_the_pixels_are_exact_within_62_bits():
    """Two float32 factors each, the first one's unit is 26 bits finer than a pixel, that of both some 50."""
    b = ModelBuilder((6, 6, 3), 7)
    factors = np.float64(np.float32(1 / DEVIATIONS))
    x = b.add(Affine, ("x",), (6, 6, 3), scale=factors, shift=np.zeros(3))
    x = b.add(Affine, (x,), (6, 6, 3), scale=factors, shift=np.zeros(3))
    x = b.quant(b.relu(b.conv(x, 4, 1, bits=2)), 4, False)
    b.quant(b.conv(x, 3, 3), 8, True)
    graph = assert_equal_codes(b.graph())

    assert max(value.qint.bits for value in graph.values().values()) > 56


def test_the_node_that_scales_channels_apart_is_blamed():
    b = ModelBuilder((6, 6, 3), 7)
    scales = 1 / np.array([0.229, 0.224, 0.225])
    x = b.add(Affine, ("x",), (6, 6, 3), scale=scales, shift=np.zeros(3))
    b.quant(b.relu(b.conv(x, 4, 3, bits=8)), 4, False)
    with pytest.raises(
        UserError,
        match=r"^it scales channels apart, by factors whose common unit takes more than 62 bits at realconv1 "
        r"\[affine0, ONNX affine0\]; quantize what it gives, or state the pixels' scale and offset in the model's",
    ):
        to_integer(b.graph())


def test_deviations_that_the_metadata_states_in_decimals_have_a_short_unit():
    """What the refusal advises works: the unit of 1/0.229, 1/0.224 and 1/0.225 is 17 bits finer than a pixel."""
    b = ModelBuilder((6, 6, 3), 7)
    b.quant(b.relu(b.conv("x", 4, 3, bits=8)), 4, False)
    scales = tuple(Fraction(1000, 255 * n) for n in (229, 224, 225))
    graph = to_integer(b.graph(), Encoding(InputType(0, 255, scales)))

    assert max(value.qint.bits for value in graph.values().values()) < 40


def test_a_branch_of_zeros_with_a_scale_of_its_own_is_refused_in_one_line():
    """The common unit of the scales may pass 64 bits though every product with the zeros fits."""
    b = ModelBuilder((4, 4, 2), 8)
    x = b.quant("x", 8, True, scale=0.0078125)
    zeros = b.conv(x, 2, 1)
    b.nodes[-1].codes[:] = 0
    left = b.add(Affine, (zeros,), b.shapes[zeros], scale=np.array([0.1 / 3]), shift=np.array([0.0]))
    right = b.add(Affine, (x,), b.shapes[x], scale=np.array([0.7 / 3]), shift=np.array([0.0]))
    b.add(RealAdd, (left, right), b.shapes[x])
    with pytest.raises(UserError, match=r"^the scales of what it adds share no unit of 62 bits \[realadd4, ONNX"):
        to_integer(b.graph())


def test_dot_bounds_are_exact_at_any_size():
    weight = np.array([[(1 << 40) + 1, -(1 << 40)], [1, 1]])
    low, high = dot_bounds(weight, -(1 << 30), (1 << 30) - 1)
    assert high.tolist() == [((1 << 40) + 1) * ((1 << 30) - 1) + (1 << 70), (1 << 31) - 2]
    assert low.tolist() == [-((1 << 40) + 1) * (1 << 30) - (1 << 40) * ((1 << 30) - 1), -(1 << 31)]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_quantizer_of_which_one_code_is_reached_has_a_step(bits):
    """A unit without any comparator has no table of them."""
    kind = QInt(bits, True)
    line, limits = ((Fraction(1, 1 << 20),) * 2, (Fraction(3),) * 2), ((kind.min,) * 2, (kind.max,) * 2)
    requantizer = Requantizer(*line, kind.min, kind.max, Rounding.ROUND, False, *limits)
    node = node_of(requantizer, -100, 100)
    one = node_of(Requantizer((Fraction(1),), (Fraction(0),), 5, 5, Rounding.ROUND, False, (5,), (5,)), -100, 100)

    x = np.array([-100, 0, 100]).reshape(3, 1, 1, 1)
    assert node.evaluate(x.repeat(2, axis=3)).ravel().tolist() == [3] * 6
    assert one.evaluate(x).ravel().tolist() == [5] * 3
    assert one.thresholds.shape == (1, 1)
