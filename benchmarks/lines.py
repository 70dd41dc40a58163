"""A line chart as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10

from scatter import COLOURS

WIDTH, HEIGHT, LEFT, BELOW = 460, 300, 62, 52
_TICKS = 5


def lines_svg(series: Mapping[str, Sequence[tuple[float, float]]], x_title: str, y_title: str) -> str:
    """One polyline a series of (x, y), with the axes' values and a legend to the right."""
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    grid = _grid(min(ys), max(ys))
    low, high = grid[0], grid[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / ((xs[-1] - xs[0]) or 1)
        return 10 + across * (WIDTH - 20), HEIGHT * (1 - (y - low) / (high - low))

    body = []
    for value in grid:
        y = place(xs[0], value)[1]
        body.append(f'<path d="M0 {y:.1f}H{WIDTH}" stroke="#dddddd"/>')
        body.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in xs:
        x = place(value, low)[0]
        body.append(f'<text x="{x:.1f}" y="{HEIGHT + 18}" text-anchor="middle">{value:g}</text>')
    for index, ((name, points), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        places = [place(*point) for point in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        body.append(f'<g fill="{colour}">{dots}</g>')
        at = 14 + 18 * index
        body.append(f'<circle cx="{WIDTH + 16}" cy="{at - 4}" r="4" fill="{colour}"/>')
        body.append(f'<text x="{WIDTH + 26}" y="{at}">{name}</text>')
    body.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 42}" text-anchor="middle">{x_title}</text>')
    body.append(f'<text transform="translate(-46 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>')
    width, height = LEFT + WIDTH + 160, 16 + HEIGHT + BELOW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
    frame = f'font-size="12"><rect width="{width}" height="{height}" fill="#ffffff"/>'
    return head + frame + f'<g transform="translate({LEFT} 16)">' + "\n".join(body) + "</g></svg>\n"


def _grid(low: float, high: float) -> list[float]:
    """About five round values that enclose ``low`` and ``high``."""
    spread = max(high - low, 1e-6) / _TICKS
    unit = 10.0 ** floor(log10(spread))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= spread)
    first = floor(low / step)
    count = 1
    while (first + count) * step < high:
        count += 1
    return [round((first + k) * step, 10) for k in range(count + 1)]
