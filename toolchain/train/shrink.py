"""Channels that belong together, and their removal for real.

A trace of the network tells which channels can only go together: those that one layer writes, the layers behind it read
(through batch norms, activations, pools and a flatten), a depthwise filter passes on, or a residual add joins.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UserError, first_line
from toolchain.train.own.kinds import REGROUPING, Convolution, Norm, Weighted, channels_behind
from toolchain.train.statistics import Shape, pixels

_PRODUCTS = (operator.mul, torch.mul)
_JOINS = (operator.add, operator.iadd, torch.add, *_PRODUCTS)
"""Sums and products, whose operands lose the same channels."""


@dataclass(frozen=True)
class Group:
    """Channels that are removed together.

    Args:
        name: the first layer that writes them; "input" for the network's input.
        size: how many there are.
        free: False for the input, the output, what grouped convolutions touch, what is concatenated, shuffled or cut,
            what a PReLU with a slope a channel reads, and where a batch norm, a Sigmoid, a clamp or a linear layer
            over the length of a signal makes something else of a zero than the gates do, and no product with a zero
            is taken of it.
        norms: batch norms on the way.
        gates: modules of which one stands behind each writer, such that a channel that is zero there is zero for every
            reader: the batch norm behind a layer, else the layer itself.
    """

    name: str
    size: int
    free: bool
    norms: tuple[str, ...]
    gates: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """A convolution or fully connected layer; its size is a product of channel counts.

    Args:
        name: its path in the model.
        reads: group of its inputs; None for a depthwise filter, whose outputs are its inputs.
        writes: group of its outputs.
        area: weights for one input and one output channel: the kernel, or the pixels that a flatten put in a channel.
        positions: outputs a channel, 0 when the structure was found without an input shape.
        bias: whether there is one.
        groups: of a grouped convolution.
        norm: the batch norm that alone reads what it writes, if there is one.
    """

    name: str
    reads: str | None
    writes: str
    area: int
    positions: int
    bias: bool
    groups: int = 1
    norm: str | None = None

    def pairs(self, counts: Mapping[str, Any]) -> Any:
        """Input channels times output channels, ints or tensors."""
        product = counts[self.writes] * (1 if self.reads is None else counts[self.reads])
        return product if self.groups == 1 else product // self.groups

    def params(self, counts: Mapping[str, Any]) -> Any:
        """Weights and biases."""
        return self.area * self.pairs(counts) + (counts[self.writes] if self.bias else 0)

    def macs(self, counts: Mapping[str, Any]) -> Any:
        """Multiply-accumulates for one image."""
        return self.area * self.positions * self.pairs(counts)


@dataclass(frozen=True)
class Structure:
    """A network as groups of channels and layers between them."""

    groups: Mapping[str, Group]
    layers: tuple[Layer, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Channels of every group."""
        return {name: group.size for name, group in self.groups.items()}

    @property
    def free(self) -> list[Group]:
        """The groups that channels can be removed from."""
        return [group for group in self.groups.values() if group.free]

    def params(self, counts: Mapping[str, Any]) -> Any:
        """Weights and biases with ``counts`` channels; differentiable where these are tensors."""
        return sum(layer.params(counts) for layer in self.layers)

    def macs(self, counts: Mapping[str, Any]) -> Any:
        """Multiply-accumulates for one image with ``counts`` channels; differentiable where these are tensors."""
        return sum(layer.macs(counts) for layer in self.layers)


def structure_of(model: nn.Module, shape: Shape | None = None) -> Structure:
    """The groups and layers of ``model``; with the sample's ``shape`` (C, ...) also the sizes of the feature maps.

    Raises:
        UserError: an operation that channels cannot be followed through.
    """
    trace = _Trace(model, shape)
    positions = {name: written for name, (_, written) in pixels(model, shape).items()} if shape else {}
    return trace.structure(positions)


