"""Several products of one DSP slice: every weight and activation comes back exactly, within the slice's ports."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from toolchain.ir.types import Parallelism, QInt
from toolchain.units.fabric import (
    DSP_NARROW,
    DSP_SUM,
    DSP_WIDE,
    MAX_PACKED,
    lane_bits,
    pack,
    packing,
    product_range,
    product_type,
    products_per_dsp,
    tap_digits,
    tap_packing,
    unpack,
    use_dsp,
)

EXHAUSTIVE = 1 << 20  # combinations of weights and activation that are all tried at once
TYPES = [
    (QInt(w, True), QInt(a, signed)) for w, a, signed in itertools.product(range(2, 9), range(1, 9), (False, True))
]


def codes(kind: QInt) -> np.ndarray:
    return np.arange(kind.min, kind.max + 1, dtype=np.int64)


def corners(kind: QInt) -> np.ndarray:
    """The ends of a type, and what lies around zero: where a borrow starts or stops."""
    near = [kind.min, kind.min + 1, -2, -1, 0, 1, 2, kind.max - 1, kind.max]
    return np.array(sorted({n for n in near if kind.min <= n <= kind.max}), dtype=np.int64)


def assert_exact(
    weights: list[np.ndarray], act: np.ndarray, kinds: tuple[QInt, QInt], offsets: tuple[int, ...]
) -> None:
    """Pack, multiply, unpack: the products themselves, with every number inside its port."""
    word = pack(weights, offsets)
    assert word.min() >= QInt(DSP_WIDE, True).min
    assert word.max() <= QInt(DSP_WIDE, True).max
    odd = [w & act & 1 for w in weights]
    for product, w in zip(unpack(word * act, offsets, lane_bits(*kinds), odd), weights, strict=True):
        assert np.array_equal(product, w * act)


@pytest.mark.parametrize(("weight", "act"), TYPES, ids=str)
def test_every_product_comes_back(weight: QInt, act: QInt) -> None:
    """All weights with all activations; of the widest packings the weights' ends and the neighbours of zero."""
    for count, offsets in packing(weight, act).items():
        lanes = [codes(weight)] * count
        if len(codes(act)) * len(codes(weight)) ** count > EXHAUSTIVE:
            lanes = [corners(weight)] * count
        grid = np.meshgrid(*lanes, codes(act), indexing="ij", sparse=True)
        *weights, x = np.broadcast_arrays(*grid)
        assert_exact(weights, x, (weight, act), offsets)


@pytest.mark.parametrize("signed", [False, True])
def test_every_pair_of_eight_bit_products_comes_back(signed: bool) -> None:
    """The 2**24 combinations of two 8-bit weights and an 8-bit activation."""
    weight, act = QInt(8, True), QInt(8, signed)
    for x in codes(act):
        w = np.meshgrid(codes(weight), codes(weight))
        assert_exact(w, x, (weight, act), packing(weight, act)[2])


@pytest.mark.parametrize("act", [QInt(8, False), QInt(8, True)], ids=str)
def test_random_weights_come_back_where_not_all_are_tried(act: QInt) -> None:
    rng = np.random.default_rng(0)
    for bits in range(2, 9):
        weight = QInt(bits, True)
        for count, offsets in packing(weight, act).items():
            weights = list(rng.integers(weight.min, weight.max + 1, (count, 1 << 18)))
            assert_exact(weights, rng.integers(act.min, act.max + 1, 1 << 18), (weight, act), offsets)


def test_python_integers_unpack_too() -> None:
    weights, x, offsets = [-8, 7, -1, 3], 15, (0, 8, 15, 22)
    word = pack(weights, offsets) * x

    assert unpack(word, offsets, 8, [w & x & 1 for w in weights]) == [w * x for w in weights]


