"""The lanes every operation can have, and the reduction of a graph to a problem of choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import singledispatch

from toolchain.dse.cost import planned_cost, reader_cost, writer_cost
from toolchain.dse.cycles import cycles, stream_cycles
from toolchain.dse.problem import Decision, Option, Problem, prune
from toolchain.dse.resources import Resources, total
from toolchain.errors import UserError
from toolchain.hls_templates.fabric import packing
from toolchain.ir.graph import Graph
from toolchain.ir.ops import (
    Add,
    ArgMax,
    Depthwise,
    Fork,
    GlobalSum,
    MatVec,
    MulShift,
    Node,
    Pool,
    Reshape,
    Threshold,
    WidthConvert,
    Window,
)
from toolchain.ir.types import Parallelism, QInt, Value

READER, WRITER = "input reader", "output writer"
MAX_STREAM_BITS = 4096  # AMD UG1399: widest stream; the widest ap_uint is 4096 bits by default
MAX_PARTITION = 4096  # limit of Vitis HLS on a complete partition or unroll
AXI_BITS = 128  # word of the memory ports
PACKED_PRODUCTS = False  # whether the matrix-vector unit computes several products a DSP slice
_FOLLOWERS = (Threshold, MulShift, Fork, Reshape)


def divisors(number: int) -> list[int]:
    """Divisors of ``number``, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