def remove_channels(model: nn.Module, group: str, kept: Sequence[int]) -> None:
    """Remove the channels of ``group`` that are not ``kept``, in place: weights, biases, batch norms, quantizers.

    The logits are those of the network in which the gates of the group multiply the others by zero.

    Raises:
        UserError: no such group, or indices that it has not.
    """
    structure = structure_of(model)
    if group not in structure.groups or not structure.groups[group].free:
        raise UserError(f"'{group}' writes no channels that can be removed")
    size = structure.groups[group].size
    if not kept or sorted(set(kept)) != list(kept) or kept[0] < 0 or kept[-1] >= size:
        raise UserError(f"'{group}' has channels 0 to {size - 1}; to keep: {list(kept)}")
    index = torch.tensor(list(kept))
    for layer in structure.layers:
        rows = index if layer.writes == group else None
        columns = index if layer.reads == group else None
        if rows is not None or columns is not None:
            _slice_layer(model.get_submodule(layer.name), layer, rows, columns)
    for name in structure.groups[group].norms:
        norm = model.get_submodule(name)
        for tensor in (*norm.named_parameters(), *norm.named_buffers()):
            if tensor[1].dim() == 1:
                _replace(norm, tensor[0], tensor[1].detach()[index.to(tensor[1].device)])
        norm.num_features = len(kept)  # type: ignore[assignment]


def _slice_layer(module: nn.Module, layer: Layer, rows: Tensor | None, columns: Tensor | None) -> None:
    """Keep rows (output channels) and columns (input channels) of all that has the weight's shape or one row an output.

    Besides the weight these are the bias, masks and other parametrizations, and a quantizer's scales.
    """
    assert isinstance(module, Weighted)
    whole, outputs = module.weight.shape, module.weight.shape[0]
    if columns is not None and isinstance(module, nn.Linear):  # the pixels of a channel are neighbours
        columns = (columns[:, None] * layer.area + torch.arange(layer.area)).flatten()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        value = tensor.detach()
        if columns is not None and value.shape == whole:
            value = value.index_select(1, columns.to(value.device))
        if rows is not None and tensor.dim() and tensor.shape[0] == outputs:
            value = value.index_select(0, rows.to(value.device))
        if value.shape != tensor.shape:
            _replace(module, name, value)
    for part in module.modules() if rows is not None else ():
        scales: Any = getattr(part, "stats_output_shape", ())  # of Brevitas, which takes the scales from the weights
        if len(scales) and scales[0] == outputs:
            part.stats_output_shape = (len(rows), *scales[1:])  # type: ignore[assignment, arg-type]
    kept = (None if columns is None else len(columns), None if rows is None else len(rows))
    names = ("in_channels", "out_channels") if isinstance(module, Convolution) else ("in_features", "out_features")
    for name, count in zip(names, kept, strict=True):
        if count is not None:
            setattr(module, name, count)
    if layer.reads is None and rows is not None:  # depthwise
        assert isinstance(module, Convolution)
        module.in_channels = module.groups = len(rows)


def _replace(module: nn.Module, path: str, value: Tensor) -> None:
    """Put ``value`` in the place of a parameter or buffer."""
    owner_path, _, name = path.rpartition(".")
    owner = module.get_submodule(owner_path)
    if name in owner._parameters:
        before = owner._parameters[name]
        assert before is not None
        owner._parameters[name] = nn.Parameter(value.clone(), requires_grad=before.requires_grad)
    else:
        owner._buffers[name] = value.clone()


class _Tracer(fx.Tracer):
    """Follows a network down to its layers; what holds no layer with weights is one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether ``m`` is a leaf of the trace."""
        if isinstance(m, Weighted):
            return True
        inner = any(isinstance(layer, Weighted) for layer in m.modules())
        return not inner and not isinstance(m, nn.Sequential)


