"""Accuracy over frame rate of the ResNets that were quantized or pruned from long float trainings, and their front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmarks.recorder import Row
from benchmarks.schemas import CLAIMS
from toolchain.dse.problem import pareto
from toolchain.train.figures import svg

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "front.svg"
LEAST_EPOCHS = 10
SERIES = {
    "ResNet-20, quantized": ("quantize", "resnet20", "#1f77b4"),
    "ResNet-8, quantized": ("quantize", "resnet8", "#ff7f0e"),
    "ResNet-8, pruned, W4A4": ("prune", "resnet8", "#2ca02c"),
}


class Trained(NamedTuple):
    """A network on the board: frames a second, top-1 in percent (the mean over its seeds), and how it was made."""

    fps: float
    top1: float
    series: str
    label: str


def trained() -> list[Trained]:
    """The networks of `CLAIMS` that were planned for the board, after ten epochs of training or more."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in CLAIMS.rows():
        if "parent" in row and "top1" in row and row["epochs"] >= LEAST_EPOCHS:
            key = tuple(str(row[name]) for name in ("part", "model", "parent", "method", "bits", "budget", "epochs"))
            found.setdefault(key, []).append(row)
    points = []
    for name, (part, model, _) in SERIES.items():
        for rows in found.values():
            first = min(rows, key=lambda row: row["seed"])
            if (first["part"], first["model"]) == (part, model) and "fps" in first:
                top1 = 100 * mean(row["top1"] for row in rows)
                share = first["budget"].removesuffix(" MACs")
                label = f"{first['method'].partition(',')[0]}, {share}" if share else first["bits"]
                points.append(Trained(first["fps"], top1, name, label))
    return points


def front(points: Sequence[Trained]) -> list[Trained]:
    """The points that no other one beats in accuracy at their rate or a higher one, the fastest first."""
    best = pareto([(-round(point.fps), -round(1000 * point.top1)) for point in points])
    return sorted((points[index] for index in best), reverse=True)


def front_svg() -> str:
    """All networks as dots, the front as stairs, its points named by their bits or by method and share of the MACs."""
    points = trained()
    best = front(points)
    figure = Figure((8.2, 4.4), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="frames a second on zu3eg, 250 MHz", ylabel="top-1 %, CIFAR-10")
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    axes.step([p.fps for p in best], [p.top1 for p in best], where="post", color="#9aa2ad", linewidth=1)
    for name, (*_, colour) in SERIES.items():
        fps, top1 = zip(*((p.fps, p.top1) for p in points if p.series == name), strict=True)
        axes.scatter(fps, top1, s=16, color=colour, alpha=0.6, linewidths=0, label=name)
    for at in best:
        colour = SERIES[at.series][-1]
        axes.annotate(at.label, (at.fps, at.top1), (4, 4), textcoords="offset points", fontsize=8, color=colour)
    axes.set_xlim(right=1.5 * best[0].fps)
    axes.legend(frameon=False, loc="lower left")
    return svg(figure)
