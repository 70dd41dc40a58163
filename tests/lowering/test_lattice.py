"""Corners of the integer points of a half-plane in a box hold the extremes of every sum of multiples."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.lowering.lattice import greatest_corners, least_corners

small = st.integers(0, 12)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 60), st.integers(0, 60), st.integers(-3, 1500), small, small, st.integers(0, 70), st.integers(0, 70)
)
def test_the_extremes_of_any_rising_sum_are_at_the_corners(p, q, r, width, height, m, n):
    """Slopes of 0, lines beside the box, boxes of one point: least above and greatest below, by brute force."""
    points = [(x, y) for x in range(width + 1) for y in range(height + 1)]
    above = [(x, y) for x, y in points if p * x + q * y >= r]
    below = [(x, y) for x, y in points if p * x + q * y < r]
    least, greatest = least_corners(p, q, r, width, height), greatest_corners(p, q, r, width, height)

    assert set(least) <= set(above)
    assert set(greatest) <= set(below)
    assert bool(least) == bool(above)
    assert bool(greatest) == bool(below)
    if above:
        assert min(m * x + n * y for x, y in least) == min(m * x + n * y for x, y in above)
    if below:
        assert max(m * x + n * y for x, y in greatest) == max(m * x + n * y for x, y in below)


def test_lines_of_hundred_bits_have_their_extremes_at_few_corners():
    """Ratios as of float32 scales, and sums of nearly their direction, against the best point of every column."""
    rng = random.Random(0)
    for _ in range(60):
        p, q = rng.getrandbits(100) | 1, rng.getrandbits(92) | 1
        width, height = rng.randrange(300), rng.randrange(1 << 20)
        r = rng.randrange(p * width + q * height + 1)
        corners = least_corners(p, q, r, width, height)
        columns = [(x, max(0, -((p * x - r) // q))) for x in range(width + 1)]
        columns = [(x, y) for x, y in columns if y <= height]
        for shift in (99, 80, 60, 30):
            m, n = (p >> shift) + rng.randrange(3), (q >> shift) + rng.randrange(3)
            assert min(m * x + n * y for x, y in corners) == min(m * x + n * y for x, y in columns)
        assert len(corners) <= 2 * (4 + np.log2(width + 2))