class _Trace:
    """Groups as a union-find over the spaces that the layers write."""

    def __init__(self, model: nn.Module, shape: Shape | None) -> None:
        self.model, self.shape = model, shape
        self.parent: list[int] = []
        self.size: list[int] = []
        self.writer: list[str] = []
        self.pinned: set[int] = set()
        self.norms: list[tuple[int, str]] = []
        self.gates: list[tuple[int, str]] = []
        self.gated: set[str] = set()
        self.layers: list[tuple[str, int | None, int, int, str | None]] = []
        self.spaces: dict[fx.Node, int] = {}
        self.moved: set[fx.Node] = set()  # tensors whose removed channels are not zero, as a Sigmoid gives a half
        self.graph = traced(model)
        found = {node: layer_at(model, node) for node in self.graph.nodes}
        self.weighted = {node: layer for node, layer in found.items() if isinstance(layer, Weighted)}
        for node in self.graph.nodes:
            self._visit(node)

    def structure(self, positions: Mapping[str, int]) -> Structure:
        roots = sorted({self._root(space) for space in range(len(self.parent))})
        names = {root: self.writer[root] for root in roots}
        pinned = {self._root(space) for space in self.pinned}

        def of(root: int, pairs: list[tuple[int, str]]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(name for space, name in pairs if self._root(space) == root))

        groups = [Group(names[r], self.size[r], r not in pinned, of(r, self.norms), of(r, self.gates)) for r in roots]
        layers = []
        for name, reads, writes, area, norm in self.layers:
            module = self.model.get_submodule(name)
            assert isinstance(module, Weighted)
            source = None if reads is None else names[self._root(reads)]
            split = 1 if reads is None or isinstance(module, nn.Linear) else module.groups
            bias, writes_to = module.bias is not None, names[self._root(writes)]
            layers.append(Layer(name, source, writes_to, area, positions.get(name, 0), bias, split, norm))
        return Structure({group.name: group for group in groups}, tuple(layers))

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.spaces[node] = self._new("input", self._channels_read())
            self.pinned.add(self.spaces[node])
            return
        operands = _operands(node)
        sources, moved = [self.spaces[operand] for operand in operands], [operand in self.moved for operand in operands]
        if node.op == "output":
            self.pinned.add(sources[0])
        elif node.op == "call_module":
            self.spaces[node] = self._call(node, str(node.target), sources[0], moved[0])
        elif node.op == "call_function" and node.target in _JOINS and len(sources) == 2:
            self._join(sources[0], sources[1], node)
            self.spaces[node] = sources[0]
            if all(moved) or (any(moved) and node.target not in _PRODUCTS):  # a product with a zero is one
                self.moved.add(node)
        elif node.op == "call_function" and node.target is torch.cat:
            self.spaces[node] = self._new(node.name, sum(self.size[self._root(space)] for space in sources))
            self.pinned |= {self.spaces[node], *sources}
        else:
            raise UserError(
                f"channels cannot be followed through '{node.target}'",
                hint="this network cannot be pruned; layers, sums, products and torch.cat can be followed",
            )

    def _call(self, node: fx.Node, name: str, space: int, moved: bool) -> int:
        """The space that a module writes when it reads ``space``, whose zeros others have ``moved`` or not."""
        module = self.model.get_submodule(name)
        if isinstance(module, Norm):
            self.norms.append((space, name))
            if moved or name not in self.gated or module.num_features != self.size[self._root(space)]:
                self.pinned.add(space)
        if isinstance(module, nn.PReLU) and module.num_parameters > 1:
            self.pinned.add(space)
        if isinstance(module, REGROUPING):
            made = self._new(name, channels_behind(module, self.size[self._root(space)]))
            self.pinned |= {space, made}
            return made
        if moved and isinstance(module, Weighted):
            self.pinned.add(space)
        elif moved or _moves_zero(module):
            self.moved.add(node)
        if not isinstance(module, Weighted):
            return space
        if any(name == other for other, *_ in self.layers):
            raise UserError(
                f"channels cannot be followed through '{name}', which is called twice",
                hint="this network cannot be pruned; make two layers",
            )
        if over_length(self.model, node, self.shape):
            self._add_over_length(name, module.weight)
            self.pinned.add(space)
            return space
        depthwise = isinstance(module, Convolution) and 1 < module.groups == module.in_channels == module.out_channels
        written = space if depthwise else self._new(name, module.weight.shape[0])
        if isinstance(module, nn.Linear):
            area = module.in_features // self.size[self._root(space)]
        else:
            self.size[self._root(space)] = module.in_channels  # of an input that is cut or shuffled nothing else tells
            area = math.prod(module.kernel_size)
            if module.groups > 1 and not depthwise:
                self.pinned |= {space, written}
        norm = norm_behind(self.model, node)
        gate = norm or name
        self.gated.add(gate)
        self.gates.append((written, gate))
        self.layers.append((name, None if depthwise else space, written, area, norm))
        return written

    def _add_over_length(self, name: str, weight: Tensor) -> None:
        """Note a linear layer whose inputs and outputs are lengths, which stay; it has one weight for all channels.

        Its bias makes something else of a channel that is zero.
        """
        outputs, inputs = weight.shape
        reads, writes = self._new(f"length of {name}", inputs), self._new(name, outputs)
        self.pinned |= {reads, writes}
        self.layers.append((name, reads, writes, 1, None))

    def _channels_read(self) -> int:
        """Channels of the network's input, as its first layer reads them; a flattened image counts as its pixels."""
        for layer in self.weighted.values():
            if isinstance(layer, Convolution):
                return layer.in_channels
        node, first = next(iter(self.weighted.items()))
        assert isinstance(first, nn.Linear)
        return self.shape[0] if self.shape and over_length(self.model, node, self.shape) else first.in_features

    def _new(self, writer: str, size: int) -> int:
        self.parent.append(len(self.parent))
        self.size.append(size)
        self.writer.append(writer)
        return len(self.parent) - 1

    def _root(self, space: int) -> int:
        while self.parent[space] != space:
            space = self.parent[space]
        return space

    def _join(self, a: int, b: int, node: fx.Node) -> None:
        first, second = sorted((self._root(a), self._root(b)))
        if self.size[first] != self.size[second]:
            raise UserError(
                f"'{node.name}' adds {self.size[second]} channels to {self.size[first]}",
                hint="channels of such a shortcut cannot be followed",
            )
        self.parent[second] = first


