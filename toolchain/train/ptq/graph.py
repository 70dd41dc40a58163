"""A float network as a graph of layers: traced, batch norms folded, and the places found where codes are needed.

A convolution, a pool, a fully connected layer and a sum compute on codes, so each tensor they read passes a quantizer
first, unless it already holds codes: pixels, or what a maximum, a pad or a reshape makes of codes.
"""

from __future__ import annotations

import copy
import operator

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from toolchain.errors import UserError

Weighted = nn.Conv2d | nn.Linear
RELU = (nn.ReLU, nn.ReLU6)
AVERAGING = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_ON_CODES = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.ZeroPad2d, *AVERAGING)
"""Layers that read codes."""
RESHAPING = (nn.Flatten, nn.Identity)
KEEPING = (nn.MaxPool2d, nn.ZeroPad2d, *RESHAPING)
"""Layers whose output holds values of their input."""
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
_NOTHING = (nn.Dropout, nn.Dropout2d)
_KNOWN = (*_ON_CODES, *RESHAPING, *RELU, *_NORM, *_NOTHING)


def layer_graph(model: nn.Module) -> fx.GraphModule:
    """A copy of ``model`` as a graph in eval mode whose calls all have a layer of their own, batch norms folded.

    A batch norm with no convolution or fully connected layer of its own in front of it stays.

    Raises:
        UserError: a layer or an operation that cannot be quantized here; names it.
    """
    traced = fx.symbolic_trace(copy.deepcopy(model).eval())
    for node in list(traced.graph.nodes):
        _check(traced, node)
    _own_layers(traced)
    for node in list(traced.graph.nodes):
        layer = layer_of(traced, node)
        if isinstance(layer, (*_NOTHING, nn.Identity)):
            _remove(traced, node)
        elif isinstance(layer, _NORM):
            _fold(traced, node, layer)
    for node in traced.graph.nodes:
        node.meta.clear()  # else the ONNX exporter takes the layers' inner structure from here
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def layer_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that ``node`` calls; None for a sum, the input and the output."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def input_of(node: fx.Node) -> fx.Node:
    """The only tensor that a layer reads."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def places(graph: fx.GraphModule, pixels: bool) -> dict[fx.Node, bool]:
    """The nodes behind which a quantizer is needed, in order, and whether it is signed.

    Args:
        graph: from `layer_graph`.
        pixels: the input holds pixels, which are codes.
    """
    codes: set[fx.Node] = set()
    positive: set[fx.Node] = set()
    found: dict[fx.Node, bool] = {}
    for node in graph.graph.nodes:
        layer = layer_of(graph, node)
        reads_codes = isinstance(layer, _ON_CODES) or node.op == "call_function"
        for source in node.all_input_nodes if reads_codes else ():
            if source not in codes:
                found[source] = source not in positive
                codes.add(source)
        if (node.op == "placeholder" and pixels) or (isinstance(layer, KEEPING) and input_of(node) in codes):
            codes.add(node)
        inherits = isinstance(layer, (*KEEPING, *AVERAGING)) or node.op == "call_function"
        if isinstance(layer, RELU) or (inherits and all(source in positive for source in node.all_input_nodes)):
            positive.add(node)
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def _check(graph: fx.GraphModule, node: fx.Node) -> None:
    """The node is one that the rest of this file knows."""
    layer = layer_of(graph, node)
    if node.op in ("placeholder", "output"):
        return
    if node.op == "call_function" and node.target is operator.add and len(node.all_input_nodes) == len(node.args):
        return
    odd_padding = isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))
    if isinstance(layer, _KNOWN) and not odd_padding:
        return
    what = type(layer).__name__ if layer is not None else getattr(node.target, "__name__", str(node.target))
    known = ", ".join(sorted({kind.__name__ for kind in _KNOWN}))
    raise UserError(f"'{node.target}' ({what}) cannot be quantized after training", hint=f"known: sums and {known}")


def _own_layers(graph: fx.GraphModule) -> None:
    """Give every call of a shared layer a copy of it, so that each can get its own quantizer."""
    used: set[str] = set()
    for node in graph.graph.nodes:
        if node.op == "call_module":
            target, count = str(node.target), 1
            while target in used:
                count += 1
                target = f"{node.target}_{count}"
            if count > 1:
                graph.add_submodule(target, copy.deepcopy(graph.get_submodule(str(node.target))))
                node.target = target
            used.add(target)


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(input_of(node))
    graph.graph.erase_node(node)


def _fold(graph: fx.GraphModule, node: fx.Node, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Fold a batch norm into the layer in front of it, when nothing else reads that layer."""
    source = input_of(node)
    layer = layer_of(graph, source)
    if len(source.users) > 1 or not isinstance(layer, Weighted) or not norm.track_running_stats:
        return
    fused = fuse_conv_bn_eval(layer, norm) if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval(layer, norm)
    graph.set_submodule(str(source.target), fused)
    _remove(graph, node)
