"""Codes of any zero point as unsigned ones, rounded as before."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.engine.layers import Bend, Merge, Pass, Requant, Stored
from toolchain.engine.requants import untied, untied_merge
from toolchain.engine.stored_codes import Coder, stored_zero
from toolchain.errors import UserError
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import round_half_even_shift
from toolchain.ir.types import Array, QInt, Range


@pytest.mark.parametrize(
    ("kind", "reach", "zero"),
    [
        (QInt(8, False), (0, 255), 0),
        (QInt(8, True), (-3, 90), 128),
        (QInt(5, True), (-16, 15), 128),
        (QInt(9, True), (-100, 155), 100),
        (QInt(9, True), (-101, 154), 101),  # all codes, so no even one
        (QInt(9, True), (-101, 153), 102),
        (QInt(9, True), (-255, 0), 255),
        (QInt(9, True), (-100, 156), None),
        (QInt(9, True), (-256, 0), None),
        (QInt(9, False), (0, 256), None),
    ],
)
def test_the_stored_code_of_0_makes_all_codes_unsigned(kind: QInt, reach: Range, zero: int | None) -> None:
    assert stored_zero(kind, reach, 8) == zero


def any_node() -> Node:
    b = Builder((1, 1, 1), 8)
    b.unchanged(b.input)
    return b.nodes[0]


def code(line: Array, shift: int, low: int, high: int) -> Array:
    return np.clip(round_half_even_shift(line, shift), low, high)


def requantized(requant: Requant, x: Array) -> Array:
    """The codes (N, C) of ``x`` (N, 1)."""
    line = x * requant.mul + requant.add
    if requant.below is not None:
        line = np.where(x < requant.below.knee, x * requant.below.mul + requant.below.add, line)
    return code(line, requant.shift, requant.low, requant.high)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("negatable", [False, True])
def test_requantizers_with_odd_zero_points_round_every_sum_as_before(bent: bool, negatable: bool) -> None:
    """Every sum of 400 random requantizers: as they were, changed, and refused or with negated codes."""
    rng, reach = random.Random(1), (-900, 900)
    x = np.arange(reach[0], reach[1] + 1)[:, None]
    seen = {"refused": 0, "negated": 0, "changed": 0, "as it was": 0}
    for _ in range(400):
        shift, zero = rng.randrange(0, 11), 2 * rng.randrange(0, 20) + 1
        steepest = 1 << shift >> rng.randrange(2, 7)
        mul, add = (np.array([rng.randrange(-most, most + 1) for _ in "ab"]) for most in (steepest, 300))
        below = Bend(-(mul // 2), add // 3, np.array([-40, 25])) if bent else None
        own = Requant(mul, add, shift, -zero, rng.randrange(0, 40), Stored(zero), below)
        try:
            found = untied(any_node(), own, reach, Stored(255 - zero, -1) if negatable else None)
        except UserError as error:
            assert "zero point is odd" in str(error)
            seen["refused"] += 1
            continue
        coder = Coder({"x": Stored(0)})
        stored = coder.coded(Pass("p", "x", "y", (1, 1, 2), (1, 1, 2), (1, 1, 2), first=found)).first
        assert stored is not None
        np.testing.assert_array_equal(coder.forms["y"].codes(requantized(stored, x)), requantized(own, x))
        seen["as it was" if found is own else "negated" if found.form.sign < 0 else "changed"] += 1
    assert seen.pop("refused" if negatable else "negated") == 0
    assert min(seen.values()) > 20


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("negatable", [False, True])
def test_sums_and_products_of_branches_do_as_well(negatable: bool, product: bool) -> None:
    """Also of codes that are stored negated."""
    rng, ends = random.Random(2), ((-20, 30), (0, 40))
    a, b = np.arange(-20, 31)[:, None], np.arange(41)
    seen = {"refused": 0, "negated": 0, "changed": 0, "as it was": 0}
    for _ in range(300):
        shift, zero = rng.randrange(0, 14), 2 * rng.randrange(0, 20) + 1
        main, other, add = (rng.randrange(-m, m + 1) for m in (1 << shift, 0 if product else 1 << shift, 300))
        zeros = (0, 0) if product else None
        own = Merge("b", main, other, add, shift, -zero, rng.randrange(0, 40), Stored(zero), zeros)
        try:
            found = untied_merge(any_node(), own, *ends, Stored(255 - zero, -1) if negatable else None)
        except UserError as error:
            assert "zero point is odd" in str(error)
            seen["refused"] += 1
            continue
        forms = {"a": rng.choice([Stored(20), Stored(40, -1)]), "b": rng.choice([Stored(2), Stored(50, -1)])}
        coder = Coder(dict(forms))
        stored = coder.coded(Pass("p", "a", "y", (1, 1, 1), (1, 1, 1), (1, 1, 1), merge=found)).merge
        assert stored is not None
        codes = coder.forms["y"].codes(_merged(stored, forms["a"].of(a), forms["b"].of(b)))
        np.testing.assert_array_equal(codes, _merged(own, a, b))
        seen["as it was" if found is own else "negated" if found.form.sign < 0 else "changed"] += 1
    assert seen.pop("refused" if negatable else "negated") == 0
    assert min(seen.values()) > 20


def _merged(merge: Merge, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    if merge.zeros is None:
        line = merge.main * own + merge.other * other + merge.add
    else:
        line = merge.main * (own - merge.zeros[0]) * (other - merge.zeros[1]) + merge.add
    return code(line, merge.shift, merge.low, merge.high)


def test_an_even_zero_point_leaves_halves_as_they_are() -> None:
    """1/2, 3/2, 5/2 belong to 0, 2, 2."""
    own = Requant(np.array([1]), np.array([0]), 1, -4, 4, Stored(4))
    assert untied(any_node(), own, (-9, 9), None) is own
    with pytest.raises(UserError, match="zero point is odd"):
        untied(any_node(), replace(own, form=Stored(5)), (-9, 9), None)
