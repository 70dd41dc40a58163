"""The graph: inputs, nodes in topological order, outputs, and how the host talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from toolchain.ir.names import Names
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Decoding, Encoding, Shape, Value


@dataclass(frozen=True)
class Output:
    """The value ``value`` under the ``name``, a C identifier, by which the host knows it.

    ``decoding`` tells what its codes mean; None for the index that an argmax gives. Its last ``padded`` channels mean
    nothing and the host drops them; a plan says how many.
    """

    name: str
    value: str
    decoding: Decoding | None = None
    padded: int = 0


@dataclass(frozen=True, eq=False)
class Graph:
    """One input, ``nodes`` in topological order, the ``outputs`` in the order in which the host is given them.

    ``encoding`` tells how the host makes the input codes. ``classes`` are what the channels of the classifier, or the
    numbers that its argmax gives, are called; empty where nobody has said.

    The last ``padded_input`` channels of the input are zeros that the host adds; a plan says how many.
    """

    name: str
    input: Value
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    encoding: Encoding | None = None
    classes: tuple[str, ...] = ()
    padded_input: int = 0

    @property
    def given_shape(self) -> Shape:
        """(H, W, C) of the frames that the host is given."""
        height, width, channels = self.input.shape
        return height, width, channels - self.padded_input

    @property
    def answer(self) -> Output:
        """The only output of the graph; ValueError if it has several."""
        (output,) = self.outputs
        return output

    @property
    def output(self) -> str:
        """The value of the only output."""
        return self.answer.value

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the values that are outputs, each once."""
        return tuple(dict.fromkeys(output.value for output in self.outputs))

    @property
    def ends(self) -> tuple[Value, ...]:
        """The value of every output, in the order of the outputs."""
        values = self.values()
        return tuple(values[output.value] for output in self.outputs)

    def shape_of(self, output: Output) -> Shape:
        """(H, W, C) of the codes of ``output`` that the host keeps."""
        height, width, channels = self.value(output.value).shape
        return height, width, channels - output.padded

    @property
    def classifier(self) -> Output | None:
        """The output that tells a frame's class: the only one, or of several the one of a channel a class.

        None where that is not one.
        """
        if len(self.outputs) == 1:
            return self.outputs[0]
        found = [o for o in self.outputs if self.classes and self.shape_of(o) == (1, 1, len(self.classes))]
        return found[0] if len(found) == 1 else None

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

    def with_output_values(self, values: Iterable[str]) -> Graph:
        """Return the graph with ``values`` as its outputs, in the order of the outputs."""
        pairs = zip(self.outputs, values, strict=True)
        return replace(self, outputs=tuple(replace(output, value=value) for output, value in pairs))

    def with_source(self, source: Mapping[str, str]) -> Graph:
        """Return the graph without the nodes that make the values in ``source``, whose readers read what it gives.

        That is no value in ``source`` itself. The same object where ``source`` is empty.
        """
        if not source:
            return self
        kept = (node for node in self.nodes if node.outputs[0].name not in source)
        read = (replace(node, inputs=tuple(source.get(name, name) for name in node.inputs)) for node in kept)
        return self.with_nodes(read).with_output_values(source.get(o.value, o.value) for o in self.outputs)

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """Return the graph with other nodes."""
        return replace(self, nodes=tuple(nodes))


def rewrite_nodes(graph: Graph, rule: Callable[[Node], Node]) -> Graph:
    """Apply ``rule`` to every node; the same graph object when no node changed."""
    nodes = tuple(rule(node) for node in graph.nodes)
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
        return graph
    return graph.with_nodes(nodes)
