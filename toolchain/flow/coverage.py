"""Verdicts on the nodes of an ONNX file, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain.errors import UserError
from toolchain.flow.first import host_input, shapes_of
from toolchain.flow.inputs import choose
from toolchain.frontend.folding import fold
from toolchain.frontend.front_part import behind, starts_behind
from toolchain.frontend.host_part import PRODUCTS, behind_layers, ending_at, frontier
from toolchain.frontend.layout import Layout, Tensor
from toolchain.frontend.metadata import encoding_of
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode, checked, load_onnx
from toolchain.frontend.read import ModelFile, input_layout, read_file, read_node, whole_graph
from toolchain.frontend.reader import Reader
from toolchain.ir.graph import Graph
from toolchain.ir.types import Encoding, InputType
from toolchain.lowering.lower import PIXELS, refusals

FRONT, BEHIND = "in front of the first quantizer", "behind the last layer"
"""The places of the nodes that are left to the host."""
SUPPORTED, FOLDED, REFUSED, UNKNOWN, HOST = "supported", "folded", "refused", "unknown", "host"
_SHAPE_KEEPING = """
Abs Add Ceil Celu Clip Cos Div Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish HardTanh Identity LeakyRelu Log
LogSoftmax Max Min Mish Mul Neg PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Sub
Tanh ThresholdedRelu
"""
SHAPE_KEEPING = frozenset(_SHAPE_KEEPING.split())
"""Behind a refused operation of these, or a quantizer, the check goes on with its input in place of its output."""


@dataclass(frozen=True)
class NodeStatus:
    """One ONNX node: built by itself, folded into others, left to the host, refused, or not judged."""

    name: str
    op: str
    status: str
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Coverage:
    """Every node of ``file`` in execution order; ``notes`` tell what is left out or assumed.

    ``first`` is the refused node that the export names: reading comes before lowering.
    """

    file: str
    nodes: tuple[NodeStatus, ...]
    notes: tuple[str, ...]
    first: NodeStatus | None = None

    @property
    def supported(self) -> bool:
        """Whether the file can be exported as it is."""
        return all(node.status in (SUPPORTED, FOLDED, HOST) for node in self.nodes)

    @property
    def verdict(self) -> str:
        """One line."""
        count = {status: sum(n.status == status for n in self.nodes) for status in (FOLDED, REFUSED, UNKNOWN, HOST)}
        if self.first is None:
            built, host = len(self.nodes) - count[HOST], count[HOST]
            first = sum(n.reason == FRONT for n in self.nodes)
            parts = [f"the {end} {n}" for end, n in (("first", first), ("last", host - first)) if n]
            rest = f"; {' and '.join(parts)} are left to the host" if host else ""
            return f"{self.file}: all {built} nodes can be built, {count[FOLDED]} of them folded{rest}"
        unknown = f" and {count[UNKNOWN]} behind them not judged" if count[UNKNOWN] else ""
        return (
            f"{self.file}: {count[REFUSED]} of {len(self.nodes)} nodes refused{unknown}; "
            f"first '{self.first.name}' ({self.first.op}): {self.first.reason}"
        )


def check(path: Path, given: InputType | None = None) -> Coverage:
    """Judge every node of the ONNX file ``path``, whose input is ``given`` where the file does not tell it.

    Nodes in front of the first quantizers and behind the last layer that only the host can run are told as its.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    file = load_onnx(path)
    try:
        found = judge(file, given)
        part = None if found.supported else mapped_part(file, given)
        if part is None:
            return found
    except UserError:
        if (part := mapped_part(file, given)) is None:
            raise
    ended = ending_at(part.file, part.outputs or part.file.outputs)
    kept = judge(ended, part.given)
    judged = {node.outputs: found for node, found in zip(ended.nodes, kept.nodes, strict=True)}
    behind_first = {node.outputs for node in part.file.nodes}
    whole = []
    for node in file.nodes:
        where = BEHIND if node.outputs in behind_first else FRONT
        found_here = judged.get(node.outputs, NodeStatus("", node.op, HOST, where))
        whole.append(replace(found_here, name=node.name))
    return replace(kept, nodes=tuple(whole))


@dataclass(frozen=True)
class Part:
    """The part of a file that the accelerator computes: ``file`` begins at its tensors ``starts`` of shapes (1, ...).

    It ends at ``outputs``, empty for those of the file. ``given`` is the type of its input, where the user states it.
    """

    file: OnnxFile
    starts: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    given: InputType | None


def mapped_part(whole: OnnxFile, given: InputType | None = None) -> Part | None:
    """``whole`` without the operations in front and behind that only the host can run.

    None where nothing has to be left out, or where more would be needed than that.
    """
    file, stated, starts = whole, given, {}
    while (refused := _refused_in_front(file, given)) is not None:
        names = starts_behind(file, *refused)
        known = {name for node in whole.nodes for name in node.outputs}
        shapes = shapes_of(whole, names) if names and set(names) <= known else None
        if shapes is None:
            return None
        starts, given = dict(shapes), None
        file = checked(whole.path, behind(whole, starts), whole.sha256)
    if starts:
        try:
            host_input(whole, stated)
            if judge(file).supported:
                return Part(file, starts, (), None)
        except UserError:
            pass
    outputs = mapped_outputs(file, given)
    return Part(file, starts, outputs, given) if outputs else None


