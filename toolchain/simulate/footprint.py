"""Memory of a run of the C simulation, and the rows of a stream that can be compared at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.hls_templates.streams import Stream, streams
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.simulate.ports import element_dtype
from toolchain.units.order import stream_order

WORD_BYTES = 16
"""Bytes of a memory word."""

CODE_BYTES = 8
"""Bytes of a code as the host keeps it, and as it is recorded."""


def call_bytes(graph: Graph) -> int:
    """The most bytes of streams and memory words that a frame takes: units run one after the other.

    A unit's outputs hold a whole frame when it is done; a stream is given back when it is read empty.
    """
    carried = streams(graph)
    size = {name: stream.size * element_dtype(stream.type).itemsize for name, stream in carried.items()}
    root = {name: stream.values[0] for name, stream in carried.items()}
    ends = (graph.input, *graph.ends)
    words = sum(3 * WORD_BYTES * -(-value.size * value.qint.bits // (8 * WORD_BYTES)) for value in ends)
    live = {root[graph.input.name]: size[graph.input.name]}
    peak = sum(live.values())
    for node in graph.nodes:
        if node.renames:
            continue
        live |= {root[value.name]: size[value.name] for value in node.outputs}
        peak = max(peak, sum(live.values()))
        for name in node.inputs:
            live.pop(root[name], None)
    return peak + words + CODE_BYTES * sum(value.size for value in ends)


@dataclass(frozen=True)
class Rows:
    """The ``rows`` of a frame of ``value``, of shape ``shape``, that are recorded together on its ``stream``."""

    value: str
    stream: Stream
    shape: tuple[int, int, int]
    rows: slice

    @property
    def words(self) -> tuple[int, int]:
        """The first of their words on the stream, and the one behind the last."""
        row = prod(self.shape[1:]) // self.stream.lanes
        return self.rows.start * row, self.rows.stop * row

    def in_ir_order(self, graph: Graph, elements: Array) -> Array:
        """The ``elements`` of these rows as (1, rows, W, C), in the IR's order of channels."""
        carried = elements.reshape(1, self.rows.stop - self.rows.start, *self.shape[1:])
        result = np.empty_like(carried)
        result[..., stream_order(graph, self.value)] = carried
        return result


def rows_that_fit(graph: Graph, room: int) -> Iterator[list[Rows]]:
    """All rows of all streams, in the graph's order, in groups that take ``room`` bytes, recorded and copied twice."""
    group: list[Rows] = []
    left = room
    for name, stream in streams(graph).items():
        if name != stream.values[0]:
            continue
        shape = graph.value(name).shape
        row_bytes = 3 * CODE_BYTES * prod(shape[1:])
        start = 0
        while start < shape[0]:
            count = min(shape[0] - start, left // row_bytes)
            if count <= 0 and group:
                yield group
                group, left = [], room
                continue
            count = max(count, 1)
            group.append(Rows(name, stream, shape, slice(start, start + count)))
            start += count
            left -= count * row_bytes
    if group:
        yield group
