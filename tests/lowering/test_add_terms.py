"""Sums of two scales give the definition's code for every pair of integers, by brute force."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toolchain.errors import FlowError
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.model import Quantize
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import QInt, Quantizer, Real, Value
from toolchain.lowering import add_terms
from toolchain.lowering.add_terms import combine
from toolchain.lowering.pair_steps import simplest_between
from toolchain.lowering.requantize import code_of
from toolchain.lowering.scaled import Scaled, Term, clamp, fractions, leaky
from toolchain.lowering.state import Lowering


def sum_of(scales, ranges, offset=(0.0,), *, floor=None, ceiling=None, slope=None) -> Scaled:
    """scales[0] * a + scales[1] * b + offset for integers of ``ranges``, bent, then clamped."""
    channels = max(map(len, (*scales, offset)))
    terms = [
        Term(Value(name, (1, 1, channels), QInt.holding(low, high)), fractions(scale), low, high)
        for name, scale, (low, high) in zip("ab", scales, ranges, strict=True)
    ]
    x = Scaled(tuple(terms), fractions(offset))
    x = x if slope is None else leaky(x, fractions((slope,)))
    assert x is not None
    return clamp(x, *(None if v is None else Fraction(v) for v in (floor, ceiling)))


def lowered(x: Scaled, quantizer: Quantizer) -> tuple[Add, MulShift | Threshold] | None:
    """The two nodes that ``combine`` adds, if any."""
    state = Lowering(lut_per_dsp=196)
    node = Quantize(name="q", inputs=("x",), outputs=(Value("y", x.shape, Real()),), quantizer=quantizer, tensor="x")
    if combine(node, x, state) is None:
        assert not state.nodes
        return None
    add, requantizer = state.nodes
    assert isinstance(add, Add)
    return add, requantizer


def definition(x: Scaled, quantizer: Quantizer, channel: int, pair: tuple[int, int]) -> int:
    def entry(values):
        return values[channel] if len(values) > 1 else values[0]

    v = entry(x.offset) + sum(entry(t.scale) * n for t, n in zip(x.terms, pair, strict=True))
    knee, leak, floor, ceiling = (entry(f) for f in (x.knee, x.leak, x.floor, x.ceiling))
    v = v if v >= knee else knee + leak * (v - knee)
    v = v if floor is None else max(v, floor)
    v = v if ceiling is None else min(v, ceiling)
    if quantizer.bipolar:
        return 1 if v >= 0 else -1
    position = v / Fraction(entry(quantizer.scale)) + quantizer.zero_point
    return code_of(*position.as_integer_ratio(), quantizer.low, quantizer.high, quantizer.rounding)


def assert_exact(x: Scaled, quantizer: Quantizer, nodes: tuple[Add, MulShift | Threshold]) -> None:
    add, requantizer = nodes
    axes = [np.arange(t.low, t.high + 1, dtype=np.int64) for t in x.terms]
    a, b = (v.ravel() for v in np.meshgrid(*axes, indexing="ij"))
    channels = range(x.shape[2])
    columns = (v[None, None, :, None].repeat(len(channels), axis=3) for v in (a, b))
    codes = requantizer.evaluate(add.evaluate(*columns))[0, 0]
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    np.testing.assert_array_equal(codes, [[definition(x, quantizer, c, pair) for c in channels] for pair in pairs])


scale = st.one_of(
    st.floats(2.0**-7, 1.0, width=32), st.sampled_from([2.0**-k for k in range(6)]), st.just(0.0)
).flatmap(lambda s: st.sampled_from([s, -s]))
span = st.tuples(st.integers(-20, 5), st.integers(0, 24)).map(lambda p: (p[0], p[0] + p[1]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_pair_gets_the_code_of_the_definition(data):
    """Scales a tensor or a channel, negative, dyadic; zero points, ReLU, clamps, 1 to 8 bits, all roundings."""
    channels = data.draw(st.integers(1, 3))

    def scales():
        size = data.draw(st.sampled_from([1, channels]))
        return tuple(data.draw(st.lists(scale, min_size=size, max_size=size)))

    kind = QInt(data.draw(st.integers(1, 8)), data.draw(st.booleans()))
    step = data.draw(st.sampled_from([1, channels]))
    steps = tuple(data.draw(st.lists(st.floats(2.0**-4, 2, width=32), min_size=step, max_size=step)))
    rounding = data.draw(st.sampled_from(sorted(Rounding)))
    quantizer = Quantizer(steps, data.draw(st.integers(-3, 3)), kind.min, kind.max, rounding)
    floor, ceiling = data.draw(st.sampled_from([(None, None), (0, None), (0, 6), (-0.7, 1.3)]))
    offset = tuple(data.draw(st.lists(st.floats(-3, 3, width=32), min_size=channels, max_size=channels)))
    x = sum_of((scales(), scales()), (data.draw(span), data.draw(span)), offset, floor=floor, ceiling=ceiling)
    nodes = lowered(x, quantizer)
    assume(nodes is not None)  # a small ratio is left to a common unit
    assert_exact(x, quantizer, nodes)


@pytest.mark.parametrize("bipolar", [True, False])
@pytest.mark.parametrize("slope", [None, 0.1, 1.7])
def test_bends_and_signs_stand_behind_thresholds(bipolar, slope):
    """A leaky ReLU of the sum, with a quantizer of codes or of signs."""
    kind = QInt(3, True)
    quantizer = Quantizer((0.3,), 0, -1 if bipolar else kind.min, 1 if bipolar else kind.max, bipolar=bipolar)
    x = sum_of(((0.13,), (0.029, -0.041)), ((0, 15), (-60, 70)), (0.2, -0.4), slope=slope)
    nodes = lowered(x, quantizer)

    assert_exact(x, quantizer, nodes)
    assert isinstance(nodes[1], Threshold) or not bipolar


def test_ties_of_dyadic_scales_round_half_to_even():
    """Every second sum of the last channel is a tie."""
    x, quantizer = sum_of(((0.25,), (17 / 64, 0.75)), ((0, 63), (-30, 33))), Quantizer((0.5,), 0, -128, 127)

    assert_exact(x, quantizer, lowered(x, quantizer))


@pytest.mark.parametrize("limits", [(0, 0), (2, 2), (-9, -9)])
def test_a_sum_of_which_one_code_is_reached_is_that_code(limits):
    """Clamped to one value, within the codes or beyond them."""
    x = sum_of(((0.13,), (0.029, -0.041)), ((0, 15), (-60, 70)), (0.2, -0.4), floor=limits[0], ceiling=limits[1])
    quantizer = Quantizer((0.3,), 0, -4, 3)

    assert_exact(x, quantizer, lowered(x, quantizer))


def basic_block(channels: int, bits: int, reach: int) -> Scaled:
    """The operands of a ResNet's sum: codes of one scale, and accumulators of a scale a channel, some falling."""
    rng = np.random.default_rng(channels)
    scales = np.float32(rng.uniform(0.3, 2, channels) * rng.choice([1, 1, 1, -1], channels) * 2**bits / reach)
    codes = float(np.float32(2.3 / (2**bits - 1)))
    offset = tuple(rng.normal(0, 0.5, channels).tolist())
    return sum_of(((codes,), tuple(scales.tolist())), ((0, 2**bits - 1), (-reach, reach)), offset, floor=0)


