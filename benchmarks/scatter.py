"""A log-log scatter plot of predicted over published counts as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

SIDE, MARGIN = 520, 64
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5a97", "#c98a1b", "#555555")


class Point(NamedTuple):
    """One configuration."""

    x: float
    y: float
    series: str


def scatter_svg(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """The plot, with the diagonal and a band of 25 % around it; one colour a series."""
    values = [value for point in points for value in (point.x, point.y)]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))

    def place(value: float) -> float:
        return (log10(value) - low) / (high - low) * SIDE

    body = [_axes(range(low, high + 1), place(10 ** (low + 1)) - place(10**low)), _band(place, 10**low)]
    series = sorted({point.series for point in points}, key=lambda s: -sum(p.series == s for p in points))
    for name, colour in zip(series, COLOURS, strict=False):
        dots = "".join(
            f'<circle cx="{place(p.x):.1f}" cy="{SIDE - place(p.y):.1f}" r="2.6"/>' for p in points if p.series == name
        )
        body.append(f'<g fill="{colour}" fill-opacity="0.55">{dots}</g>')
    body.append(_legend(series, points))
    body.append(f'<text x="{SIDE / 2}" y="{SIDE + 44}" text-anchor="middle">{x_title}</text>')
    body.append(f'<text transform="translate(-46 {SIDE / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>')
    size = SIDE + MARGIN + 44
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" font-family="sans-serif" font-size="13">'
    )
    frame = f'<rect width="{size}" height="{size}" fill="#ffffff"/><g transform="translate({MARGIN} 16)">'
    return head + frame + "\n".join(body) + "</g></svg>\n"


def _axes(decades: range, step: float) -> str:
    lines = []
    for index, decade in enumerate(decades):
        at = index * step
        lines.append(f'<path d="M{at:.1f} 0V{SIDE}M0 {SIDE - at:.1f}H{SIDE}" stroke="#dddddd"/>')
        label = f"{10**decade:,}"
        lines.append(f'<text x="{at:.1f}" y="{SIDE + 20}" text-anchor="middle">{label}</text>')
        lines.append(f'<text x="-8" y="{SIDE - at + 5:.1f}" text-anchor="end">{label}</text>')
    return "".join(lines)


def _band(place: Callable[[float], float], low: float) -> str:
    shift = place(low * 1.25)
    band = f"M0 {SIDE - shift:.1f}L{SIDE - shift:.1f} 0H{SIDE}V{shift:.1f}L{shift:.1f} {SIDE}H0Z"
    return f'<path d="{band}" fill="#888888" fill-opacity="0.15"/><path d="M0 {SIDE}L{SIDE} 0" stroke="#444444"/>'


def _legend(series: Sequence[str], points: Sequence[Point]) -> str:
    rows = []
    for index, (name, colour) in enumerate(zip(series, COLOURS, strict=False)):
        count = sum(point.series == name for point in points)
        y = 18 + 18 * index
        rows.append(f'<circle cx="16" cy="{y - 4}" r="4" fill="{colour}"/><text x="26" y="{y}">{name} ({count})</text>')
    return "".join(rows)
