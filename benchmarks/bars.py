"""Bars of a few designs side by side, a group a metric, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scatter import COLOURS

WIDTH, LEFT, RIGHT = 420, 110, 90
_BAR, _SPACE, _GROUP_SPACE, _TOP = 16, 3, 16, 54
_SHADES = ("#b8bec6", *COLOURS)  # the first design is what the others are compared with


def bars_svg(title: str, designs: Sequence[str], metrics: Mapping[str, Sequence[tuple[float, str]]]) -> str:
    """A group of bars a metric, a bar a design; each metric has its own scale, from zero to its largest value.

    Args:
        title: above all.
        designs: names in the legend.
        metrics: by heading, for every design its value and the text beside the bar.
    """
    body = [f'<text x="0" y="14" font-size="14" font-weight="bold">{title}</text>']
    at = 0.0
    for name, shade in zip(designs, _SHADES, strict=False):
        body.append(f'<rect x="{at:.0f}" y="26" width="11" height="11" rx="2" fill="{shade}"/>')
        body.append(f'<text x="{at + 17:.0f}" y="36">{name}</text>')
        at += 40 + 6.6 * len(name)
    y = _TOP
    for heading, values in metrics.items():
        height = len(values) * (_BAR + _SPACE) - _SPACE
        body.append(f'<text x="{LEFT - 12}" y="{y + height / 2 + 4:.0f}" text-anchor="end">{heading}</text>')
        largest = max(value for value, _ in values) or 1.0
        for (value, text), shade in zip(values, _SHADES, strict=False):
            length = max(1.0, value / largest * WIDTH)
            bar = f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2" fill="{shade}"/>'
            body.append(f'{bar}<text x="{LEFT + length + 6:.1f}" y="{y + 12}" fill="#444444">{text}</text>')
            y += _BAR + _SPACE
        y += _GROUP_SPACE - _SPACE
    width, whole = LEFT + WIDTH + RIGHT + 32, y + 16
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" font-family="sans-serif" '
    frame = f'font-size="12"><rect width="{width}" height="{whole}" fill="#ffffff"/><g transform="translate(16 14)">'
    return head + frame + "\n".join(body) + "</g></svg>\n"