@pytest.mark.parametrize(
    ("weight", "act", "count", "offsets"),
    [
        (QInt(8, True), QInt(8, False), 2, (0, 16)),
        (QInt(8, True), QInt(8, True), 2, (0, 16)),
        (QInt(4, True), QInt(8, False), 3, (0, 11, 22)),
        (QInt(4, True), QInt(4, False), 4, (0, 8, 15, 22)),
        (QInt(5, True), QInt(5, False), 3, (0, 10, 20)),
        (QInt(3, True), QInt(3, False), 5, (0, 6, 12, 18, 23)),
    ],
    ids=str,
)
def test_the_most_products_of_common_widths(weight: QInt, act: QInt, count: int, offsets: tuple[int, ...]) -> None:
    """Two 8 x 8, three 4 x 8, four 4 x 4 bit products a slice: the densities published for the DSP48E2."""
    found = packing(weight, act)

    assert max(found) == count
    assert found[count] == offsets


def test_what_does_not_fit_is_not_offered() -> None:
    """The activation's port is 18 bits signed, so 17 unsigned; two 8 x 16 bit products need 24 + 8 bits."""
    assert packing(QInt(4, True), QInt(18, False)) == {}
    assert packing(QInt(8, True), QInt(16, False)) == {}
    assert DSP_NARROW == 18
    assert all(max(packing(w, a), default=0) <= MAX_PACKED for w, a in TYPES)


def test_unsigned_weights_have_a_sign_bit_of_their_own() -> None:
    weight, act = QInt(4, False), QInt(4, False)
    assert product_type(weight, act) == QInt(8, False)
    assert lane_bits(weight, act) == 9
    for count, offsets in packing(weight, act).items():
        grid = np.meshgrid(*[codes(weight)] * count, codes(act), indexing="ij", sparse=True)
        *weights, x = np.broadcast_arrays(*grid)
        assert_exact(weights, x, (weight, act), offsets)


@pytest.mark.parametrize(("weight", "act"), TYPES[::7], ids=str)
def test_lanes_that_do_not_say_take_the_default(weight: QInt, act: QInt) -> None:
    assert products_per_dsp(Parallelism(4, 4), weight, act) == use_dsp(weight.bits, act.bits)
    assert products_per_dsp(Parallelism(4, 4, 3), weight, act) == 3


@pytest.mark.parametrize(("weight", "act"), TYPES, ids=str)
@pytest.mark.parametrize("taps", [1, 3])
def test_fields_hold_the_longest_chain_of_products(weight: QInt, act: QInt, taps: int) -> None:
    """Operands within the ports, a chain of extreme products within a field; with one bit less it would not be."""
    for columns in (2, 3, 4):
        found = tap_packing(weight, act, taps, columns)
        if found is None:
            continue
        low, high = (found.chain * min(taps, columns) * end for end in product_range(weight, act))
        narrow, wide = sorted((found.word.bits, found.value.bits))
        field, half = QInt(found.spacing, True), QInt(found.spacing - 1, True)
        assert (narrow, wide) <= (DSP_NARROW, DSP_WIDE)
        assert narrow <= DSP_NARROW
        assert wide <= DSP_WIDE
        assert (taps + columns - 1) * found.spacing <= DSP_SUM
        assert field.min <= low
        assert high <= field.max
        assert low < half.min or high > half.max


@pytest.mark.parametrize(
    ("bits", "taps", "columns", "spacing", "chain"),
    [(4, 3, 2, 11, 4), (8, 1, 2, 18, 4), (2, 3, 3, 7, 3), (4, 1, 3, 11, 8)],
)
def test_the_packings_of_common_widths(bits: int, taps: int, columns: int, spacing: int, chain: int) -> None:
    """Three taps by two columns of 4 bits, 11 bits apart, four slices a chain: the published form."""
    found = tap_packing(QInt(bits, True), QInt(bits, False), taps, columns)

    assert found is not None
    assert (found.spacing, found.chain) == (spacing, chain)


def test_digits_side_by_side_are_the_packed_word() -> None:
    """For all filters of three 4-bit weights: fields cut out of sum(w_t << (2 - t) * 11) are the digits."""
    kind = QInt(4, True)
    weight = np.stack(np.meshgrid(*[codes(kind)] * 3), axis=-1).reshape(-1, 3)
    word = (weight << np.array([22, 11, 0])).sum(axis=1)
    digits = tap_digits(weight)
    mask = (1 << 11) - 1

    np.testing.assert_array_equal((digits[:, 2] << 22) | ((digits[:, 1] & mask) << 11) | (digits[:, 0] & mask), word)
    assert (digits.min(), digits.max()) == (-9, 7)
