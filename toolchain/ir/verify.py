"""Well-formedness of a graph at each level. A violation is a bug of this program, hence AssertionError."""

from __future__ import annotations

import re
from enum import Enum

from toolchain.ir.graph import Graph
from toolchain.ir.ops import HARDWARE_OPS, INTEGER_OPS, MODEL_OPS
from toolchain.ir.ops.node import Node
from toolchain.ir.ranges import input_range
from toolchain.ir.rules import MOST, require
from toolchain.ir.types import QInt, Range, Real, Value


class Level(Enum):
    """The operations that a graph may hold: on reals; on integers; also the hardware's own; those with lanes set."""

    MODEL = "model"
    INTEGER = "integer"
    UNITS = "units"
    HARDWARE = "hardware"


_OPS = {Level.MODEL: MODEL_OPS, Level.INTEGER: INTEGER_OPS, Level.UNITS: HARDWARE_OPS, Level.HARDWARE: HARDWARE_OPS}
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def verify(graph: Graph, level: Level) -> Graph:
    """Return ``graph`` when it obeys every rule of ``level``; IllFormed names the node and the rule otherwise."""
    known: dict[str, Value] = {graph.input.name: graph.input}
    names: set[str] = set()
    ranges: dict[str, Range] = {}
    if level is not Level.MODEL:
        require(isinstance(graph.input.type, QInt), graph.input.name, "the input is an integer")
        kind, codes = graph.input.qint, input_range(graph)
        require(kind.min <= codes[0] and codes[1] <= kind.max, graph.input.name, f"{kind} holds every input code")
        ranges[graph.input.name] = codes
    for node in graph.nodes:
        require(isinstance(node, _OPS[level]), node.name, f"{type(node).__name__} is no {level.value} operation")
        require(IDENTIFIER.fullmatch(node.name) is not None, node.name, "name is a C identifier")
        require(node.name not in names, node.name, "name is unique")
        names.add(node.name)
        for name in node.inputs:
            require(name in known, node.name, f"reads '{name}', which no earlier node defines")
        for value in node.outputs:
            require(IDENTIFIER.fullmatch(value.name) is not None, value.name, "name is a C identifier")
            require(value.name not in known, value.name, "is defined once")
            require(len(value.shape) == 3 and min(value.shape) > 0, value.name, "shape is (H, W, C), none empty")
            known[value.name] = value
        if level is not Level.MODEL:
            _verify_integer(node, [known[name] for name in node.inputs], ranges)
    _verify_outputs(graph, known)
    for value in known.values():
        require(isinstance(value.type, Real) == (level is Level.MODEL), value.name, f"type {value.type} at {level}")
    if level is not Level.MODEL:
        require(graph.encoding is not None, graph.name, "has an encoding")
    if level is Level.HARDWARE:
        _verify_hardware(graph, known)
    return graph


def _verify_outputs(graph: Graph, known: dict[str, Value]) -> None:
    names = [output.name for output in graph.outputs]
    require(bool(names), graph.name, "has an output")
    for output in graph.outputs:
        require(output.value in known, output.value, "output is defined")
        require(IDENTIFIER.fullmatch(output.name) is not None, output.name, "name of the output is a C identifier")
        require(names.count(output.name) == 1, output.name, "name of the output is unique")


def _verify_integer(node: Node, inputs: list[Value], ranges: dict[str, Range]) -> None:
    node.check(*inputs)
    low, high = node.output_range(inputs[0].shape, *(ranges[v.name] for v in inputs))
    for value in node.outputs:
        ranges[value.name] = low, high
        kind = value.qint
        require(kind.min <= low and high <= kind.max, node.name, f"output {kind} holds {low}..{high}")
        require(max(-low, high) < MOST, node.name, "its integers fit 62 bits")


def _verify_hardware(graph: Graph, known: dict[str, Value]) -> None:
    producers = graph.producers()
    for name, readers in graph.consumers().items():
        ends = sum(output.value == name for output in graph.outputs)
        require(len(readers) + ends == 1, name, "every stream has one reader")
        require((known[name].depth or 0) >= 2, name, "every stream has a depth of at least 2")
    for node in graph.nodes:
        lanes = node.parallelism
        require(lanes is not None, node.name, "has its parallelism set")
        for name in node.inputs:
            producer = producers.get(name)
            if producer is not None and producer.parallelism is not None and lanes is not None:
                require(
                    producer.parallelism.lanes_out == lanes.lanes_in,
                    node.name,
                    f"reads {lanes.lanes_in} lanes of '{name}', which has {producer.parallelism.lanes_out}",
                )
