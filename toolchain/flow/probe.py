"""Every intermediate tensor in four executions of one network; the first node that deviates is named.

The four: the QONNX file in float32, the MODEL graph in float64, the integer graph, and the C simulation of a build.
Each node is judged by itself: quantizers get the codes that QONNX computed in front of them, so that a difference shows
where it arises; ``spread`` counts what has differed since the input.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import UserError
from toolchain.files import digest_file
from toolchain.flow.build import load_folder_images, load_hardware
from toolchain.flow.options import Check
from toolchain.flow.records import ModelRecord, read_record
from toolchain.frontend.agreement import Coded, quantizer_codes
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.encode import encode, host_values
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array, Node, Reshape
from toolchain.ir.store import load
from toolchain.memory import Memory, spans
from toolchain.simulate.compare import compared_taps
from toolchain.simulate.csim import CSim, build

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
    taps = [*_model_taps(model, integer, images)]
    if csim is not None:
        taps += _csim_taps(csim, encode(csim.graph, images), memory or Memory())
    return Probe(len(images), tuple(taps))


def probe_build(folder: Path, check: Check) -> Probe:
    """Probe the build in ``folder`` on a few of its verification images, the C simulation with it if it compiles.

    Raises:
        UserError: the build is incomplete, or its QONNX file is gone or has changed.
    """
    record = read_record(ModelRecord, folder / "model.json")
    path = Path(record.file)
    if not path.is_file() or digest_file(path) != record.sha256:
        raise UserError("the QONNX file of the build is gone or has changed", where=str(path), hint="export it again")
    images = load_folder_images(folder, check).x[:FRAMES]
    hardware, _ = load_hardware(folder)
    csim = build(hardware, _project_files(folder), jobs=check.threads)
    return probe(read_qonnx(path), load(folder), images, csim, check.memory)


def _project_files(folder: Path) -> dict[str, str]:
    project = folder / "hls"
    return {str(p.relative_to(project)): p.read_text() for p in sorted(project.rglob("*")) if p.is_file()}


def _model_taps(model: ModelFile, integer: Graph, images: Array) -> list[Tap]:
    """Taps of the MODEL graph's nodes against the QONNX file and the integer graph."""
    graph = model.graph
    onnx_names: dict[str, str] = {}
    for onnx_name, value in model.values.items():
        onnx_names.setdefault(value, onnx_name)
    names = {node.name: onnx_names[node.output.name] for node in graph.nodes if node.output.name in onnx_names}
    reals = host_values(integer, images)
    theirs = execute_qonnx(model.path, model.layout.from_ir(reals), taps=list(dict.fromkeys(names.values())))
    float32 = {node: model.to_ir(name, theirs[name]) for node, name in names.items()}
    quantizers = [node for node in graph.nodes if isinstance(node, Coded) and node.name in float32]
    given = {node.output.name: float32[node.name].astype(np.float64) for node in quantizers}
    float64 = evaluate(graph, reals.astype(np.float64), taps=[n.output.name for n in graph.nodes], given=given)
    codes = {node.output.name: quantizer_codes(node, float32[node.name]) for node in quantizers}
    inputs, values = encode(integer, images), integer.values()
    present = [name for name in codes if name in values]
    forced = {integer.input.name: inputs} | {name: codes[name] for name in present}
    alone = evaluate(integer, inputs, taps=present, given=forced)
    whole = evaluate(integer, inputs, taps=present)
    found = []
    for node in graph.nodes:
        name = node.output.name
        counts: dict[str, int] = {}
        if name in codes:
            ours, spread = (alone[name], whole[name]) if name in present else (inputs, inputs)
            counts = {"codes": _differ(ours, codes[name]), "spread": _differ(spread, codes[name])}
        error = None
        if node.name in float32 and name not in codes:
            error = _relative(float32[node.name], float64[name])
        found.append(_tap(node, len(images), error=error, **counts))
    return found


def _csim_taps(csim: CSim, codes: Array, memory: Memory) -> list[Tap]:
    """Taps of the hardware graph's streams against the evaluator, frame after frame."""
    wrong = Counter[str]()
    for frame in spans(len(codes), 1):
        for tap, expected in compared_taps(csim, codes[frame], memory):
            wrong[tap.value] += _differ(tap.elements, expected)
    nodes = [node for node in csim.graph.nodes if not isinstance(node, Reshape)]
    return [_tap(node, len(codes), csim=sum(wrong[v.name] for v in node.outputs)) for node in nodes]


def _tap(node: Node, images: int, error: float | None = None, **counts: int) -> Tap:
    elements = images * sum(value.size for value in node.outputs)
    return Tap(node.name, type(node).__name__, node.origin, elements, error, **counts)


def _differ(a: Array, b: Array) -> int:
    return int(np.count_nonzero(a != b))


def _relative(float32: Array, float64: Array) -> float:
    """The largest difference, relative to the largest element; infinity where only one is finite."""
    if not np.array_equal(np.isfinite(float32), np.isfinite(float64)):
        return float("inf")
    size = float(np.abs(float64).max(initial=0.0))
    worst = float(np.abs(float32 - float64).max(initial=0.0))
    return worst / size if size else worst
