"""Every intermediate tensor in four executions of one network; the first node that deviates is named.

The four: the QONNX file in float32, the MODEL graph in float64, the integer graph, and the C simulation of a build.
Each node is judged by itself: quantizers get the codes that QONNX computed in front of them, so that a difference shows
where it arises; ``spread`` counts what has differed since the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from math import isfinite, prod

import numpy as np

from toolchain.flow.build import Build
from toolchain.flow.options import Check
from toolchain.flow.progress import silent
from toolchain.flow.streaming import Streaming
from toolchain.frontend.agreement import Coded, quantized_sources, quantizer_codes
from toolchain.frontend.execute import execute_in_parts
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import ModelFile
from toolchain.ir.blocks import magnitude, narrowest
from toolchain.ir.encode import encode, host_values
from toolchain.ir.evaluate import values
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array
from toolchain.memory import DEFAULT_MEMORY, Memory, spans
from toolchain.simulate.compare import TAP_SHARE, compared_taps
from toolchain.simulate.csim import CSim

FRAMES = 4
FLOAT32_NOISE = 1e-3
"""A float32 tensor further from float64 than this, relative to its largest element, is no rounding: sums of a few
thousand products stay a hundred times below."""


@dataclass(frozen=True)
class Tap:
    """One node. ``error`` is the largest difference between float32 and float64, relative to the largest element.

    ``codes`` counts quantizer codes that differ from QONNX by themselves, ``spread`` all that differ, ``csim`` elements
    of the C simulation's stream that are not the integer graph's; None where the node has no such value.
    """

    node: str
    op: str
    origin: tuple[str, ...]
    elements: int
    error: float | None = None
    codes: int | None = None
    spread: int | None = None
    csim: int | None = None

    @property
    def deviates(self) -> bool:
        """Whether anything but float32 rounding differs here."""
        return bool(self.codes) or bool(self.csim) or (self.error is not None and not self.error <= FLOAT32_NOISE)


@dataclass(frozen=True)
class Probe:
    """All nodes, those of the MODEL graph first; ``images`` frames were run."""

    images: int
    taps: tuple[Tap, ...]

    @property
    def first(self) -> Tap | None:
        """The first node that deviates."""
        return next((tap for tap in self.taps if tap.deviates), None)

    @property
    def verdict(self) -> str:
        """One line."""
        if self.first is None:
            return f"no node deviates on {self.images} images"
        origin = f" (ONNX {', '.join(self.first.origin)})" if self.first.origin else ""
        return f"first node that deviates: {self.first.node}{origin}"


def probe(
    model: ModelFile, integer: Graph, images: Array, csim: CSim | None = None, memory: Memory | None = None
) -> Probe:
    """Run ``images`` (N, H, W, C), uint8 pixels or real values, through all executions; meant for a few frames."""
    memory = memory or DEFAULT_MEMORY
    taps = [*_model_taps(model, integer, images, memory)]
    if csim is not None:
        taps += _csim_taps(csim, encode(csim.graph, images), memory)
    return Probe(len(images), tuple(taps))


def probe_build(build: Build, check: Check) -> Probe:
    """Probe ``build`` on a few of its verification images, with the C simulation of a streaming project.

    Raises:
        UserError: the build is incomplete, or its QONNX file is gone or has changed.
    """
    model, design = build.demand_source(), build.design
    images = build.images(check).x[:FRAMES]
    csim = None
    if isinstance(design, Streaming):
        csim = design.csim(build.project.files, check, frames=len(images), progress=silent)
    return probe(model, build.network.graph, images, csim, check.memory)


def _model_taps(model: ModelFile, integer: Graph, images: Array, memory: Memory) -> list[Tap]:
    """Taps of the MODEL graph's nodes against the QONNX file and the integer graph."""
    tallies = {node.name: _Tally() for node in model.graph.nodes}
    executed = {name for node in load_onnx(model.path).executed for name in node.outputs}
    for frame in spans(len(images), 1):
        _compare_frame(model, integer, images[frame], memory, tallies, executed)
    found = []
    for node in model.graph.nodes:
        tally = tallies[node.name]
        counts = {"codes": tally.codes, "spread": tally.spread} if tally.coded else {}
        found.append(_tap(node, len(images), error=tally.error, **counts))
    return found


