"""The figures of the benchmarks, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toolchain.train.figures import svg

TAB10 = [colormaps["tab10"](number) for number in range(10)]

BAND = 1.25  # shaded around the diagonal of a scatter plot


class Point(NamedTuple):
    """One configuration."""

    x: float
    y: float
    series: str


def lines_svg(series: Mapping[str, Sequence[tuple[float, float, float]]], x_title: str, y_title: str) -> str:
    """One line a series of (x, y, error of y), a tick at every x, and a legend to the right."""
    figure, axes = _axes((6.8, 3.9), x_title, y_title)
    for name, points in series.items():
        xs, ys, errors = zip(*sorted(points), strict=True)
        axes.errorbar(xs, ys, errors, marker="o", markersize=4, capsize=3, linewidth=1.3, label=name)
    axes.set_xticks(sorted({x for points in series.values() for x, *_ in points}))
    figure.legend(loc="outside right upper", frameon=False)
    return svg(figure)


class Panel(NamedTuple):
    """A diagram of ``series`` of (x, y) by name, over ``x_title``."""

    x_title: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def points_svg(panels: Sequence[Panel], y_title: str) -> str:
    """Panels one below the other, y over logarithms; the first series, what the others are compared with, is grey."""
    figure = Figure((7.4, 2.9 * len(panels)), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, number, xlabel=panel.x_title, ylabel=y_title, yscale="log")
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
        for (name, points), colour in zip(panel.series.items(), ("#9aa2ad", *TAB10), strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, marker=".", markersize=4, linewidth=1, label=name)
        axes.margins(x=0.01)
        if number == 1:
            axes.legend(frameon=False)
    return svg(figure)


def scatter_svg(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """A plot over logarithms, with the diagonal and a band of 25 % around it; one colour a series."""
    figure, axes = _axes((6.3, 6.3), x_title, y_title)
    values = [value for point in points for value in (point.x, point.y)]
    ends = min(values) / 2, max(values) * 2
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.fill_between(ends, [end / BAND for end in ends], [end * BAND for end in ends], color="#88888826", linewidth=0)
    axes.plot(ends, ends, color="#444444", linewidth=1)
    names = [point.series for point in points]
    for name in sorted(set(names), key=lambda name: -names.count(name)):
        xs, ys = zip(*((point.x, point.y) for point in points if point.series == name), strict=True)
        axes.scatter(xs, ys, s=14, alpha=0.6, linewidths=0, label=f"{name} ({len(xs)})")
    axes.legend(frameon=False)
    return svg(figure)


def _axes(inches: tuple[float, float], x_title: str, y_title: str) -> tuple[Figure, Axes]:
    """An empty diagram with titles and a light grid."""
    figure = Figure(inches, layout="constrained")
    axes = figure.add_subplot(xlabel=x_title, ylabel=y_title)
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    return figure, axes


def bars_svg(title: str, designs: Sequence[str], metrics: Mapping[str, Sequence[tuple[float, str]]]) -> str:
    """A group of bars a metric, a bar a design; each metric has its own scale, from zero to its largest value.

    Args:
        title: above all.
        designs: names in the legend; the first is what the others are compared with, and grey.
        metrics: by heading, for every design its value and the text beside the bar.
    """
    figure = Figure((6.8, 0.5 + 0.24 * (len(designs) + 0.7) * len(metrics)), layout="constrained")
    axes = figure.add_subplot()
    colours = ("#b8bec6", *TAB10)
    for index, (name, colour) in enumerate(zip(designs, colours, strict=False)):
        values = [found[index] for found in metrics.values()]
        shares = [found[index][0] / (max(found)[0] or 1) for found in metrics.values()]
        places = [group * (len(designs) + 0.7) + index for group in range(len(metrics))]
        bars = axes.barh(places, shares, height=0.86, color=colour, label=name)
        axes.bar_label(bars, [text for _, text in values], padding=4, fontsize="small")
    middle = (len(designs) - 1) / 2
    axes.set_yticks([group * (len(designs) + 0.7) + middle for group in range(len(metrics))], list(metrics))
    axes.set(xticks=[], xlim=(0, 1.18))
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontweight="bold")
    figure.legend(loc="outside lower left", ncols=len(designs), frameon=False)
    return svg(figure)
