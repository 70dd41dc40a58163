"""Integer points of a half-plane in a box: those at which a sum of multiples can be least or greatest.

The set of a step of a quantized sum is ``p * x + q * y >= r`` with 0 <= x <= width, 0 <= y <= height. A linear function
takes its extremes at corners of the convex hull of the set's integer points, which are few: Euclid's algorithm on p and
q walks over them in logarithmically many edges.
"""

from __future__ import annotations

from collections.abc import Iterator

Point = tuple[int, int]


def least_corners(p: int, q: int, r: int, width: int, height: int) -> list[Point]:
    """Points of ``p * x + q * y >= r`` in the box, one of which has the least m * x + n * y, for every m, n >= 0.

    ``p``, ``q``, ``width`` and ``height`` are not negative. Empty where no point of the box reaches ``r``.
    """
    if r <= 0:
        return [(0, 0)]
    if p * width + q * height < r:
        return []
    if q == 0:
        return [(-(-r // p), 0)]
    if p == 0:
        return [(0, -(-r // q))]
    left = max(0, -(-(r - q * height) // p))
    top = max(0, -(-(r - p * left) // q))
    bottom = max(0, -(-(r - p * width) // q))
    right = max(0, -(-(r - q * bottom) // p))
    run, fall = right - left, top - bottom
    down = _chain(p, q, p * left + q * top - r, run, fall)
    up = _chain(q, p, p * right + q * bottom - r, fall, run)
    return list(dict.fromkeys([*((left + u, top - v) for u, v in down), *((right - u, bottom + v) for v, u in up)]))


def greatest_corners(p: int, q: int, r: int, width: int, height: int) -> list[Point]:
    """Points of ``p * x + q * y < r`` in the box, one of which has the greatest m * x + n * y, for every m, n >= 0."""
    mirrored = least_corners(p, q, p * width + q * height - r + 1, width, height)
    return [(width - x, height - y) for x, y in mirrored]


def _chain(p: int, q: int, slack: int, run: int, fall: int) -> Iterator[Point]:
    """Corners as steps (right, down) from the upper left end of the hull to the point nearest to the line.

    ``slack`` is how far the start lies above the line; a step (u, v) takes q * v - p * u of it. ``steep`` and ``flat``
    are neighbours in the Stern-Brocot tree, on either side of the line. The next edge goes along the steepest
    direction that the slack allows: ``steep`` and as few of ``flat`` as make it affordable.
    """
    x, y = 0, 0
    yield x, y
    (steep_x, steep_y), (flat_x, flat_y) = (0, 1), (1, 0)
    price, gain = q, p  # what a step along steep takes, along flat gives
    while True:
        steps = slack // price
        if steps:
            if steep_x:
                steps = min(steps, (run - x) // steep_x)
            steps = min(steps, (fall - y) // steep_y)
            x, y, slack = x + steps * steep_x, y + steps * steep_y, slack - steps * price
            yield x, y
            if slack >= price:  # the box ended, and all directions left are longer
                return
        if gain >= price:
            turns = gain // price
            flat_x, flat_y, gain = flat_x + turns * steep_x, flat_y + turns * steep_y, gain - turns * price
            if gain == 0:
                return
        turns = min(-(-(price - slack) // gain), (price - 1) // gain)
        steep_x, steep_y, price = steep_x + turns * flat_x, steep_y + turns * flat_y, price - turns * gain
        if x + steep_x > run or y + steep_y > fall:
            return
