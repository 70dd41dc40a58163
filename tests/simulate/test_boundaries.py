"""Vectors at the boundaries of an operation, by themselves: in ranges so wide that random numbers meet none of them."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Array, QInt, Range, Value
from toolchain.simulate.boundaries import MOST_STEPS, TIES, boundary_vectors, spread

WIDE = -(1 << 40), (1 << 40) - 1


def requantizer(mul: int, add: int, shift: int, low: int, high: int, base: int = 0) -> MulShift:
    output = Value("y", (1, 1, 1), QInt.holding(low, high))
    numbers = {key: np.array([n]) for key, n in (("mul", mul), ("add", add), ("base", base))}
    return MulShift(name="q", inputs=("x",), outputs=(output,), shift=shift, low=low, high=high, **numbers)


def code(node: MulShift, x: int) -> int:
    ((mul, add),) = node.lines
    return min(max(round(Fraction(x * mul + add, 1 << node.shift)), node.low), node.high)


def vectors(node: MulShift, r: Range, room: int = 999) -> tuple[list[int], list[int]]:
    """The ties and the changes of codes."""
    ties, changes = boundary_vectors(node, (1, 1, 1), [r], room)
    assert (ties.name, changes.name) == ("in the middle between two codes", "where the code changes")
    return ties.vectors[0].ravel().tolist(), changes.vectors[0].ravel().tolist()


LINES = [
    (3, 5, 20, -8, 7, 0),
    (-3, 5, 20, -8, 7, 0),
    (1 << 12, -7 << 20, 30, 0, 15, 2),
    ((1 << 30) + 1, 9, 61, -20, 30, -4),
    (-1, 0, 33, -9, 9, 0),
]


@pytest.mark.parametrize("line", LINES)
def test_both_sides_of_every_change_of_code_are_vectors(line: tuple[int, ...]) -> None:
    """An input between two neighbours of the changes always has the code of one of them."""
    node = requantizer(*line)
    ends = (code(node, WIDE[0]), code(node, WIDE[1]))
    _, changes = vectors(node, WIDE)
    around = [changes[i : i + 3] for i in range(0, len(changes), 3)]
    assert len(around) == max(ends) - min(ends)
    sides = set()
    for before, at, after in around:
        assert (before, after) == (at - 1, at + 1)
        assert len({code(node, x) for x in (before, at, after)}) == 2
        sides |= {frozenset((code(node, x), code(node, x + 1))) for x in (before, at)} - {
            frozenset((code(node, at),)), frozenset((code(node, before),)), frozenset((code(node, after),))
        }  # fmt: skip
    assert sides == {frozenset((n, n + 1)) for n in range(min(ends), max(ends))}


def test_of_many_codes_the_ends_and_some_between_are_taken() -> None:
    node = requantizer(1, 0, 4, -(1 << 20), 1 << 20)
    _, changes = vectors(node, WIDE, 30)
    codes = [code(node, x) for x in changes[2::3]]
    assert len(codes) == 10 and codes[0] == 1 - (1 << 20) and codes[-1] == 1 << 20
    assert max(np.diff(codes)) - min(np.diff(codes)) <= 1
    assert len(vectors(node, WIDE, 1 << 20)[1]) == 3 * MOST_STEPS


@pytest.mark.parametrize(
    "line", [*LINES[:3], (-1, 0, 12, -9, 9, 0), (-1, 1 << 30, 12, -9, 9, 0), (1, 0, 4, 0, 2, 0), (6, 3, 4, -8, 7, 0)]
)
def test_the_first_the_middle_and_the_last_ties_are_vectors(line: tuple[int, ...]) -> None:
    """Those between the limits; where there are fewer, the input nearest to zero."""
    node = requantizer(*line)
    ((mul, add),) = node.lines
    first, last = sorted(floor(Fraction((n << node.shift) - add, mul)) for n in (node.low, node.high))
    whole, half = 1 << node.shift, 1 << node.shift >> 1
    near = np.arange(first, min(last, first + (1 << 21)) + 1)
    ties = near[(near * mul + add) % whole == half].tolist()
    if len(ties) > 1:
        ties = list(range(ties[0], last + 1, ties[1] - ties[0]))
    places = sorted({0, 1, len(ties) // 2, len(ties) // 2 + 1, len(ties) - 2, len(ties) - 1} & {*range(len(ties))})
    assert vectors(node, WIDE)[0] == [ties[k] for k in places] + [0] * (TIES - len(places))


def test_ranges_without_zero_and_lines_without_ties_take_the_nearest_input() -> None:
    level, whole = requantizer(0, 3, 4, -8, 7), requantizer(5, 3, 0, -80, 70)
    for node in (level, whole, requantizer(2, 1, 3, -80, 70)):
        assert vectors(node, (4, 900))[0] == [4] * TIES
        assert vectors(node, (-900, -4))[0] == [-4] * TIES


def one_group(node_of: Builder, r: Range, room: int) -> Array:
    (group,) = boundary_vectors(node_of.nodes[-1], node_of.input.shape, [r], room)
    return group.vectors[0]


def test_both_sides_of_thresholds_are_vectors_and_of_many_some() -> None:
    b = Builder((2, 2, 3), 30, signed=True)
    b.threshold(b.input, 3)
    rows = b.nodes[0].thresholds
    assert one_group(b, WIDE, 999).T.tolist() == [[x for t in row for x in (t - 1, t)] for row in rows.tolist()]
    few = rows[:, [0, 3, 6]].tolist()
    assert one_group(b, WIDE, 6).T.tolist() == [[x for t in row for x in (t - 1, t)] for row in few]
    assert one_group(b, (rows.min(), rows.min()), 999).tolist() == [[rows.min()] * 3] * 14


def test_entries_of_a_table_are_vectors_from_end_to_end() -> None:
    b = Builder((2, 2, 3), 6, signed=True)
    b.lookup(b.input)
    assert one_group(b, (-32, 31), 999).tolist() == [[x] * 3 for x in range(-32, 32)]
    assert one_group(b, (-32, 30), 3).tolist() == [[-32] * 3, [-1] * 3, [30] * 3]


def test_one_tap_unlike_the_others_is_a_vector() -> None:
    b = Builder((5, 5, 2), 4, signed=True)
    b.pool(b.window(b.input, (2, 2)), 4)
    (group,) = boundary_vectors(b.nodes[-1], b.nodes[0].output.shape, [(-3, 9)], 99)
    one = np.where(np.eye(4, dtype=bool), 9, -3).repeat(2, axis=1)
    assert group.vectors[0].tolist() == [*one.tolist(), *(6 - one).tolist()]


def test_one_channel_or_two_neighbours_are_the_largest() -> None:
    node = ArgMax(name="a", inputs=("x",), outputs=(Value("y", (1, 1, 1), QInt(2, False)),))
    one, two = (group.vectors[0].tolist() for group in boundary_vectors(node, (1, 1, 4), [(-3, 9)], 99))
    assert one == [[9 if c == k else -3 for c in range(4)] for k in range(4)]
    assert two == [[9 if c in (k, (k + 1) % 4) else -3 for c in range(4)] for k in range(4)]


def test_indices_are_spread_from_the_first_to_the_last() -> None:
    found = [spread(*given).tolist() for given in ((5, 9), (5, 5), (5, 3), (5, 2), (5, 1), (1, 4))]
    assert found == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 2, 4], [0, 4], [0], [0]]
    assert len(spread(1000, 10)) == 10
