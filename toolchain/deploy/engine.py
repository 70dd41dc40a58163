"""How frames lie in an engine's memory image, as network.json tells the driver."""

from __future__ import annotations

from typing import Any

from toolchain.deploy.facts import Ends
from toolchain.engine.shape import SUM_BITS
from toolchain.engine.tables import Located, Program
from toolchain.flow.engine import MEMORY, answer_name
from toolchain.ir.graph import Graph
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Value


def engine_ends(graph: Graph, found: Program) -> Ends:
    """The first pass's source and the last one's result in the image of ``found``."""
    first, last = found.cut.passes[0], found.cut.passes[-1]
    answer = answer_name(graph)
    source, result = found.maps[first.source], found.maps[last.result]
    image = {"file": MEMORY, "words": len(found.memory), "input": source.address, "output": result.address}
    window = _window(graph, found) if found.cut.folded else None
    given = {"zero": _zero(found, graph.input), "window": window, "sums": None}
    zero, sums = (0, _sums(found)) if last.raw else (_zero(found, graph.value(answer)), None)
    answered = {"zero": zero, "window": None, "sums": sums}
    return Ends((answer,), _end(found, source, given), (_end(found, result, answered),), image, found.passes)


def _end(found: Program, located: Located, facts: dict[str, Any]) -> dict[str, Any]:
    """A map: whole words of lanes at every position, codes one by one."""
    rows, columns = located.shape[:2]
    channels = located.words * found.shape.lanes
    packing = {"size": rows * columns * channels, "bits": found.shape.act_bits, "signed": False, "lanes": 1}
    return {**packing, "map": {"channels": channels, **facts}}


def _zero(found: Program, value: Value) -> int:
    """The stored code of 0 in ``value``."""
    return 1 << (found.shape.act_bits - 1) if value.qint.signed else 0


def _window(graph: Graph, found: Program) -> dict[str, Any]:
    """The windows of the first layer, which the host lays out."""
    node = next(node for node in graph.nodes if isinstance(node, Window))
    fill = node.pad_value + _zero(found, graph.input)
    kernel, stride, pads, dilation = (list(v) for v in (node.kernel, node.stride, node.pads, node.dilation))
    return {"kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation, "fill": fill}


def _sums(found: Program) -> dict[str, Any]:
    """How sums leave: their digits, and what is to be added of every channel."""
    last, shape = found.cut.passes[-1], found.shape
    assert last.conv is not None and last.conv.correction is not None
    correction = (last.conv.correction - (1 << (SUM_BITS - 1))).reshape(-1).tolist()
    return {"digits": shape.digits, "lanes": shape.lanes, "bits": shape.act_bits, "correction": correction}
