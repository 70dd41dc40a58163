"""The streams of a HARDWARE graph: width, depth and storage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.errors import UserError
from toolchain.hls_templates.names import identifiers
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, QInt, Value
from toolchain.units.call import impl
from toolchain.units.limits import MAX_STREAM_BITS
from toolchain.units.order import parallelism, stream_order
from toolchain.units.totals import reader_lanes

SRL_DEPTH = 32
"""A FIFO of at most this depth is built from shift-register LUTs."""


@dataclass(frozen=True)
class Stream:
    """One hardware stream; ``index`` numbers them, ``values`` are the IR values it carries (a Reshape renames)."""

    name: str
    index: int
    values: tuple[str, ...]
    type: QInt
    lanes: int
    depth: int
    size: int
    ultra: bool = False

    @property
    def bits(self) -> int:
        """Width of a word."""
        return self.lanes * self.type.bits

    @property
    def storage(self) -> str:
        """Memory of which the FIFO is built."""
        if self.depth <= SRL_DEPTH:
            return "srl"
        return impl(self.depth, self.bits, ultra=self.ultra)


def streams(graph: Graph) -> dict[str, Stream]:
    """The stream that carries each value, by value name; values that a Reshape renames share one.

    Raises:
        UserError: a stream wider than Vitis HLS accepts.
    """
    source = {name: name for name in graph.values()}
    for node in graph.nodes:
        if node.renames:
            source[node.output.name] = source[node.inputs[0]]
    roots = [name for name, root in source.items() if name == root]
    names = identifiers(roots)
    found: dict[str, Stream] = {}
    for index, root in enumerate(roots):
        carried = tuple(name for name, r in source.items() if r == root)
        value = graph.value(root)
        depth = max(graph.value(name).depth or 2 for name in carried)
        lanes, maker = _lanes(graph, root), graph.producers().get(root)
        ultra = maker is not None and parallelism(maker).ultra
        stream = Stream(names[root], index, carried, value.qint, lanes, depth, value.size, ultra)
        _check_width(graph, stream)
        found |= {name: stream for name in carried}
    return found


def _lanes(graph: Graph, root: str) -> int:
    producer = graph.producers().get(root)
    return parallelism(producer).lanes_out if producer is not None else reader_lanes(graph)


def _check_width(graph: Graph, stream: Stream) -> None:
    producer = graph.producers().get(stream.values[0])
    where = f"node {producer.name}" if producer is not None else f"input {stream.values[0]}"
    if stream.bits > MAX_STREAM_BITS:
        raise UserError(
            f"a stream of {stream.bits} bits, Vitis HLS takes at most {MAX_STREAM_BITS}",
            where=where,
            hint="choose fewer lanes",
        )


def to_ir_order(graph: Graph, name: str, elements: Array) -> Array:
    """Stream contents of whole frames as (N, H, W, C) in the IR's channel order."""
    value: Value = graph.value(name)
    stream = elements.reshape(-1, *value.shape)
    result = np.empty_like(stream)
    result[..., stream_order(graph, name)] = stream
    return result
