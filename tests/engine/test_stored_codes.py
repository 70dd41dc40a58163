"""Codes of any zero point as unsigned ones, rounded as before."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.engine.layers import Bend, Merge, Pass, Requant
from toolchain.engine.requants import untied, untied_sum
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
def test_requantizers_with_odd_zero_points_round_every_sum_as_before_or_are_refused(bent: bool) -> None:
    """Every sum of 400 random requantizers: those that are refused, that are changed, and that have no halves."""
    rng, reach = random.Random(1), (-900, 900)
    x = np.arange(reach[0], reach[1] + 1)[:, None]
    seen = {"refused": 0, "changed": 0, "as it was": 0}
    for _ in range(400):
        shift, zero = rng.randrange(0, 11), 2 * rng.randrange(0, 20) + 1
        mul, add = (
            np.array([rng.randrange(-m, m + 1) for _ in "ab"]) for m in (1 << shift >> rng.randrange(2, 7), 300)
        )
        below = Bend(-(mul // 2), add // 3, np.array([-40, 25])) if bent else None
        own = Requant(mul, add, shift, -zero, rng.randrange(0, 40), zero, below)
        try:
            found = untied(any_node(), own, reach)
        except UserError as error:
            assert "zero point is odd" in str(error)
            seen["refused"] += 1
            continue
        stored = Coder({"x": 0}).coded(Pass("p", "x", "y", (1, 1, 2), (1, 1, 2), (1, 1, 2), first=found)).first
        assert stored is not None
        np.testing.assert_array_equal(requantized(stored, x), requantized(own, x) + zero)
        seen["as it was" if found is own else "changed"] += 1
    assert min(seen.values()) > 20


def test_sums_of_branches_do_as_well() -> None:
    rng, ends = random.Random(2), ((-20, 30), (0, 40))
    a, b = np.arange(-20, 31)[:, None], np.arange(41)
    seen = {"refused": 0, "changed": 0, "as it was": 0}
    for _ in range(300):
        shift, zero = rng.randrange(0, 14), 2 * rng.randrange(0, 20) + 1
        main, other, add = (rng.randrange(-m, m + 1) for m in (1 << shift, 1 << shift, 300))
        own = Merge("b", main, other, add, shift, -zero, rng.randrange(0, 40), zero)
        try:
            found = untied_sum(any_node(), own, *ends)
        except UserError as error:
            assert "zero point is odd" in str(error)
            seen["refused"] += 1
            continue
        first = Pass("p", "a", "y", (1, 1, 1), (1, 1, 1), (1, 1, 1), merge=found)
        stored = Coder({"a": 20, "b": 2}).coded(first).merge
        assert stored is not None
        sums = stored.main * (a + 20) + stored.other * (b + 2) + stored.add
        expected = code(main * a + other * b + add, shift, own.low, own.high) + zero
        np.testing.assert_array_equal(code(sums, stored.shift, stored.low, stored.high), expected)
        seen["as it was" if found is own else "changed"] += 1
    assert min(seen.values()) > 20


def test_an_even_zero_point_leaves_halves_as_they_are() -> None:
    """1/2, 3/2, 5/2 belong to 0, 2, 2."""
    own = Requant(np.array([1]), np.array([0]), 1, -4, 4, 4)
    assert untied(any_node(), own, (-9, 9)) is own
    with pytest.raises(UserError, match="zero point is odd"):
        untied(any_node(), replace(own, zero=5), (-9, 9))
