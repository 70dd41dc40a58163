"""A PyTorch network under construction from the nodes of a float ONNX file."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor, fx, nn

from toolchain.frontend.constants import Constants
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode

EXAMPLES = 2
"""Samples in the example of every tensor."""


class Builder:
    """A network under construction; ``values`` has the tensors known so far, with an example of each."""

    def __init__(self, file: OnnxFile) -> None:
        self.file, self.constants = file, Constants(file)
        self.root, self.graph = nn.Module(), fx.Graph()
        self.module = fx.GraphModule(self.root, self.graph)
        self.values: dict[str, tuple[fx.Node, Tensor]] = {}
        self.rows: dict[str, tuple[fx.Node, Tensor]] = {}  # signals that the file has as maps of one row
        self.names: set[str] = set()
        self.products: dict[str, nn.Linear] = {}  # fully connected layers that a bias may follow, by what they make
        start = torch.zeros(EXAMPLES, *file.shape[1:])
        self.values[file.input] = self.graph.placeholder("input"), start

    def finish(self) -> nn.Module:
        """Return the network in eval mode, whose output is the file's."""
        self.graph.output(self.values[self.file.output][0])
        self.module.graph = self.graph
        self.module.recompile()
        return self.module.eval()

    def call(self, node: OnnxNode, layers: list[nn.Module], name: str = "") -> None:
        """Let ``layers``, one after the other, make the node's output."""
        at, value = self.value(node)
        self.append(node, layers, at, value, name)

    def append(self, node: OnnxNode, layers: list[nn.Module], at: fx.Node, value: Tensor, name: str = "") -> None:
        """Let ``layers`` make the node's output of ``at``, whose example is ``value``."""
        for layer in layers:
            path = self._name(name or node.name)
            self.module.add_submodule(path, layer.eval())
            try:
                value = layer(value)
            except RuntimeError as error:
                raise self.file.fault(
                    node, f"the layer does not fit its input: {error}", "export the model again"
                ) from error
            at = self.graph.call_module(path, (at,))
        self.values[node.outputs[0]] = at, value

    def value(self, node: OnnxNode, index: int = 0) -> tuple[fx.Node, Tensor]:
        """A tensor that the node reads, and its example."""
        if node.input(index) in self.rows:
            raise self.file.fault(node, "it reads a signal as a map of one row", "reduce the whole row only")
        if node.input(index) not in self.values:
            raise self.file.fault(node, f"'{node.input(index)}' is a constant here", "export the model again")
        return self.values[node.input(index)]

    def constant(self, node: OnnxNode, index: int) -> Tensor | None:
        """A constant that the node reads; None where there is none."""
        name = node.input(index)
        if not name:
            return None
        if name not in self.constants:
            raise self.file.fault(node, f"'{name}' is computed", "give it as a constant")
        return torch.from_numpy(np.array(self.constants.get(name)))

    def integers(self, node: OnnxNode, key: str, index: int) -> list[int] | None:
        """An attribute or, in newer files, an input that holds integers."""
        if key in node.attributes:
            return [int(value) for value in node.attributes[key]]
        given = self.constant(node, index)
        return None if given is None else [int(value) for value in given.flatten()]

    def layer_name(self, node: OnnxNode) -> str:
        """The name of the weight's layer, where the file tells."""
        weight = node.input(1)
        return weight.removesuffix(".weight") if re.fullmatch(r"[A-Za-z0-9_.]+\.weight", weight) else node.name

    def _name(self, wanted: str) -> str:
        base = re.sub(r"[^0-9A-Za-z_.]|^\.+|\.+$|\.(?=\.)", "_", wanted).strip("_") or "layer"
        name, count = base, 1
        while name in self.names or hasattr(self.module, name):
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name