def traced(model: nn.Module) -> fx.Graph:
    """The operations of ``model``, whose layers are calls of modules.

    Raises:
        UserError: it cannot be traced.
    """
    try:
        return _Tracer().trace(model)
    except Exception as error:  # the forward of a network may raise anything
        raise UserError(
            f"the network cannot be traced: {first_line(error)}", hint="this network cannot be pruned"
        ) from error


def layer_at(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The layer that ``node`` calls."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _operands(node: fx.Node) -> list[fx.Node]:
    """The tensors that ``node`` reads, one that it reads twice named twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, dict(node.kwargs)), found.append)
    return found


def over_length(model: nn.Module, node: fx.Node, shape: Shape | None) -> bool:
    """Return whether the layer at ``node`` is linear over the length of a signal, (N, channels, length)."""
    if not isinstance(layer_at(model, node), nn.Linear):
        return False
    while node.op != "placeholder":
        node = node.all_input_nodes[0]
        layer = layer_at(model, node)
        if isinstance(layer, Convolution):
            return True
        if isinstance(layer, nn.Flatten):
            return layer.start_dim > 1
    if shape is not None:
        return len(shape) > 1
    return any(isinstance(layer, Convolution) for layer in model.modules())  # none reads a flat input


def _moves_zero(layer: nn.Module) -> bool:
    """Return whether ``layer``, or the function inside one of Brevitas, makes something else of a zero."""
    clamps = [part for part in layer.modules() if isinstance(part, nn.Hardtanh)]
    sigmoids = any(isinstance(part, nn.Sigmoid | nn.Hardsigmoid) for part in layer.modules())
    return sigmoids or any(not clamp.min_val <= 0 <= clamp.max_val for clamp in clamps)


def norm_behind(model: nn.Module, node: fx.Node) -> str | None:
    """The batch norm that alone reads what the layer at ``node`` writes, be it through layers without weights."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.op != "call_module":
            return None
        layer = model.get_submodule(str(node.target))
        if isinstance(layer, Norm):
            return str(node.target)
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear, *REGROUPING)):
            return None
    return None


def normalized_layers(model: nn.Module, shape: Shape) -> list[tuple[Weighted, str, Norm]]:
    """The batch norms by name, each with the layer whose outputs it normalizes, for samples of ``shape``.

    Raises:
        UserError: a batch norm that does not stand right behind a layer which nothing else reads, or behind one that is
            linear over the length of a signal, whose outputs are no channels.
    """
    found: list[tuple[Weighted, str, Norm]] = []
    for node in traced(model).nodes:
        layer = layer_at(model, node)
        if not isinstance(layer, Norm):
            continue
        source = node.all_input_nodes[0]
        before = layer_at(model, source)
        where, hint = f"batch norm '{node.target}'", "such a batch norm cannot be folded into weights"
        if not isinstance(before, Weighted) or len(source.users) > 1:
            raise UserError("it does not stand right behind a layer of its own", where=where, hint=hint)
        if over_length(model, source, shape):
            what = f"it stands behind '{source.target}', whose weights are the same for all channels"
            raise UserError(what, where=where, hint=hint)
        found.append((before, str(node.target), layer))
    return found
