"""Every unit of a compiled project, driven by itself to its ends and compared with the evaluator of its node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import READ, write_units
from toolchain.ir.blocks import whole
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.wiring import Fork
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import Array, Value
from toolchain.memory import DEFAULT_MEMORY, Memory
from toolchain.simulate.csim import CSim, FrameProgress
from toolchain.simulate.directed import Directed, directed


@dataclass(frozen=True)
class Driven:
    """``vectors`` that each unit saw, and where one deviates first, "" if none does."""

    vectors: dict[str, int]
    mismatches: int = 0
    deviation: str = ""


def units(graph: Graph) -> list[Node]:
    """A node for every unit: the reader, those that are hardware, the writers; the ends copy as a fork does."""
    hardware = [node for node in graph.nodes if not node.renames]
    ends = [
        Fork(name=name, inputs=(value.name,), outputs=(value,))
        for name, value in zip((READ, *write_units(graph)), (graph.input, *graph.ends), strict=True)
    ]
    return [ends[0], *hardware, *ends[1:]]


def directed_units(graph: Graph, memory: Memory = DEFAULT_MEMORY) -> Iterator[tuple[Node, Directed | None]]:
    """Every unit with its vectors, made when it is its turn; None where a frame does not fit ``memory``."""
    values, ranges = graph.values(), value_ranges(graph)
    for node in units(graph):
        yield node, directed(node, [values[n].shape for n in node.inputs], [ranges[n] for n in node.inputs], memory)


def drive_units(csim: CSim, memory: Memory = DEFAULT_MEMORY, *, progress: FrameProgress | None = None) -> Driven:
    """Drive every unit of ``csim`` with directed vectors; results that the evaluator does not give are mismatches.

    A unit whose maps do not fit ``memory`` sees none.
    """
    vectors, mismatches, first = dict[str, int](), 0, ""
    count = len(units(csim.graph))
    for node, given in directed_units(csim.graph, memory):
        wrong, where = drive_unit(csim, node, given) if given is not None else (0, "")
        vectors[node.name] = given.vectors if given is not None else 0
        mismatches += wrong
        first = first or where
        if progress is not None:
            progress(len(vectors), count)
    return Driven(vectors, mismatches, first)


def drive_unit(csim: CSim, node: Node, given: Directed) -> tuple[int, str]:
    """Drive a unit with ``given``; return the number of wrong output elements and the first of them in words."""
    try:
        found = csim.run_unit(node.name, given.inputs)
    except VerificationError as error:
        return 1, f"unit '{node.name}' alone: {error}"
    expected = whole(node.compute(*given.inputs))
    mismatches, first = 0, ""
    for value, answer in zip(node.outputs, found, strict=True):
        wrong = np.flatnonzero(answer != expected)
        mismatches += len(wrong)
        if len(wrong) and not first:
            first = _described(node, value, given, answer, expected, int(wrong[0]))
    return mismatches, first


def _described(node: Node, value: Value, given: Directed, answer: Array, expected: Array, at: int) -> str:
    frame, *place = (int(i) for i in np.unravel_index(at, expected.shape))
    height, width = expected.shape[1:3]
    slot = frame * given.slots + (place[0] * width + place[1]) * given.slots // (height * width)
    text = (
        f"unit '{node.name}' on vector '{given.name(slot)}': value '{value.name}' at {tuple(place)} of frame {frame} "
        f"is {answer.flat[at]}, should be {expected.flat[at]}"
    )
    inputs = [int(x.flat[at]) for x in given.inputs if x.shape == expected.shape]
    return text + (f" (input {', '.join(map(str, inputs))})" if inputs else "")
