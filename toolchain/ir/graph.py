"""The graph: inputs, nodes in topological order, outputs, and how the host talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from toolchain.ir.names import Names
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Decoding, Encoding, Shape, Value


@dataclass(frozen=True, eq=False)
class Graph:
    """One input, one output, ``nodes`` in topological order.

    ``encoding`` tells how the host makes the input codes, ``decoding`` what the output codes mean (None after argmax),
    ``classes`` what the outputs, or the numbers that an argmax gives, are called; empty where nobody has said.

    The last ``padded_input`` channels of the input are zeros that the host adds, the last ``padded_output`` of the
    output mean nothing and the host drops them; a plan says how many.
    """

    name: str
    input: Value
    nodes: tuple[Node, ...]
    output: str
    encoding: Encoding | None = None
    decoding: Decoding | None = None
    classes: tuple[str, ...] = ()
    padded_input: int = 0
    padded_output: int = 0

    @property
    def given_shape(self) -> Shape:
        """(H, W, C) of the frames that the host is given."""
        height, width, channels = self.input.shape
        return height, width, channels - self.padded_input

    @property
    def answer_shape(self) -> Shape:
        """(H, W, C) of the codes that the host keeps."""
        height, width, channels = self.value(self.output).shape
        return height, width, channels - self.padded_output

    def value(self, name: str) -> Value:
        """The value called ``name``; KeyError when there is none."""
        if name == self.input.name:
            return self.input
        for node in self.nodes:
            for value in node.outputs:
                if value.name == name:
                    return value
        raise KeyError(name)

    def values(self) -> dict[str, Value]:
        """Every value by name, the input first."""
        return {self.input.name: self.input} | {v.name: v for n in self.nodes for v in n.outputs}

    def producers(self) -> dict[str, Node]:
        """The node that defines each value; the graph's input has none."""
        return {v.name: n for n in self.nodes for v in n.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value, once a read."""
        readers: dict[str, list[Node]] = {name: [] for name in self.values()}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def names(self) -> Names:
        """The names of all values and nodes, so that what a pass adds is called otherwise."""
        return Names([*self.values(), *(node.name for node in self.nodes)])

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with other nodes."""
        return replace(self, nodes=tuple(nodes))


def rewrite_nodes(graph: Graph, rule: Callable[[Node], Node]) -> Graph:
    """Apply ``rule`` to every node; the same graph object when no node changed."""
    nodes = tuple(rule(node) for node in graph.nodes)
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
        return graph
    return graph.with_nodes(nodes)
