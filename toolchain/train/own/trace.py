"""A network of the user's own as a graph in which every call is a layer, a sum, a product or a concatenation.

Functions become the layers they stand for, what changes no value goes, a layer without weights that is called twice is
copied. What cannot be followed is refused with the layer, what is wrong and what to write instead.
"""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UserError, with_article
from toolchain.ir.names import Names
from toolchain.train.own.fixed_weights import fix_weights
from toolchain.train.own.kinds import (
    FLATTENS,
    LAYERS,
    WITH_WEIGHTS,
    Weighted,
    check_layer,
    with_equal_windows,
    with_factors,
    with_zero_pads,
)
from toolchain.train.own.moves import shuffled, taken
from toolchain.train.own.tracer import Shapes, trace, write_sizes
from toolchain.train.own.transposed import write_out_transposed
from toolchain.train.own.twins import (
    CASTS,
    KEEPING,
    OR_QUANTIZE,
    QUANTIZABLE,
    RESHAPING,
    NoTwinError,
    gated,
    has_twin,
    hint_for,
    reshaped,
    twins,
)

_ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")
_MULTIPLIES = (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply")
_CATS = (torch.cat, torch.concat, torch.concatenate)
_PARTS = (torch.chunk, torch.split, torch.tensor_split, "chunk", "split", "tensor_split")
_TAKES = (operator.getitem, torch.narrow, "narrow")
_VIEWS = (torch.reshape, torch.flatten, torch.unflatten, "view", "reshape", "flatten", "unflatten", "contiguous")
_TURNS = (
    torch.permute, torch.transpose, torch.swapaxes, torch.movedim, "permute", "transpose", "swapaxes", "movedim"
)  # fmt: skip
_SCALES = ("add", "iadd", "sub", "isub", "subtract", "mul", "imul", "multiply", "div", "truediv", "divide")
"""What a network does that scales its input itself."""
_NO_TENSOR = (int, float, bool)
PATH = "path"
"""Key of a node's ``meta``: what a sum, product or concatenation is called, like a layer of its module."""


def layer_graph(model: nn.Module, example: Tensor, *, copies: bool = False) -> fx.GraphModule:
    """A copy of ``model`` as a graph of layers; it computes what ``model`` computes in eval mode.

    Besides layers it calls `operator.add` of two tensors of one shape, `operator.mul` of two such or of a map and a
    value a channel, and `torch.cat` over axis 1.

    Args:
        model: takes one tensor and returns one.
        example: an input with a batch of two or more.
        copies: a layer with weights that is called more than once becomes several; else it is refused.

    Raises:
        UserError: an operation that is none of these; names the layer and what to write instead.
    """
    made = (vars(layer).get("weight") for layer in model.modules())  # by a hook, and no leaf, which no copy is made of
    model = copy.deepcopy(model, {id(weight): weight.detach() for weight in made if isinstance(weight, Tensor)}).eval()
    if copies:
        fix_weights(model)
    write_out_transposed(model)
    if isinstance(model, Weighted):
        model = nn.Sequential(OrderedDict(layer=model))
    graph = fx.GraphModule(model, trace(model))
    with torch.no_grad():
        try:
            shapes = Shapes(graph).of(example)
        except IndexError as error:  # `chunk` makes fewer parts than it is asked for where they come out even
            what = "it reads a part of a tensor that is not there"
            hint = "ask for as many parts as there are: a, b = x.chunk(2, 1)"
            raise UserError(what, where=f"forward of {type(model).__name__}", hint=hint) from error
        write_sizes(graph, shapes, example)
    rewriter = _Rewriter(graph, model, shapes, copies)
    rewriter.rewrite()
    graph.delete_all_unused_submodules()
    for node in graph.graph.nodes:
        path = ".".join(filter(None, (_scope(node), _label(node)))) if node.op == "call_function" else ""
        node.meta.clear()  # else the ONNX exporter takes the layers' inner structure from here
        if path:
            node.meta[PATH] = path
    graph.graph.lint()
    graph.recompile()
    return graph.eval()


def layer_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that ``node`` calls; None for a sum, a product, a concatenation, the input and the output."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def call_behind(graph: fx.GraphModule, node: fx.Node, name: str, readers: list[fx.Node]) -> fx.Node:
    """A call of the layer ``name`` on ``node``, which ``readers`` read in its place."""
    with graph.graph.inserting_after(node):
        call = graph.graph.call_module(name, (node,))
    for reader in readers:
        reader.replace_input_with(node, call)
    return call


class _Rewriter:
    """Turns the nodes of a traced graph into calls of layers, in place."""

    def __init__(self, graph: fx.GraphModule, model: nn.Module, shapes: Shapes, copies: bool) -> None:
        self.module, self.graph, self.copies = graph, graph.graph, copies
        self.shapes, self.types, self.numbers = shapes.found, shapes.types, shapes.numbers
        self.root = type(model).__name__
        self.called: set[str] = set()
        self.done: set[fx.Node] = set()  # nodes that went with another one
        self.tokens = False  # whether a linear layer over the last axis of a signal was seen
        self.weights: dict[int, str] = {}  # the first layer that has a tensor
        self.names = Names((name for name, _ in (*model.named_modules(), *model.named_parameters())), first=2)

    def rewrite(self) -> None:
        nodes = list(self.graph.nodes)
        for node in nodes:
            if not node.users and node.op != "output" and self._in_place(node):
                raise self._fault(node, "changes its input in place, and its result is not used", "write x = ...")
        for node in nodes:
            if node.op == "output":
                self._output(node)
            elif node.op == "call_module":
                self._layer(node)
            elif node in self.shapes and node.op in ("call_function", "call_method") and node not in self.done:
                self._call(node)
        self.graph.eliminate_dead_code()
        for node in self.graph.nodes:
            joins = node.op == "call_function" and node.target in (operator.add, operator.mul, torch.cat)
            if node.op not in ("placeholder", "call_module", "output") and not joins:
                raise self._unknown(node)

    def _in_place(self, node: fx.Node) -> bool:
        layer = layer_of(self.module, node)
        if layer is not None:
            return bool(getattr(layer, "inplace", False))
        named = isinstance(node.target, str) and node.op == "call_method" and node.target.endswith("_")
        return named or bool(node.kwargs.get("inplace")) or node.target in (operator.iadd, operator.imul)

    def _output(self, node: fx.Node) -> None:
        if not isinstance(node.args[0], fx.Node) or node.args[0] not in self.shapes:
            raise UserError(
                f"forward returns a {type(node.args[0]).__name__}, not one tensor",
                where=f"forward of {self.root}",
                hint="return the logits (N, classes) alone",
            )

    def _layer(self, node: fx.Node) -> None:
        """A call of a module: check it, drop it, or give it a copy of its own."""
        called, name = layer_of(self.module, node), str(node.target)
        assert called is not None
        where = f"layer '{name}'"
        layer = with_zero_pads(where, called)
        brevitas = type(layer).__module__.startswith("brevitas.nn")
        if not isinstance(layer, LAYERS) and not brevitas:
            kind = type(layer).__name__
            hint = self._hint(hint_for(kind), more=kind.lower() in QUANTIZABLE)
            raise UserError(f"{with_article(kind)} cannot be built", where=where, hint=hint)
        if node not in self.shapes:
            raise UserError("it returns more than one tensor", where=where, hint="one tensor alone")
        if not node.args and len(node.kwargs) == 1:  # conv(input=x), which hooks of modules are given no input of
            node.args, node.kwargs = tuple(node.kwargs.values()), {}
        shape = self.shapes[node.all_input_nodes[0]]
        check_layer(where, layer, shape)
        if isinstance(layer, Weighted) and not brevitas and not self.copies:
            self._demand_own_weight(name, layer)
        self.tokens |= isinstance(layer, nn.Linear) and len(shape) == 3
        layer = with_factors(where, layer, shape)
        plain = with_equal_windows(where, layer, shape, whole=not brevitas and self._is_window(node))
        if plain is not called:
            self._replace(node, [plain], "")
            return
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment] # quantizers are not, so that no difference may hide
        if isinstance(layer, nn.Identity) and not brevitas:
            self._replace(node, [], "")
            return
        if isinstance(layer, FLATTENS) and not self._reshape(node):
            return
        if name in self.called and not brevitas:
            if isinstance(layer, WITH_WEIGHTS) and not self.copies:
                what = "it is called twice, and units do not share weights"
                raise UserError(what, where=where, hint="make two layers")
            node.target = self.names.fresh(name)
            self.module.add_submodule(node.target, copy.deepcopy(layer))
        self.called.add(str(node.target))

    def _demand_own_weight(self, name: str, layer: Weighted) -> None:
        """Refuse a weight that another layer has too: trained with quantizers the two would become different."""
        other = self.weights.setdefault(id(layer.weight), name)
        if other != name:
            raise UserError(
                f"it shares its weight with layer '{other}', and units do not share weights",
                where=f"layer '{name}'",
                hint="give each a weight of its own",
            )

    def _call(self, node: fx.Node) -> None:
        """A function or a method that gives a tensor."""
        if node.target in _ADDS:
            self._add(node)
        elif node.target in _MULTIPLIES:
            self._multiply(node)
        elif node.target in _CATS:
            self._cat(node)
        elif node.target in KEEPING or (node.target in CASTS and self.types[node] == torch.float32):
            self._replace(node, [], "")
        elif _label(node) == "sub" and len(node.all_input_nodes) == 1:
            raise self._fault(node, "subtracts a constant", "put it into the bias of a layer", more=True)
        elif node.target in (*_VIEWS, *_TURNS) and self._shuffle(node):
            pass
        elif node.target in _TAKES and not _adds_axes(node):
            self._take(node)
        elif node.target in RESHAPING or _adds_axes(node):
            self._reshape(node)
        elif node.target in ("expand", "expand_as") and self._repeats_a_position(node):
            self._replace(node, [], "")
        else:
            source, args, kwargs = _operands(node)
            if source is None and has_twin(node.target):
                hint = "give numbers; the mean of a whole map is x.mean((2, 3))"
                raise self._fault(node, f"'{_label(node)}' reads more than one tensor, or a size from one", hint)
            try:
                layers = twins(node.target, args, kwargs, self.shapes.get(source, ())) if source is not None else None
            except NoTwinError as error:
                label = _label(node)
                what = f"'{label}' cannot be built: {error}"
                raise self._fault(node, what, hint_for(label), more=label in QUANTIZABLE) from error
            if layers is None:
                raise self._unknown(node)
            where, before = self._place(node), self.shapes[node.all_input_nodes[0]]
            for layer in layers:
                check_layer(where, layer, before)
            whole = self._is_window(node)
            layers = [with_factors(where, layer, before) for layer in layers]
            made = [with_equal_windows(where, layer, before, whole=whole) for layer in layers]
            self._replace(node, made, _label(node))

    def _take(self, node: fx.Node) -> None:
        """Let layers stand for a part of a tensor, which is one of several where they are cut at once."""
        read = node.args[0]
        calls = [read, node] if isinstance(read, fx.Node) and _is_call(read, _PARTS) else [node]
        source = calls[0].all_input_nodes[0]
        if source not in self.shapes or not self._tells(calls, source):
            raise self._unknown(calls[0])
        try:
            layers = taken(self.shapes[source], lambda places: self._run(calls, source, places))
        except NoTwinError as error:
            what = f"'{_label(calls[0])}' cannot be built: {error}"
            raise self._fault(node, what, error.hint, more=True) from error
        self._replace(node, layers, _label(calls[0]), source)

    def _shuffle(self, node: fx.Node) -> bool:
        """Let layers stand for the longest chain of views and turns from ``node`` on that they can; whether they do."""
        chain = [node]
        while len(chain[-1].users) == 1 and _is_call(after := next(iter(chain[-1].users)), (*_VIEWS, *_TURNS)):
            chain.append(after)
        source = node.all_input_nodes[0]
        while any(each.target in _TURNS for each in chain) and self._tells(chain, source):
            layers = shuffled(self.shapes[source], lambda places: self._run(chain, source, places))
            if layers is not None:
                self.done.update(chain)
                self._replace(chain[-1], layers, "shuffle", source)
                for each in chain[-2::-1]:
                    self.graph.erase_node(each)
                return True
            chain.pop()
        return False

    def _tells(self, calls: Sequence[fx.Node], source: fx.Node) -> bool:
        """Return whether ``calls`` read ``source``, each other and numbers alone."""
        return all(read in (source, *calls) or read in self.numbers for call in calls for read in call.all_input_nodes)

    def _run(self, calls: Sequence[fx.Node], source: fx.Node, value: Any) -> Any:
        """What ``calls``, one after the other, make of ``value`` in the place of ``source``."""
        known = {**self.numbers, source: value}
        for call in calls:
            args, kwargs = fx.node.map_arg((call.args, call.kwargs), known.__getitem__)
            function = call.target if call.op == "call_function" else getattr(type(args[0]), str(call.target))
            known[call] = function(*args, **kwargs)  # type: ignore[operator]
        return known[calls[-1]]

    def _is_window(self, node: fx.Node) -> bool:
        """Whether ``node``, if it is a pool of all positions, has to be written as a pool with a window.

        Such a one takes over a pad in front, and torch exports it alike over tokens and over signals.
        """
        source = node.all_input_nodes[0]
        padded = isinstance(layer_of(self.module, source), nn.ZeroPad2d)
        return padded or (self.tokens and len(self.shapes[source]) == 3)

    def _reshape(self, node: fx.Node) -> bool:
        """Let layers stand for a reshape; whether the node is still there, since it is such a layer."""
        source = node.all_input_nodes[0]
        try:
            layers = reshaped(self.shapes[source], self.shapes[node])
        except NoTwinError as error:
            raise self._fault(node, f"'{_label(node)}' reshapes {error}", error.hint, more=True) from error
        if not isinstance(layer_of(self.module, node), nn.Flatten) or not layers:
            self._replace(node, layers, "flatten")
            return False
        return True

    def _repeats_a_position(self, node: fx.Node) -> bool:
        """Return whether ``node`` repeats one position for products alone, which do so by themselves."""
        before, after = self.shapes[node.args[0]], self.shapes[node]  # type: ignore[index]
        one = len(before) == len(after) > 2 and {*before[2:]} == {1} and before[:2] == after[:2]
        return one and all(_is_call(user, _MULTIPLIES) for user in node.users)

    def _add(self, node: fx.Node) -> None:
        named = (value for key, value in node.kwargs.items() if (key, value) != ("alpha", 1))
        values = [value for value in (*node.args, *named) if value is not None]
        tensors = [value for value in values if isinstance(value, fx.Node)]
        if len(tensors) == 1 and [v for v in values if isinstance(v, _NO_TENSOR)] in ([0], [0.0]):  # sum() starts so
            self._replace(node, [], "")
            return
        if len(tensors) == 2 and len(values) != 2:
            raise self._fault(node, "adds a multiple", "put the factor into the weights of a layer")
        if len(tensors) != 2 or _holds_parameter(tensors):
            hint = "put it into the bias of a layer; relu6(x + 3) / 6 is F.hardsigmoid(x)"
            raise self._fault(node, "adds a constant", hint, more=True)
        first, second = (self.shapes.get(tensor) for tensor in tensors)
        if first != second:
            what = f"adds tensors of the shapes {first} and {second}"
            raise self._fault(node, what, "add tensors of one shape; match channels by a 1x1 convolution")
        node.op, node.target, node.args, node.kwargs = "call_function", operator.add, tuple(tensors), {}

    def _multiply(self, node: fx.Node) -> None:
        values = (*node.args, *node.kwargs.values())
        tensors = [value for value in values if isinstance(value, fx.Node)]
        if len(tensors) != 2 or len(values) != 2 or _holds_parameter(tensors):
            raise self._fault(node, "multiplies by a constant", "put it into the weights of a layer", more=True)
        first, second = (self.shapes.get(tensor, ()) for tensor in tensors)
        for source, gate in (tensors, tensors[::-1]):
            layer = gated(layer_of(self.module, gate)) if gate.all_input_nodes == [source] else None
            if layer is not None:
                self._replace(node, [layer], type(layer).__name__.lower(), source)
                return
        single = [len(shape) > 2 and set(shape[2:]) == {1} for shape in (first, second)]
        if first != second and not (first[:2] == second[:2] and len(first) == len(second) and any(single)):
            what = f"multiplies tensors of the shapes {first} and {second}"
            raise self._fault(node, what, "multiply tensors of one shape, or a map and a value a channel, (N, C, 1, 1)")
        node.op, node.target, node.args, node.kwargs = "call_function", operator.mul, tuple(tensors), {}

    def _cat(self, node: fx.Node) -> None:
        given = dict(zip(("tensors", "dim"), node.args, strict=False)) | dict(node.kwargs)
        tensors, axis = given.get("tensors"), given.get("dim", 0)
        rank = len(self.shapes[node])
        if isinstance(tensors, fx.Node):
            raise self._fault(node, "concatenates parts that have no names", "name them: a, b = x.chunk(2, 1)")
        if not isinstance(tensors, list | tuple) or not isinstance(axis, int) or axis % rank != 1:
            raise self._fault(node, f"concatenates along axis {axis}", "concatenate over channels, dim=1")
        node.target, node.args, node.kwargs = torch.cat, (list(tensors), 1), {}

    def _replace(self, node: fx.Node, layers: list[nn.Module], label: str, source: fx.Node | None = None) -> None:
        """Let calls of ``layers`` on ``source``, by default the first tensor that it reads, stand for ``node``."""
        last = source or node.all_input_nodes[0]
        for layer in layers:
            path = self.names.fresh(".".join(filter(None, (_scope(node), label))))
            label = "flatten"  # the second of two
            self.module.add_submodule(path, layer)
            with self.graph.inserting_before(node):
                last = self.graph.call_module(path, (last,))
            self.called.add(path)
        if layers:
            self.shapes[last] = self.shapes[node]
        node.replace_all_uses_with(last)
        self.graph.erase_node(node)

    def _unknown(self, node: fx.Node) -> UserError:
        label = _label(node)
        return self._fault(node, f"'{label}' cannot be built", hint_for(label), more=label in QUANTIZABLE)

    def _fault(self, node: fx.Node, what: str, hint: str, *, more: bool = False) -> UserError:
        """The error at ``node``; ``more`` tells that `toolchain.train.ptq` may read it, see `_hint`."""
        if _label(node) in _SCALES and [n.op for n in node.all_input_nodes if n.op != "get_attr"] == ["placeholder"]:
            hint += ", or leave it out: pixels come over their largest value, numbers as data.normalize says"
            more = False
        return UserError(what, where=self._place(node), hint=self._hint(hint, more=more))

    def _hint(self, hint: str, *, more: bool) -> str:
        """``hint``, and where ``more`` is read, if the network is to be trained here."""
        return f"{hint}{OR_QUANTIZE}" if more and not self.copies else hint

    def _place(self, node: fx.Node) -> str:
        """What an error calls the place of a call."""
        scope = _scope(node)
        return f"layer '{scope}', {node.name}" if scope else f"forward of {self.root}, {node.name}"


