"""Figures of a run as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

_COLUMNS = 4
_LIGHTEST = 0.2  # place in the colour map of the first curve; the last one is darkest


def svg(figure: Figure) -> str:
    """``figure`` with its texts as text; the same bytes whenever it is drawn."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fpgaflow"}):
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def histograms_svg(panels: Mapping[str, Sequence[Sequence[int]]], title: str, bin_width: float) -> str:
    """A panel for each entry of ``panels`` with one curve a moment, the later the darker.

    Args:
        panels: by name, the counts (moments, bins); the bins lie evenly about 0.
        title: of the horizontal axis.
        bin_width: of a bin, in the axis' unit.
    """
    columns, rows = min(len(panels), _COLUMNS), -(-len(panels) // _COLUMNS)
    figure = Figure((2.6 * columns, 1.7 * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns))
    for axis, (name, moments) in zip(axes, panels.items(), strict=False):
        bins = len(moments[0])
        places = (np.arange(bins) + 0.5 - bins / 2) * bin_width
        axis.set_prop_cycle(color=_shades(len(moments)))
        for index, counts in enumerate(moments):
            axis.plot(places, np.divide(counts, max(*counts, 1)), linewidth=1, gid=f"{name}-{index}")
        axis.set_title(name, loc="left", fontsize="small", fontweight="bold")
        axis.set_xlabel(title, fontsize="x-small")
        axis.tick_params(labelsize="x-small")
        axis.set_yticks([])
    for axis in axes[len(panels) :]:
        axis.remove()
    return svg(figure)


def _shades(count: int) -> list[tuple[float, ...]]:
    """``count`` blues, the lightest first."""
    return [colormaps["Blues"](shade) for shade in np.linspace(_LIGHTEST, 1, count)]
