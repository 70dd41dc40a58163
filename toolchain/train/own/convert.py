"""A float network as a graph of layers to the same network with quantizers where codes are read.

Convolutions, fully connected layers, pools, products of two tensors and smooth functions compute on codes; a smooth
function is a table of eight bits then, which costs little. What is added, or put side by side, passes one quantizer, so
that the sum is one of integers and the channels have one scale; parts, shuffles and maxima of codes keep theirs, and
parts of one tensor that are put side by side need no quantizer. A ReLU takes in the quantizer behind it.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator

import torch
from torch import fx, nn

from toolchain.ir.names import Names
from toolchain.train.layers import Layers
from toolchain.train.own.kinds import (
    AVERAGING,
    KEEPING,
    MOVING,
    ON_CODES,
    SMOOTH,
    Values,
    Weighted,
)
from toolchain.train.own.pads import check_pads
from toolchain.train.own.trace import PATH, call_behind, layer_of

_TABLE_BITS = 8


def with_quantizers(plain: fx.GraphModule, make: Layers, *, codes: bool) -> fx.GraphModule:
    """A copy of ``plain`` whose layers ``make`` has quantized, with its weights.

    Args:
        plain: from `toolchain.train.own.trace.layer_graph`.
        make: makes layers by their paths; its ``first`` and ``last`` layer are set here.
        codes: the input holds codes; else it passes a quantizer first.

    Raises:
        UserError: a pad of zeros that no unit has; names its layer.
    """
    graph = copy.deepcopy(plain)
    weighted = [str(node.target) for node in graph.graph.nodes if isinstance(layer_of(graph, node), Weighted)]
    if weighted:
        make.first, make.last = weighted[0], weighted[-1]
    _Converter(graph, make).convert(codes)
    check_pads(graph)
    graph.graph.lint()
    graph.recompile()
    return graph


class _Converter:
    """Walks the graph in order; ``codes`` maps a tensor to the node that holds its codes."""

    def __init__(self, graph: fx.GraphModule, make: Layers) -> None:
        self.module, self.make = graph, make
        self.names = Names((name for name, _ in graph.named_modules()), first=2)
        self.codes: dict[fx.Node, fx.Node] = {}
        self.sums: set[fx.Node] = set()  # averages of codes: more bits, which a fully connected layer takes as they are
        self.origin: dict[fx.Node, fx.Node] = {}  # the tensor whose values another one holds, in other places
        self.parent: dict[fx.Node, fx.Node] = {}
        self.join: dict[fx.Node, fx.Node] = {}  # the first sum or concatenation that a tensor goes into
        self.shared: dict[fx.Node, str] = {}  # name of the quantizer of a set of tensors that are joined
        self.values: dict[fx.Node, Values] = {}
        self.factors: set[fx.Node] = set()  # what products read

    def convert(self, input_is_codes: bool) -> None:
        nodes = list(self.module.graph.nodes)
        for node in nodes:
            self._note(node)
        for node in nodes:
            joins = [user for user in node.users if self._is_join(user)]
            if node.op == "placeholder":
                readers = list(node.users)
                self.codes[node] = node if input_is_codes else call_behind(self.module, node, self._input(), readers)
            elif node.op != "output":
                self._convert(node)
            if joins and node.target is not torch.cat:
                self._share(node, joins)

    def _note(self, node: fx.Node) -> None:
        """Note the tensors that are joined, and what they hold."""
        layer, sources = layer_of(self.module, node), node.all_input_nodes
        origins = list(dict.fromkeys(self.origin[source] for source in sources))
        keeps = isinstance(layer, KEEPING) or (node.target is torch.cat and len(origins) == 1)
        self.origin[node] = origins[0] if keeps else node
        if node.target is operator.mul:
            self.factors.update(origins)
        if self._is_join(node):
            joined = [*origins, node] if node.target is torch.cat else origins
            self.join |= {source: node for source in origins if source not in self.join}
            for other in joined[1:]:
                self.parent[self._root(other)] = self._root(joined[0])
        self.values[node] = Values.of(layer, [self.values[source] for source in sources])

    def _is_join(self, node: fx.Node) -> bool:
        """Return whether ``node`` needs one scale for all that it reads: it is a sum, or a concatenation of several."""
        return node.op == "call_function" and node.target is not operator.mul and self.origin[node] is node

    def _convert(self, node: fx.Node) -> None:
        layer, name = layer_of(self.module, node), str(node.target)
        if isinstance(layer, Weighted):
            self.module.set_submodule(name, self.make.like(name, layer))
        elif node.op == "call_function":
            if node.target is torch.cat and (self._is_join(node) or self.origin[node] in self.codes):
                self.codes[node] = node
        elif isinstance(layer, KEEPING) and node.all_input_nodes[0] in self.codes.values():
            self.codes[node] = node
            if node.all_input_nodes[0] in self.sums:
                self.sums.add(node)
        elif isinstance(layer, AVERAGING):
            self.codes[node] = node
            self.sums.add(node)
        readers = list(self._readers(node))
        joined = any(self._is_join(reader) for reader in readers)
        if any(self._needs_codes(reader, node) for reader in readers):
            self._quantize(node, layer, joined=joined)
        elif joined and node not in self.codes and any(self._moves(user) for user in node.users):
            self._quantize(node, None, joined=True)  # hardware moves codes rather than sums

    def _readers(self, node: fx.Node) -> Iterator[fx.Node]:
        """Yield the readers of ``node``, also those behind layers that only move values."""
        for user in node.users:
            if self._moves(user):
                yield from self._readers(user)
            else:
                yield user

    def _needs_codes(self, reader: fx.Node, node: fx.Node) -> bool:
        """Return whether ``reader`` computes on codes and ``node`` gives none, or none of few bits."""
        layer = layer_of(self.module, reader)
        if not self._computes_on_codes(reader) or self._moves(node):
            return False  # the moved values come from a tensor that was seen before
        return node not in self.codes or (node in self.sums and not isinstance(layer, nn.Linear))

    def _moves(self, node: fx.Node) -> bool:
        """Return whether ``node`` puts values into other places and computes nothing."""
        parts = node.target is torch.cat and self.origin[node] is not node
        return parts or isinstance(layer_of(self.module, node), MOVING)

    def _computes_on_codes(self, node: fx.Node) -> bool:
        return isinstance(layer_of(self.module, node), (*ON_CODES, *SMOOTH)) or node.target is operator.mul

    def _quantize(self, node: fx.Node, layer: nn.Module | None, *, joined: bool) -> None:
        """Give the layers that read ``node`` its codes."""
        if isinstance(layer, nn.ReLU):
            self.module.set_submodule(str(node.target), self.make.relu(str(node.target), added=joined))
            self.codes[node] = node
            return
        if joined and node.target is not torch.cat:
            name = self._shared(node)
        else:
            name = self.names.fresh(f"{node.target if node.op == 'call_module' else node.meta[PATH]}_codes")
            smooth = all(isinstance(layer_of(self.module, reader), SMOOTH) for reader in self._readers(node))
            self._add(name, [node], _TABLE_BITS if smooth else 0)
        readers = [user for user in node.users if self._computes_on_codes(user) or self._moves(user)]
        self.codes[node] = call_behind(self.module, node, name, readers)

    def _share(self, node: fx.Node, joins: list[fx.Node]) -> None:
        """Let what ``node`` is joined by read the quantizer of all that is joined."""
        origin, known = self.origin[node], self.codes.get(node, node)
        shared, passed = known, self.codes.get(origin, origin)
        if origin.target is not torch.cat and str(passed.target) != self.shared.get(self._root(origin)):
            shared = call_behind(self.module, known, self._shared(node), [])
        for join in joins:
            join.replace_input_with(node, shared)
            if known is not shared:
                join.replace_input_with(known, shared)

    def _shared(self, node: fx.Node) -> str:
        """The name of the quantizer that the tensors joined with ``node`` pass."""
        node = self.origin[node]
        root = self._root(node)
        if root not in self.shared:
            members = [other for other in self.parent if self._root(other) is root and other.target is not torch.cat]
            name = self.shared[root] = self.names.fresh(self.join[node].meta[PATH])
            self._add(name, members)
        return self.shared[root]

    def _add(self, name: str, tensors: list[fx.Node], least: int = 0) -> None:
        """Add a quantizer of ``tensors``, where they are signed of ``least`` bits or more.

        What products read has no zero point, which a unit of its own would take away.
        """
        values = max(self.values[tensor] for tensor in tensors)
        if values is Values.POSITIVE:
            self.module.add_submodule(name, self.make.relu(name))
            return
        leaning = values is Values.LEANING and self.factors.isdisjoint(tensors)
        self.module.add_submodule(name, self.make.signed(name, least, leaning=leaning))

    def _input(self) -> str:
        name = self.names.fresh("input")
        self.module.add_submodule(name, self.make.input(name))
        return name

    def _root(self, node: fx.Node) -> fx.Node:
        self.parent.setdefault(node, node)
        while self.parent[node] is not node:
            node = self.parent[node]
        return node