def mapped_file(path: Path, given: InputType | None = None) -> tuple[ModelFile, InputType | None]:
    """What of the file ``path`` the accelerator computes, as read, and what its input is stated to hold.

    Raises:
        UserError: it cannot be read, or be built.
    """
    file = load_onnx(path)
    try:
        part = None if judge(file, given).supported else mapped_part(file, given)
    except UserError:
        part = mapped_part(file, given)
    return (read_file(file), given) if part is None else (read_file(part.file, part.outputs), part.given)


def _refused_in_front(file: OnnxFile, given: InputType | None) -> tuple[set[str], set[str]] | None:
    """What refused nodes make that do not stand behind the last layer, and what built ones make; None without those."""
    try:
        pairs = list(zip(judge(file, given).nodes, file.nodes, strict=True))
    except UserError:
        return None
    tail = behind_layers(file)
    made = {
        status: {name for found, node in pairs if found.status == status for name in node.outputs if name}
        for status in (REFUSED, SUPPORTED)
    }
    front = made[REFUSED] - tail
    return (front, made[SUPPORTED]) if front else None


def mapped_outputs(file: OnnxFile, given: InputType | None = None) -> tuple[str, ...]:
    """The tensors at which the accelerator ends where it cannot compute what stands behind the last layer of ``file``.

    Empty where all is its, or where it cannot compute something else.
    """
    tail, outputs = behind_layers(file), file.outputs
    host: set[str] = set()
    while True:
        part = ending_at(file, outputs)
        try:
            pairs = zip(judge(part, given).nodes, part.nodes, strict=True)
            bad = {name for found, node in pairs if found.status in (REFUSED, UNKNOWN) for name in node.outputs if name}
        except UserError:  # it cannot put out one of them
            bad = {name for node in part.nodes if set(node.outputs) & set(outputs) & tail for name in node.outputs}
            if not bad:
                return ()
        if not bad:
            worth = outputs != file.outputs and any(node.op in PRODUCTS for node in part.nodes)
            return outputs if worth else ()
        host |= bad
        if not bad <= tail or not (outputs := frontier(file, host)):
            return ()


def judge(file: OnnxFile, given: InputType | None = None) -> Coverage:
    """Judge every node of ``file`` as one of the accelerator.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    reader = Reader(file)
    layout = input_layout(reader)
    value = reader.start(layout)
    nodes: list[NodeStatus] = []
    makers: dict[str, int] = {}  # index of the ONNX node that each IR node stems from
    places: dict[str, int] = {}  # and of the last one of each name: codes become a node where they are first moved
    for node in file.nodes:
        before = len(reader.nodes)
        nodes.append(_read(reader, node))
        places[node.own_name] = at = len(nodes) - 1
        for made in reader.nodes[before:]:
            makers[made.name] = at if node.own_name in made.origin else places.get(made.origin[-1], at)
    first = next((node for node in nodes if node.status == REFUSED), None)
    graph = Graph("part", value, tuple(reader.nodes), ()) if first else whole_graph(reader, value)[0]
    for made in graph.nodes:  # outputs may take nodes more
        makers.setdefault(made.name, places.get(made.origin[-1], len(nodes) - 1))
    encoding, notes = _encoding(file, layout, graph, given, whole=first is None)
    for name, fault in refusals(graph, encoding).items():
        index = makers[name]
        old = nodes[index]
        if old.status != REFUSED:
            nodes[index] = NodeStatus(old.name, old.op, REFUSED, fault.what, fault.hint)
            first = first or nodes[index]
    return Coverage(file.path.name, tuple(nodes), (*reader.notes, *notes), first)


def _encoding(
    file: OnnxFile, layout: Layout, graph: Graph, given: InputType | None, *, whole: bool
) -> tuple[Encoding, list[str]]:
    """The type of the input; where a node is refused, so that ``graph`` is not ``whole``, that comes first."""
    fixed = file.integer is not None
    try:
        return choose(encoding_of(file, layout, graph), file.datatypes.get(file.input, ""), graph, given, fixed=fixed)
    except UserError:
        if whole:
            raise
        return PIXELS, []


def _read(reader: Reader, node: OnnxNode) -> NodeStatus:
    """Read one node; behind a refused one the reading goes on where the shape is known."""
    try:
        if fold(reader.constants, node):
            return NodeStatus(node.name, node.op, FOLDED, "a constant")
        behind = [name for name in node.inputs if name and not _known(reader, name)]
        if behind:
            return NodeStatus(node.name, node.op, UNKNOWN, f"reads '{behind[0]}', which a refused node computes")
        before = len(reader.nodes)
        read_node(reader, node)
    except UserError as error:
        _go_on(reader, node)
        return NodeStatus(node.name, node.op, REFUSED, error.what, error.hint)
    if len(reader.nodes) > before:
        return NodeStatus(node.name, node.op, SUPPORTED)
    return NodeStatus(node.name, node.op, FOLDED, "into its neighbours")


def _known(reader: Reader, name: str) -> bool:
    return any(
        name in table
        for table in (reader.tensors, reader.constants, reader.padded, reader.codes, reader.integers, reader.moved)
    )


def _go_on(reader: Reader, node: OnnxNode) -> None:
    """Let the input stand in for the output of a refused node that keeps the shape."""
    sources: list[Tensor] = [reader.tensors[name] for name in node.inputs if name in reader.tensors]
    if sources and (node.op in SHAPE_KEEPING or node.is_quant):
        reader.alias(node, sources[0])