@pytest.mark.parametrize(("channels", "bits", "reach", "most"), [(64, 4, 9000, 38), (16, 8, 900_000, 58)])
def test_the_sum_of_a_basic_block_is_narrow(channels, bits, reach, most):
    """The common unit of its scales has 62 bits and more, or does not exist; one factor serves all codes' channels."""
    x = basic_block(channels, bits, reach)
    add, requantizer = lowered(x, Quantizer((3.7 / (2**bits - 1),), 0, 0, 2**bits - 1))

    assert len(add.multipliers[0]) == 1
    assert isinstance(requantizer, MulShift)
    assert requantizer.mul.tolist() == [1]
    assert add.output.qint.bits <= most
    for pair in np.random.default_rng(0).integers((0, -reach), (2**bits, reach + 1), (500, 2)).tolist():
        a, b = (np.full((1, 1, 1, channels), n) for n in pair)
        codes = requantizer.evaluate(add.evaluate(a, b)).ravel()
        quantizer = Quantizer((3.7 / (2**bits - 1),), 0, 0, 2**bits - 1)
        assert codes.tolist() == [definition(x, quantizer, c, tuple(pair)) for c in range(channels)]


def test_a_wrong_constant_is_found_by_the_proof(monkeypatch):
    """What the search returns is compared with the definition at the corners of every step."""
    search = add_terms._ShiftSearch.shared
    monkeypatch.setattr(add_terms._ShiftSearch, "alike", lambda self: None)
    monkeypatch.setattr(
        add_terms._ShiftSearch, "shared", lambda self: (lambda f, a, s: (f, a + (1 << s >> 2), s))(*search(self))
    )
    x = basic_block(4, 4, 900)
    with pytest.raises(FlowError, match="q_sum: inputs .* of channel"):
        lowered(x, Quantizer((0.2,), 0, 0, 15))


def test_operands_beyond_the_sums_are_left_to_the_common_unit():
    """59 bits of both operands together: their sums may need more than 62."""
    x = sum_of(((0.1,), (0.07,)), ((0, (1 << 30) - 1), (-(1 << 29), 1 << 29)))
    node = Quantize(
        name="q",
        inputs=("x",),
        outputs=(Value("y", x.shape, Real()),),
        quantizer=Quantizer((1.0,), 0, 0, 3),
        tensor="x",
    )

    assert combine(node, x, Lowering(lut_per_dsp=196)) is None


@given(st.fractions(0, 5, max_denominator=40), st.fractions(0, 5, max_denominator=40))
def test_the_simplest_fraction_between_two_has_the_least_terms(one, other):
    low, high = sorted((one, other))
    if low == high:
        return
    found = simplest_between(low, high)
    fewer = [Fraction(n, d) for d in range(1, found.denominator + 1) for n in range(found.numerator + 1)]

    assert low < found < high
    assert not [f for f in fewer if low < f < high and f != found]
