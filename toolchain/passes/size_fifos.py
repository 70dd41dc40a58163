"""Value(depth=None)   becomes   Value(depth=2), deeper where units pause and where branches meet again.

Pauses. A unit that reads in bursts would stop a producer that works at the accelerator's even pace. As many more words
of FIFO as its reads run ahead of and fall behind that pace take what comes meanwhile, also when a slow reader stretches
all cycles alike. So do pauses of the producer's writing.

Why a join can deadlock, and what prevents it. Units work in rates per frame: to have delivered a fraction y of its
output, a unit has read at most y + lag of its input, where the lag is what it may swallow early: the rows a window
keeps, the position a matrix-vector unit collects, what FIFOs that bridge pauses hold, and what comes in while a word
goes through its pipeline, so that the join is on time too. Along a path lags add up; where branches meet, the larger
counts. Let both inputs of a join stem from one point D (its immediate dominator: every path to the join passes it). To
deliver a fraction y on branch B, D has to send at most y + lag(B). Meanwhile branch A takes the same words from D but
the join has consumed only y of its output; in the worst case A swallows nothing early, so the surplus lag(B) has to
stand in front of the join. A FIFO of ceil(lag(B) * words of A a frame) more words on A takes it, and D is never blocked
by A while B starves. The same holds with A and B exchanged, and with the largest of the other lags where more than two
branches meet. A Concat consumes its inputs in turns: D sends a whole position of A before the first word of B's is
read, so that B's has to stand there, of which its pause holds a part. A unit that stores a frame of B before it reads
any of A adds that frame. A pipeline holds nothing back: it empties itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil

from toolchain.errors import UserError, unknown_name
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Concat
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.units.limits import MIN_DEPTH
from toolchain.units.order import parallelism
from toolchain.units.table import schedule, unit_of
from toolchain.units.totals import graph_cycles

PIPELINE_CYCLES = 32  # in which a word goes through a unit and its FIFO; assumption: no unit takes longer


def size_fifos(graph: Graph) -> Graph:
    """Set the depth of every value of a graph whose parallelism is set; the same object when all depths stand."""
    return with_depths(graph, fifo_depths(graph))


def with_depths(graph: Graph, depths: Mapping[str, int]) -> Graph:
    """``graph`` with these depths; the same object when all depths stand.

    What a reshape makes of a value is the same stream: both have the deeper one's depth.

    Raises:
        UserError: a value without a depth, or a depth of a value that the graph does not have.
    """
    values = graph.values()
    for name in depths:
        if name not in values:
            raise unknown_name("value", name, values)
    missing = [name for name in values if name not in depths]
    if missing:
        raise UserError(
            f"value '{missing[0]}' has no FIFO depth",
            where="depths",
            hint="give every depth, or none to have them found",
        )
    deepest = dict(depths)
    for node in (*reversed(graph.nodes), *graph.nodes):
        if node.renames:
            before, after = node.inputs[0], node.output.name
            deepest[before] = deepest[after] = max(deepest[before], deepest[after])
    if all(value.depth == deepest[name] for name, value in values.items()):
        return graph

    def sized(value: Value) -> Value:
        return replace(value, depth=deepest[value.name])

    nodes = tuple(replace(node, outputs=tuple(map(sized, node.outputs))) for node in graph.nodes)
    return replace(graph, input=sized(graph.input), nodes=nodes)


def fifo_depths(graph: Graph) -> dict[str, int]:
    """Words of the FIFO of every value."""
    values, producers = graph.values(), graph.producers()
    pauses = _pause_depths(graph)
    depths = dict(pauses)
    dominators = immediate_dominators(graph)
    for node in graph.nodes:
        if len(node.inputs) < 2:
            continue
        lags = _lags_from(dominators[node.name], graph, values, pauses)
        lanes = parallelism(node).lanes_in
        for i, own in enumerate(node.inputs):
            surplus = ceil((_others_lag(node, i, lags) + _stored(node, i)) * values[own].size / lanes)
            surplus += _unread(node, i, values)
            for alias in _aliases(own, producers):
                depths[alias] += surplus
    return depths


def join_surplus(graph: Graph) -> dict[tuple[str, int], int]:
    """Elements that have to stand at each input of a join (its name, the input's index) before lanes are known.

    An estimate from below: the lags of one element a cycle and of FIFOs without pauses.
    """
    values, dominators = graph.values(), immediate_dominators(graph)
    depths = dict.fromkeys(values, MIN_DEPTH)
    serial = graph.with_nodes(replace(node, parallelism=Parallelism(1, 1)) for node in graph.nodes)
    found = {}
    for node in graph.nodes:
        if len(node.inputs) > 1:
            lags = _lags_from(dominators[node.name], serial, values, depths)
            for i, own in enumerate(node.inputs):
                found[node.name, i] = ceil((_others_lag(node, i, lags) + _stored(node, i)) * values[own].size)
    return found


def _stored(node: Node, index: int) -> int:
    """Frames of another input that ``node`` reads before any word of the one of ``index``."""
    return int(unit_of(node).stores not in (None, index))


def _unread(node: Node, index: int, values: Mapping[str, Value]) -> int:
    """Words of a position that wait while a Concat reads those of the inputs in front, beyond its pause."""
    if not isinstance(node, Concat) or index == 0:
        return 0
    lanes = parallelism(node)
    pause = schedule(node, values[node.inputs[0]], lanes).pause_words()[0][index]
    return node.channels[index] // lanes.lanes_in - pause


def _others_lag(node: Node, index: int, lags: Mapping[str, Fraction]) -> Fraction:
    """The largest lag in front of the inputs of a join but the one of ``index``."""
    return max(lags[name] for i, name in enumerate(node.inputs) if i != index)


def _pause_depths(graph: Graph) -> dict[str, int]:
    """Depths that bridge the pauses of each stream's producer and reader."""
    values, producers = graph.values(), graph.producers()
    depths = dict.fromkeys(values, MIN_DEPTH)
    for node in graph.nodes:
        readings, writing = schedule(node, values[node.inputs[0]], parallelism(node)).pause_words()
        for name, reading in zip(node.inputs, readings, strict=True):
            for alias in _aliases(name, producers):
                depths[alias] += reading
        for value in node.outputs:
            depths[value.name] += writing
    for node in reversed(graph.nodes):
        if node.renames:
            depths[node.output.name] = depths[node.inputs[0]] = max(depths[node.output.name], depths[node.inputs[0]])
    return depths


def _aliases(name: str, producers: Mapping[str, Node]) -> list[str]:
    """The value and those that reshapes made it from: one stream."""
    names = [name]
    while (node := producers.get(names[-1])) is not None and node.renames:
        names.append(node.inputs[0])
    return names


def immediate_dominators(graph: Graph) -> dict[str, str | None]:
    """The nearest node that every path from the input to a node passes; None is the input itself."""
    producers = graph.producers()
    found: dict[str, str | None] = {}
    rank = {node.name: i for i, node in enumerate(graph.nodes)}

    def meet(a: str | None, b: str | None) -> str | None:
        while a != b:
            if b is None or (a is not None and rank[a] > rank[b]):
                a, b = b, a
            b = found[b] if b is not None else None
        return a

    for node in graph.nodes:
        before = [producers[name].name if name in producers else None for name in node.inputs]
        found[node.name] = before[0]
        for other in before[1:]:
            found[node.name] = meet(found[node.name], other)
    return found


def _lags_from(
    start: str | None, graph: Graph, values: Mapping[str, Value], depths: Mapping[str, int]
) -> dict[str, Fraction]:
    """The largest lag on any path from the node ``start`` (None: the input) to each value behind it."""
    lags = {graph.input.name: Fraction(0)} if start is None else {}
    pipeline = Fraction(PIPELINE_CYCLES, graph_cycles(graph))
    for node in graph.nodes:
        if node.name == start:
            lags |= {value.name: Fraction(0) for value in node.outputs}
        elif before := [values[name] for name in node.inputs if name in lags]:
            words = 0 if node.renames else parallelism(node).lanes_in
            behind = max(lags[x.name] + Fraction((depths[x.name] - MIN_DEPTH) * words, x.size) for x in before)
            if not node.renames:
                behind += schedule(node, values[node.inputs[0]], parallelism(node)).lag + pipeline
            lags |= {value.name: behind for value in node.outputs}
    return lags
