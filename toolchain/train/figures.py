"""Figures of a run as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _GAP = 220, 110, 44  # of one panel
_COLUMNS = 4
_MARGIN = 16
_LIGHTEST = 80  # per cent, of the first curve; the last one is darkest


def histograms_svg(panels: Mapping[str, Sequence[Sequence[int]]], title: str, bin_width: float) -> str:
    """A panel for each entry of ``panels`` with one curve a moment, the later the darker.

    Args:
        panels: by name, the counts (moments, bins); the bins lie evenly about 0.
        title: of the horizontal axis.
        bin_width: of a bin, in the axis' unit.
    """
    rows = -(-len(panels) // _COLUMNS)
    width = _MARGIN + min(len(panels), _COLUMNS) * (_WIDTH + _MARGIN)
    height = _MARGIN + rows * (_HEIGHT + _GAP)
    drawn = []
    for index, (name, moments) in enumerate(panels.items()):
        row, column = divmod(index, _COLUMNS)
        x, y = _MARGIN + column * (_WIDTH + _MARGIN), _MARGIN + row * (_HEIGHT + _GAP)
        drawn.append(f'<g transform="translate({x} {y})">{_panel(name, moments, title, bin_width)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="#ffffff"/>' + "\n".join(drawn) + "</svg>\n"
    )


def _panel(name: str, moments: Sequence[Sequence[int]], title: str, bin_width: float) -> str:
    """The curves of one panel, each as high as its largest count, and an axis with its ends named."""
    bins = len(moments[0])
    parts = [f'<path d="M0 {_HEIGHT}H{_WIDTH}" stroke="#888888"/>']
    for index, counts in enumerate(moments):
        light = _LIGHTEST * (1 - index / max(1, len(moments) - 1))
        top = max(*counts, 1)
        points = " ".join(
            f"{(bin + 0.5) / bins * _WIDTH:.1f},{_HEIGHT - count / top * (_HEIGHT - 14):.1f}"
            for bin, count in enumerate(counts)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="hsl(208 70% {light:.0f}%)"/>')
    end = bins * bin_width / 2
    for x, label in ((0, f"−{end:g}"), (_WIDTH / 2, title), (_WIDTH, f"{end:g}")):
        parts.append(f'<text x="{x:g}" y="{_HEIGHT + 14}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="0" y="10" font-weight="bold">{name}</text>')
    return "".join(parts)
