"""Layout of frames in an engine's memory image, as network.json tells the driver."""

from __future__ import annotations

from typing import Any

from toolchain.deploy.facts import Ends
from toolchain.engine.hosts import answer_names, first_window
from toolchain.engine.layers import Pass
from toolchain.engine.shape import SUM_BITS
from toolchain.engine.tables import Located, Program
from toolchain.flow.engine import MEMORY
from toolchain.ir.graph import Graph


def engine_ends(graph: Graph, found: Program) -> Ends:
    """The first pass's source and the answers in the image of ``found``."""
    first, passes = found.cut.passes[0], found.cut.read
    source, results = found.maps[first.source], [found.maps[p.result] for p in passes]
    addresses = [result.address for result in results]
    image = {"file": MEMORY, "words": len(found.memory), "input": source.address, "outputs": addresses}
    window = _window(graph, found) if found.cut.folded else None
    given = {"zero": found.zero(graph.input.name), "window": window, "sums": None}
    answers = tuple(_end(found, result, _answer(graph, found, p)) for p, result in zip(passes, results, strict=True))
    return Ends(answer_names(graph), _end(found, source, given), answers, image, found.passes)


def _answer(graph: Graph, found: Program, p: Pass) -> dict[str, Any]:
    """Return how the driver makes codes (H, W, C) of ``shape`` from the result of ``p``."""
    facts = {"zero": 0, "sums": _sums(found, p)} if p.raw else {"zero": found.zero(p.stored), "sums": None}
    return {**facts, "shape": list(p.out)}


def _end(found: Program, located: Located, facts: dict[str, Any]) -> dict[str, Any]:
    """A map: whole words of lanes at every position, codes one by one."""
    rows, columns = located.shape[:2]
    channels = located.words * found.shape.lanes
    packing = {"size": rows * columns * channels, "bits": found.shape.act_bits, "signed": False, "lanes": 1}
    return {**packing, "map": {"channels": channels, **facts}}


def _window(graph: Graph, found: Program) -> dict[str, Any]:
    """The windows of the first layer, which the host lays out."""
    node = first_window(graph)
    fill = node.pad_value + found.zero(graph.input.name)
    kernel, stride, pads, dilation = (list(v) for v in (node.kernel, node.stride, node.pads, node.dilation))
    return {"kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation, "fill": fill}


def _sums(found: Program, p: Pass) -> dict[str, Any]:
    """Return the layout of sums: their digits, and the constant that the driver adds to each channel."""
    shape = found.shape
    assert p.conv is not None and p.conv.correction is not None
    correction = (p.conv.correction - (1 << (SUM_BITS - 1))).reshape(-1).tolist()
    return {"digits": shape.digits, "lanes": shape.lanes, "bits": shape.act_bits, "correction": correction}