def _is_call(node: fx.Node, functions: Sequence[Any]) -> bool:
    """Return whether ``node`` calls one of ``functions`` or methods, whose names layers may have too."""
    return node.op in ("call_function", "call_method") and node.target in functions


def _operands(node: fx.Node) -> tuple[fx.Node | None, tuple[Any, ...], dict[str, Any]]:
    """The tensor a call reads, and its other arguments; no tensor where it reads several."""
    kwargs = dict(node.kwargs)
    args = list(node.args) or [kwargs.pop("input", None)]
    if len(node.all_input_nodes) != 1 or not isinstance(args[0], fx.Node):
        return None, (), {}
    return args[0], tuple(args[1:]), kwargs


def _adds_axes(node: fx.Node) -> bool:
    """Return whether ``node`` indexes a tensor by ``:`` and None alone, which adds axes of size 1."""
    index = node.args[1] if node.target is operator.getitem else None
    return isinstance(index, tuple) and all(part is None or part == slice(None) for part in index)


def _holds_parameter(tensors: list[fx.Node]) -> bool:
    return any(tensor.op == "get_attr" for tensor in tensors)


def _label(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target.strip("_")
    name = str(getattr(node.target, "__name__", node.target)).strip("_")
    return node.name.rstrip("_0123456789") if name == "fn" else name  # functions that dispatch have no name


def _scope(node: fx.Node) -> str:
    """Path of the module whose forward holds the call."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""
