"""Cycles that the C simulation counted against those of the model."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.hls_templates.generate import READ, write_units
from toolchain.ir.graph import Graph
from toolchain.units.table import schedule
from toolchain.units.totals import frame_cycles, reader_lanes, stream_cycles, writer_lanes


def model_cycles(graph: Graph) -> dict[str, tuple[int, int]]:
    """By unit of a HARDWARE graph: cycles a frame, and what it takes once a call."""
    values = graph.values()
    found = {READ: (stream_cycles(graph.input, reader_lanes(graph)), 0)}
    for node in graph.nodes:
        if not node.renames:
            once = 0 if node.parallelism is None else schedule(node, values[node.inputs[0]], node.parallelism).prologue
            found[node.name] = (frame_cycles(node, graph), once)
    written = zip(write_units(graph), graph.ends, writer_lanes(graph), strict=True)
    return found | {name: (stream_cycles(value, lanes), 0) for name, value, lanes in written}


def wrong_pace(graph: Graph, counted: Mapping[str, int], frames: int, calls: int) -> str | None:
    """The first unit whose ``counted`` cycles for ``frames`` frames in ``calls`` calls are not the model's, or None."""
    for name, (frame, once) in model_cycles(graph).items():
        expected = frames * frame + calls * once
        if counted[name] != expected:
            return f"unit '{name}' took {counted[name]:,} cycles for {frames} images, the model says {expected:,}"
    return None
