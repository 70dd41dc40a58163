"""The report as one HTML file without scripts and without anything fetched; the markup stands in templates/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, floor, log10
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from toolchain.report import view
from toolchain.report.compare import Comparison
from toolchain.report.data import NodeFacts, Report, Usage

CHART_LIMIT = 40
_FILTERS = ("number", "large", "percent", "plural", "lanes", "float_accuracy")
FAMILIES = {
    "matrix products": ("MatVec", "GroupedMatVec", "RowConv", "MatMul", "convolve"),
    "windows": ("Window", "window"),
    "depthwise products": ("Depthwise",),
    "requantizers and tables": ("Threshold", "MulShift", "Lookup", "Norm", "Softmax", "requantizers and transfers"),
    "pools": ("Pool", "GlobalSum", "GlobalMax", "ArgMax"),
    "sums and products of maps": ("Add", "Multiply"),
    "copies and moves": (
        *("Fork", "WidthConvert", "Concat", "Slice", "Upsample", "DepthToSpace", "SpaceToDepth", "Crop", "Permute"),
        *("Transpose", "Reshape"),
    ),
    "memory ports and banks": ("Read", "Write", "banks"),
    "shell": ("Shell",),
}
"""Operations, and units of the engine by name, that share a colour: that of their family's place, from 1 on."""

ENGINE_PARTS = ("Unit", "Memory")
"""Operations of the nodes of an engine that are hardware, where the others are its passes."""

REST = "not told by unit"
_COLOURS = {member: i for i, members in enumerate(FAMILIES.values(), start=1) for member in members}


@dataclass(frozen=True)
class Meter:
    """A resource bar; ``fill`` and ``mark`` (the budget) in percent of its length."""

    title: str
    usage: Usage
    fill: float
    mark: float
    over: bool


@dataclass(frozen=True)
class Bar:
    """A node's cycles; ``fill`` in percent of the longest bar."""

    node: NodeFacts
    fill: float
    share: float
    worst: bool


@dataclass(frozen=True)
class Segment:
    """A node's part of a resource; ``width`` in percent of all that is used, ``colour`` an index of the palette."""

    label: str
    op: str
    count: int
    width: float
    colour: int


@dataclass(frozen=True)
class Stack:
    """The use of a resource by the nodes: its segments in network order."""

    title: str
    used: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Mark:
    """A frame rate on a logarithmic axis, ``at`` in percent of its length; ``own`` is the design, not a ceiling."""

    title: str
    fps: float
    at: float
    own: bool


@dataclass(frozen=True)
class Roofline:
    """The design and the ceiling of each resource, lowest first; ``ticks`` are the decades of the axis."""

    marks: tuple[Mark, ...]
    ticks: tuple[Mark, ...]


@dataclass(frozen=True)
class FlowStep:
    """A unit in the diagram of the network: ``sources`` are told where it does not read the step before alone."""

    node: NodeFacts
    sources: tuple[str, ...]
    busy: float
    colour: int


def to_html(report: Report) -> str:
    """``report`` as a page of its own."""
    charted = view.slowest(report, CHART_LIMIT)
    stacks = resource_stacks(report)
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        conclusion=view.conclude(report),
        counted=view.counted(report),
        counting=view.counting(report),
        driven=view.driven(report),
        limited_by=view.limited_by(report),
        bound_share=view.bound_share(report),
        compared=view.compared(report),
        meters=resource_meters(report),
        bars=cycle_bars(report, charted),
        stacks=stacks,
        legend=_legend(stacks),
        roofline=roofline(report),
        peaks={kind: max((getattr(n, kind) for n in report.nodes), default=0) for kind in view.RESOURCES},
        resources=view.resources(report),
        worst=None if (slowest := view.bottleneck(report)) is None else slowest.name,
        steps=network_steps(report),
        ranges=[node for node in report.nodes if _tells_ranges(node)],
        working=sum(1 for node in report.nodes if node.cycles),
    )