@singledispatch
def options(node: Node, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Legal lanes of ``node`` on input ``x``; ``upstream`` are the lanes of the unit before it in its chain, if any.

    Raises:
        TypeError: an operation without options.
    """
    raise TypeError(f"no options for {type(node).__name__}")


@options.register
def _(node: Window, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """One tap of L channels a cycle, or all taps at once."""
    lanes = divisors(x.shape[2])
    serial = [Parallelism(n, n) for n in lanes]
    return serial if node.taps == 1 else serial + [Parallelism(n, n * node.taps) for n in lanes]


@options.register
def _(node: MatVec, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """SIMD is what the window delivers, or any divisor of K; PE any divisor of N."""
    outputs, k = node.weight.shape
    simd = [upstream.lanes_out] if upstream else divisors(k)
    pairs = [(s, pe) for s in simd for pe in divisors(outputs) if s * pe <= MAX_PARTITION]
    return [Parallelism(s, pe, n) for s, pe in pairs for n in _products(node, x, pe)]


@options.register
def _(node: Depthwise, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = _tap_options(len(node.weight), node, upstream)
    return [replace(p, products_per_dsp=n) for p in lanes for n in _products(node, x)]


@options.register
def _(node: Pool, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return _tap_options(node.taps, node, upstream)


def _tap_options(taps: int, node: Node, upstream: Parallelism | None) -> list[Parallelism]:
    """The window decides; without one the stream has the plain order, that of a window with all channels."""
    if upstream:
        return [Parallelism(upstream.lanes_out, upstream.lanes_in)]
    channels = node.output.shape[2]
    return [Parallelism(channels * p, channels) for p in sorted({1, taps})]


@options.register
def _(node: MulShift, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = [upstream.lanes_out] if upstream else divisors(x.shape[2])
    return [Parallelism(p, p, n) for p in lanes if x.shape[2] % p == 0 for n in _products(node, x)]


@options.register(Threshold)
@options.register(Fork)
@options.register(Add)
@options.register(GlobalSum)
def _(node: Node, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = [upstream.lanes_out] if upstream else divisors(x.shape[2])
    return [Parallelism(n, n) for n in lanes if x.shape[2] % n == 0]


@options.register
def _(node: Reshape, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return [Parallelism(n, n) for n in ([upstream.lanes_out] if upstream else divisors(x.size))]


@options.register
def _(node: ArgMax, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return [Parallelism(n, 1) for n in divisors(x.shape[2])]


@options.register
def _(node: WidthConvert, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """None of its own: its neighbours' lanes decide."""
    return []


def multiplier_operands(node: Node, x: Value) -> tuple[QInt, QInt] | None:
    """Types of the two factors of the products that ``node`` chooses a fabric for; None when it has none."""
    if isinstance(node, (MatVec, Depthwise)):
        return node.weight_type, x.qint
    if isinstance(node, MulShift) and (node.mul != 1).any():
        return QInt.holding(int(node.mul.min()), int(node.mul.max())), x.qint
    return None


def _products(node: Node, x: Value, pe: int = 1) -> list[int | None]:
    """How ``node`` can multiply: in LUTs, or with one product or several of ``pe`` outputs a DSP slice.

    A factor of one or two bits only selects or negates the other: LUTs do that with less than a slice's wiring.
    """
    operands = multiplier_operands(node, x)
    if operands is None:
        return [None]
    if min(kind.bits for kind in operands) <= 2:
        return [0]
    packed = packing(*operands) if PACKED_PRODUCTS and isinstance(node, MatVec) else {}
    return [0, 1, *(n for n in packed if pe % n == 0)]


def fits_streams(node: Node, x: Value, lanes: Parallelism) -> bool:
    """Whether the words that ``node`` reads and writes stay within the widest stream."""
    widths = (lanes.lanes_in * x.qint.bits, *(lanes.lanes_out * value.qint.bits for value in node.outputs))
    return max(widths) <= MAX_STREAM_BITS


def boundary_options(value: Value, *, flat: bool) -> list[int]:
    """Lanes of the reader or writer of ``value``: within one memory word; across pixels when it is ``flat`` anyway."""
    lanes = divisors(value.size if flat else value.shape[2])
    return [n for n in lanes if n * value.qint.bits <= AXI_BITS] or [1]


@dataclass
class Chain:
    """Units whose lanes follow from the first one or two of them; ``source`` is the reader for the first chain."""

    name: str
    nodes: list[Node] = field(default_factory=list)


def chains(graph: Graph) -> list[Chain]:
    """The graph's units by decision, the reader's first. Forks must have been inserted.

    Raises:
        UserError: a window is not followed by the unit that reduces it.
    """
    found = [Chain(READER)]
    by_value = {graph.input.name: found[0]}
    for node in graph.nodes:
        before = by_value[node.inputs[0]]
        after_window = bool(before.nodes) and isinstance(before.nodes[-1], Window)
        if after_window and not isinstance(node, (MatVec, Depthwise, Pool)):
            raise UserError(
                f"no unit reduces the window '{before.nodes[-1].name}'",
                where=node.name,
                hint="a window feeds a matrix-vector product, a depthwise filter or a pool",
            )
        if not (isinstance(node, _FOLLOWERS) or after_window):
            before = Chain(node.name)
            found.append(before)
        before.nodes.append(node)
        by_value |= {value.name: before for value in node.outputs}
    return found


def expand(graph: Graph) -> Problem:
    """The choices of ``graph`` (INTEGER level, forks inserted), each pruned to its Pareto set.

    Raises:
        UserError: a unit has no legal lanes, or a window stands alone.
    """
    values = graph.values()
    decisions = [_decision(chain, graph, values) for chain in chains(graph)]
    return Problem((*decisions, _writer(graph, values[graph.output])))


def _decision(chain: Chain, graph: Graph, values: dict[str, Value]) -> Decision:
    costs: dict[tuple[str, Parallelism], tuple[int, Resources]] = {}
    found = []
    for lanes in _assignments(chain, graph, values):
        for node in chain.nodes:
            key = (node.name, lanes[node.name])
            if key not in costs:
                x = values[node.inputs[0]]
                costs[key] = cycles(node, x, key[1]), planned_cost(node, x, key[1])
        parts = [costs[node.name, lanes[node.name]] for node in chain.nodes]
        if chain.name == READER:
            words = lanes[READER].lanes_out
            parts.append((stream_cycles(graph.input, words), reader_cost(graph.input, words)))
        found.append(Option(lanes, max(part[0] for part in parts), total(part[1] for part in parts)))
    if not found:
        units = ", ".join(f"'{node.name}'" for node in chain.nodes)
        raise UserError(f"no legal lanes for {units}", hint=f"streams are at most {MAX_STREAM_BITS} bits wide")
    return Decision(chain.name, prune(found))


def _assignments(chain: Chain, graph: Graph, values: dict[str, Value]) -> Iterator[dict[str, Parallelism]]:
    """Every legal choice of lanes for the units of ``chain``."""
    if chain.name != READER:
        yield from _extend(chain.nodes, {}, {}, values)
        return
    flat = bool(chain.nodes) and isinstance(chain.nodes[0], Reshape)  # its only reader: forks were inserted
    for n in boundary_options(graph.input, flat=flat):
        lanes = Parallelism(n, n)
        yield from _extend(chain.nodes, {READER: lanes}, {graph.input.name: lanes}, values)


def _extend(
    nodes: list[Node],
    chosen: dict[str, Parallelism],
    streams: dict[str, Parallelism],
    values: dict[str, Value],
) -> Iterator[dict[str, Parallelism]]:
    """``chosen`` extended by every legal choice for ``nodes``; ``streams`` holds the lanes of the values so far."""
    if not nodes:
        yield chosen
        return
    node, x = nodes[0], values[nodes[0].inputs[0]]
    for lanes in options(node, x, streams.get(x.name)):
        if fits_streams(node, x, lanes):
            written = {value.name: lanes for value in node.outputs}
            yield from _extend(nodes[1:], chosen | {node.name: lanes}, streams | written, values)


def _writer(graph: Graph, value: Value) -> Decision:
    flat = isinstance(graph.producers().get(graph.output), Reshape)
    found = [
        Option({WRITER: Parallelism(n, n)}, stream_cycles(value, n), writer_cost(value, n))
        for n in boundary_options(value, flat=flat)
    ]
    return Decision(WRITER, prune(found))
