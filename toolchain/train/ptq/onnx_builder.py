"""A PyTorch network under construction from the nodes of a float ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from toolchain.errors import UserError
from toolchain.frontend.constants import Constants
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.unsupported import unknown_to_onnx
from toolchain.ir.types import Array
from toolchain.train.own.twins import hint_for
from toolchain.train.ptq.curves import Curve, follow

_WITH_NUMBERS = frozenset(["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"])
"""Operations of two tensors, which begin a function of one where they read a number."""
EXAMPLES = 2
"""Samples in the example of every tensor."""


@dataclass(frozen=True)
class Half:
    """The mean or the largest of a map ``x`` by ``node`` over one of its axes, ``reduced``, and not yet over the other.

    ``axes`` are those of the map that the tensor has, in their order.
    """

    node: OnnxNode
    at: fx.Node
    x: Tensor
    axes: tuple[int, ...]
    reduced: tuple[int, ...]

    def fault(self, file: OnnxFile) -> UserError:
        """The error where something else reads it."""
        what = f"it reduces the axes {[*self.reduced]}"
        return file.fault(self.node, what, "reduce the whole map, and nothing else")


@dataclass(frozen=True)
class Grouped:
    """A map ``x`` whose channels have two axes since ``node``: ``groups``, and what is in them, or ``turned``."""

    node: OnnxNode
    at: fx.Node
    x: Tensor
    groups: int
    turned: bool = False

    def fault(self, file: OnnxFile) -> UserError:
        """The error where something else reads it."""
        what = f"it parts the channels of {tuple(self.x.shape)} into {self.groups} groups"
        return file.fault(self.node, what, f"shuffle them, or flatten to (N, features); {hint_for('permute')}")


class Builder:
    """A network under construction; ``values`` has the tensors known so far, with an example of each.

    ``curves`` has those that are functions of another one, whose layer is not known yet. ``operations`` add the layers
    of a node to the network. ``shape`` is that of a sample, channels first.
    """

    def __init__(
        self, file: OnnxFile, operations: Mapping[str, Callable[[Builder, OnnxNode], None]], shape: Sequence[int]
    ) -> None:
        self.file, self.constants, self.operations = file, Constants(file), operations
        self.curves: dict[str, Curve] = {}
        self.root, self.graph = nn.Module(), fx.Graph()
        self.module = fx.GraphModule(self.root, self.graph)
        self.values: dict[str, tuple[fx.Node, Tensor]] = {}
        self.rows: dict[str, int] = {}  # signals that the file has as maps of one row (2) or column (3): axis of size 1
        self.views: dict[str, str] = {}  # tensors that are others in another order of the file's axes
        self.listed: set[str] = set()  # tensors that the file has as a list of all numbers, which Gathers alone read
        self.halves: dict[str, Half] = {}  # maps of which one axis is reduced
        self.groups: dict[str, Grouped] = {}  # maps whose channels have two axes
        self.left_out = ""  # the operation of a softmax that the host applies
        self.names: set[str] = set()
        self.products: dict[str, nn.Linear] = {}  # fully connected layers that a bias may follow, by what they make
        start = torch.zeros(EXAMPLES, *shape)
        self.values[file.input] = self.graph.placeholder("input"), start

    def finish(self) -> nn.Module:
        """Return the network in eval mode, whose output is the file's."""
        if self.file.output in self.constants or self.file.output in self.rows:
            what = "does not depend on the input" if self.file.output in self.constants else "is a map of one row"
            raise UserError(
                f"the output '{self.file.output}' {what}", where=self.file.path.name, hint="export it again"
            )
        self.graph.output(self.tensor(self.file.output)[0])
        self.graph.eliminate_dead_code()  # flattens that were taken back
        self.module.graph = self.graph
        self.module.delete_all_unused_submodules()
        self.module.recompile()
        return self.module.eval()

    def add(self, node: OnnxNode) -> None:
        """Add the layers of ``node`` to the network, or note it as a part of a function that is not whole yet."""
        tensors = [name for name in node.inputs if name in self.values]
        sources = [*tensors, *(self.curves[name].source for name in node.inputs if name in self.curves)]
        most = min((self.values[name][1].dim() for name in sources), default=1)
        constants = {name: self.constants.get(name) for name in node.inputs if name in self.constants}
        numbers = {name: value for name, value in constants.items() if value.size == 1 and value.ndim <= most}
        start = bool(constants) if node.op in _WITH_NUMBERS else node.op not in self.operations
        bias = any(name in self.products for name in tensors)
        if len(numbers) == len(constants):
            curve = follow(node, self.file.opset, self.curves, numbers, self.views, start=start and not bias)
            if curve is not None:
                self.curves[node.outputs[0]] = curve
                return
        self._demand(node)

    def _demand(self, node: OnnxNode) -> None:
        """Add the layers of ``node``, which is of an operation that has some."""
        name = f"{node.domain}.{node.op}".lstrip(".")
        if name not in self.operations:
            plain = f"{node.op} cannot be quantized after training", hint_for(node.op)
            raise self.file.fault(node, *(unknown_to_onnx(node.op, node.domain) or plain))
        self.operations[name](self, node)

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
        if node.input(index) in self.constants:
            raise self.file.fault(node, f"'{node.input(index)}' is a constant here", "let it read tensors alone")
        return self.tensor(node.input(index))

    def tensor(self, name: str) -> tuple[fx.Node, Tensor]:
        """The tensor ``name``, which is no constant, and its example; layers make it where it was a function only."""
        if name in self.halves:
            raise self.halves[name].fault(self.file)
        if name in self.groups:
            raise self.groups[name].fault(self.file)
        if name in self.curves:
            curve = self.curves.pop(name)
            at, value = self.tensor(curve.source)
            layer = curve.layer(value)
            if layer is None:
                self._demand(curve.node)
            else:
                self.append(curve.node, [layer], at, value)
        return self.values[name]

    def view(self, name: str, source: str) -> None:
        """Let the tensor ``name`` be ``source``, in whatever order of the axes the file has them."""
        if source in self.curves:
            curve = self.curves[source]
            self.curves[name] = replace(curve, node=replace(curve.node, outputs=(name,)))
        else:
            self.values[name] = self.tensor(source)
            self.views[name] = self.views.get(source, source)

    def unflatten(self, node: OnnxNode, shape: Sequence[int]) -> bool:
        """Let the node's output be the map of one position that it makes of features; return whether they were that.

        ``shape`` is that of the output: the pool's behind which the features are flattened.
        """
        at, value = self.value(node)
        layers = [self.layer(at), self.layer(at.args[0] if at.args else None)]
        if tuple(shape) != (*value.shape, *[1] * (len(shape) - 2)) or not isinstance(layers[0], nn.Flatten):
            return False
        kinds = {3: (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), 4: (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)}
        if not isinstance(layers[1], kinds.get(len(shape), ())):
            return False
        self.values[node.outputs[0]] = at.args[0], value.reshape(*shape)  # type: ignore[assignment]
        return True

    def layer(self, at: object) -> nn.Module | None:
        """The layer that a node of the network calls; None where it calls none."""
        return self.module.get_submodule(str(at.target)) if isinstance(at, fx.Node) and at.op == "call_module" else None

    def readers(self, name: str) -> list[OnnxNode]:
        """The nodes that read the tensor ``name``."""
        return [node for node in self.file.nodes if name in node.inputs]

    def constant(self, node: OnnxNode, index: int) -> Tensor | None:
        """A constant that the node reads; None where there is none."""
        name = node.input(index)
        if not name:
            return None
        if name not in self.constants:
            raise self.file.fault(node, f"'{name}' is computed", "give it as a constant")
        return torch.from_numpy(np.array(self.constants.get(name)))

    def form(self, name: str, array: Array) -> str:
        """The name of ``array``, a form of the constant ``name``."""
        while name in self.constants:
            name += "'"
        self.constants.set(name, array)
        return name

    def integers(self, node: OnnxNode, key: str, index: int) -> list[int] | None:
        """An attribute or, in newer files, an input that holds integers."""
        if key in node.attributes:
            return [int(value) for value in node.attributes[key]]
        given = self.constant(node, index)
        return None if given is None else [int(value) for value in given.flatten()]

    def sizes(self, before: Sequence[int], wanted: Sequence[int]) -> list[int]:
        """The sizes that a Reshape to ``wanted`` gives a tensor of the shape ``before``."""
        sizes = [before[axis] if size == 0 and axis < len(before) else size for axis, size in enumerate(wanted)]
        if sizes and sizes[0] == self.file.shape[0]:  # written for the file's batch
            sizes[0] = EXAMPLES
        return sizes

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