def comparison_page(found: Comparison) -> str:
    """Two builds side by side as a page of its own."""
    return _environment().get_template("compare.html.j2").render(found=found)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("toolchain.report", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown: dict[str, Any] = {name: getattr(view, name) for name in _FILTERS}
    environment.filters.update(shown)
    environment.globals.update(counts_differ=view.counts_differ)
    return environment


def resource_meters(report: Report) -> tuple[Meter, ...]:
    """One bar a resource over what the device holds, or over what is used where that is more."""
    meters = []
    for kind, usage in report.resources.items():
        scale = 100 / max(usage.available, usage.used, usage.budget, 1)
        over = view.over_budget(usage)
        meters.append(Meter(view.RESOURCES[kind], usage, usage.used * scale, usage.budget * scale, over))
    return tuple(meters)


def cycle_bars(report: Report, nodes: tuple[NodeFacts, ...]) -> tuple[Bar, ...]:
    """Cycles of ``nodes`` that take any, the slowest of all nodes as the full length."""
    worst = view.bottleneck(report)
    most = worst.cycles if worst else 1
    return tuple(
        Bar(node, 100 * node.cycles / most, view.interval_share(report, node), node is worst)
        for node in nodes
        if node.cycles
    )


def network_steps(report: Report) -> tuple[FlowStep, ...]:
    """The units that take cycles, or the passes of an engine, each with its share of the frame interval."""
    nodes = [node for node in report.nodes if node.cycles and node.op not in ENGINE_PARTS]
    befores = [None, *(node.name for node in nodes)]
    return tuple(
        FlowStep(
            node,
            node.inputs if node.inputs and node.inputs != (before,) else (),
            min(1.0, view.interval_share(report, node)),
            _colour(node.name, node.op),
        )
        for node, before in zip(nodes, befores, strict=False)
    )


def resource_stacks(report: Report) -> tuple[Stack, ...]:
    """Every used resource split by node; what no node accounts for is a segment of its own."""
    stacks = []
    for kind, usage in report.resources.items():
        parts = [(node.name, node.op, getattr(node, kind)) for node in report.nodes]
        rest = usage.used - sum(count for _, _, count in parts)
        parts += [(REST, REST, rest)] if rest > 0 else []
        whole = sum(count for _, _, count in parts)
        segments = tuple(Segment(*part, 100 * part[2] / whole, _colour(*part[:2])) for part in parts if part[2])
        if segments:
            stacks.append(Stack(view.RESOURCES[kind], usage.used, segments))
    return tuple(stacks)


def _tells_ranges(node: NodeFacts) -> bool:
    """Tell whether the ranges of a node differ from those of what it reads."""
    values, requantizers = node.values, FAMILIES["requantizers and tables"]
    return values is not None and (node.weights is not None or values.needed < values.bits or node.op in requantizers)


def _colour(name: str, op: str) -> int:
    """Palette index of a unit's family, the same in every report; 0 is the grey of what belongs to none."""
    return _COLOURS.get(op) or _COLOURS.get(name, 0)


def _legend(stacks: tuple[Stack, ...]) -> tuple[tuple[int, str], ...]:
    """Colour and name of the families that occur, the grey one last."""
    seen = {segment.colour for stack in stacks for segment in stack.segments}
    named = tuple((i, family) for i, family in enumerate(FAMILIES, start=1) if i in seen)
    return named + (((0, "other"),) if 0 in seen else ())


def roofline(report: Report) -> Roofline | None:
    """The design's frame rate below the ceilings, or the bound alone; None when one of the rates is zero."""
    rates = report.bound.ceilings or {"upper bound": report.bound.fps}
    own = report.estimate.fps
    if min(own, *rates.values()) <= 0:
        return None
    low, high = floor(log10(min(own, *rates.values()))), ceil(log10(max(own, *rates.values())))
    high = max(high, low + 1)

    def mark(title: str, fps: float, *, own: bool = False) -> Mark:
        return Mark(title, fps, 100 * (log10(fps) - low) / (high - low), own)

    ordered = sorted(rates.items(), key=lambda item: item[1])
    marks = (mark("this design", own, own=True), *(mark(name, fps) for name, fps in ordered))
    return Roofline(marks, tuple(mark("", 10.0**power) for power in range(low, high + 1)))