@dataclass
class _Tally:
    """The differences at a node over all frames; ``largest`` and ``furthest`` are of its real values."""

    coded: bool = False
    codes: int = 0
    spread: int = 0
    real: bool = False
    largest: float = 0.0
    furthest: float = 0.0

    @property
    def error(self) -> float | None:
        """The largest difference, relative to the largest element."""
        if not self.real:
            return None
        return self.furthest / self.largest if self.largest and isfinite(self.furthest) else self.furthest

    def add_reals(self, float32: Array, float64: Array) -> None:
        """Compare two executions; where only one is finite they are infinitely far apart."""
        self.real = True
        if not np.array_equal(np.isfinite(float32), np.isfinite(float64)):
            self.furthest = float("inf")
            return
        self.largest = max(self.largest, float(np.abs(float64).max(initial=0.0)))
        self.furthest = max(self.furthest, float(np.abs(float32 - float64).max(initial=0.0)))


class _Pulled:
    """Values of an iterator by name; those that come before the one asked for are kept."""

    def __init__(self, source: Iterator[tuple[str, Array]]) -> None:
        self._source = source
        self._early: dict[str, Array] = {}

    def take(self, name: str) -> Array:
        """The value called ``name``, once."""
        while name not in self._early:
            found, value = next(self._source)
            self._early[found] = value
        return self._early.pop(name)


def _compare_frame(
    model: ModelFile, integer: Graph, image: Array, memory: Memory, tallies: dict[str, _Tally], executed: Set[str]
) -> None:
    """Run one ``image`` (1, H, W, C) through all graphs at once, node after node, and add to the ``tallies``.

    Of the QONNX file's tensors those in ``executed`` are computed: operators on codes give no real numbers.
    """
    graph = model.graph
    onnx_names: dict[str, str] = {}
    for onnx_name, value in model.values.items():
        onnx_names.setdefault(value, onnx_name)
    producers = graph.producers()
    names = {name: onnx_names[name] for name in producers if onnx_names.get(name) in executed}
    sizes = {name: prod(model.layouts[name].shape) for name in names.values()}
    reals, inputs = host_values(integer, image), encode(integer, image)
    pixels = model.layout.from_ir(reals)
    parts = execute_in_parts(model.path, 1, lambda part: pixels[part], sizes, batch=1, room=memory.room // TAP_SHARE)
    _, tensors = next(parts)
    theirs = _Pulled(tensors)
    coded = {name for name in names if isinstance(producers[name], Coded)}
    present = coded & integer.values().keys()
    whole = _Pulled(values(integer, inputs, present))
    last_reader = {name: node.output.name for node in graph.nodes for name in node.inputs}
    given: dict[str, Array] = {}  # grows while the graph runs: quantizers go on with what QONNX computed
    forced = {integer.input.name: inputs}
    sources = quantized_sources(model, integer)
    waiting = Counter(source for read in sources.values() for source in read)
    for name, float64 in values(graph, reals.astype(np.float64), producers.keys(), given):
        tally = tallies[producers[name].name]
        if name in names:
            float32 = model.to_ir(names[name], theirs.take(names[name]))
            node = producers[name]
            if isinstance(node, Coded):
                codes = quantizer_codes(node, float32)
                ours = spread = inputs
                if name in present:
                    ((_, ours),) = values(integer, inputs, {name}, forced)
                    spread = whole.take(name)
                tally.coded = True
                tally.codes += _differ(ours, codes)
                tally.spread += _differ(spread, codes)
                given[name] = float32.astype(np.float64)
                if name in present and waiting[name]:
                    forced[name] = codes.astype(narrowest(magnitude(codes)))
                waiting.subtract(sources[node.name])
                for source in sources[node.name]:
                    if not waiting[source]:
                        forced.pop(source, None)
            else:
                tally.add_reals(float32, float64)
        for source in producers[name].inputs:
            if last_reader[source] == name:
                given.pop(source, None)


def _csim_taps(csim: CSim, codes: Array, memory: Memory) -> list[Tap]:
    """Taps of the hardware graph's streams against the evaluator, frame after frame."""
    wrong = Counter[str]()
    for frame in spans(len(codes), 1):
        for tap, expected in compared_taps(csim, codes[frame], memory):
            wrong[tap.value] += _differ(tap.elements, expected)
    nodes = [node for node in csim.graph.nodes if not node.renames]
    return [_tap(node, len(codes), csim=sum(wrong[v.name] for v in node.outputs)) for node in nodes]


def _tap(node: Node, images: int, error: float | None = None, **counts: int) -> Tap:
    elements = images * sum(value.size for value in node.outputs)
    return Tap(node.name, type(node).__name__, node.origin, elements, error, **counts)


def _differ(a: Array, b: Array) -> int:
    return int(np.count_nonzero(a != b))
