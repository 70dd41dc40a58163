"""A float network as a graph of layers: traced, batch norms folded, and the places found where codes are needed.

A convolution, a pool, a fully connected layer, a sum, a product and a concatenation compute on codes, so each tensor
they read passes a quantizer first, unless it holds codes: pixels, or what a maximum, a pad or a reshape makes of codes.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from toolchain.train.own import trace
from toolchain.train.own.kinds import DROPOUTS, KEEPING, MOVING, ON_CODES, SMOOTH, Norm, Values, Weighted
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.moves import put_before_moves
from toolchain.train.shrink import over_length

RELU = (nn.ReLU, nn.ReLU6)


def layer_graph(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """A copy of ``model`` as a graph in eval mode whose calls all have a layer of their own, batch norms folded.

    A batch norm with no convolution or fully connected layer of its own in front of it stays.

    Args:
        model: takes ``example`` (N, C, ...), N above 1.
        example: inputs, of which only the shape counts.

    Raises:
        UserError: a layer or an operation that cannot be quantized here; names it.
    """
    graph = trace.layer_graph(model, example, copies=True)
    put_before_moves(graph)
    for node in list(graph.graph.nodes):
        layer = layer_of(graph, node)
        if isinstance(layer, DROPOUTS):
            _remove(graph, node)
        elif isinstance(layer, Norm):
            _fold(graph, node, layer, tuple(example.shape[1:]))
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def input_of(node: fx.Node) -> fx.Node:
    """The only tensor that a layer reads."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def is_sum(node: fx.Node) -> bool:
    """Return whether ``node`` adds two tensors."""
    return node.op == "call_function" and node.target is operator.add


def places(graph: fx.GraphModule, pixels: bool, tables: bool = True) -> dict[fx.Node, Values]:
    """The nodes behind which a quantizer is needed, in order, and what it quantizes.

    Args:
        graph: from `layer_graph`.
        pixels: the input holds pixels, which are codes.
        tables: smooth functions read codes too.
    """
    on_codes = (*ON_CODES, *SMOOTH) if tables else ON_CODES
    codes: set[fx.Node] = set()
    kinds: dict[fx.Node, Values] = {}
    found: dict[fx.Node, Values] = {}
    for node in graph.graph.nodes:
        layer = layer_of(graph, node)
        if node.op == "placeholder" and not pixels:  # numbers, whatever reads them
            found[node] = Values.SIGNED
            codes.add(node)
        reads_codes = isinstance(layer, on_codes) or node.op == "call_function"
        for source in node.all_input_nodes if reads_codes else ():
            if source in codes:
                continue
            moved, source = _moved(graph, source)
            kind = kinds[source]
            found[source] = Values.SIGNED if kind is Values.LEANING and _is_factor(graph, source) else kind
            codes |= {source, *moved}
        if (node.op == "placeholder" and pixels) or (isinstance(layer, KEEPING) and input_of(node) in codes):
            codes.add(node)
        kinds[node] = Values.of(layer, [kinds[source] for source in node.all_input_nodes])
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def _is_factor(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a product reads ``node``, whose zero point would be taken away by a unit of its own."""
    return any(
        user.target is operator.mul or (isinstance(layer_of(graph, user), KEEPING) and _is_factor(graph, user))
        for user in node.users
    )


def _moved(graph: fx.GraphModule, node: fx.Node) -> tuple[list[fx.Node], fx.Node]:
    """The reshapes that ``node`` ends, and the tensor whose values they move, behind which hardware quantizes."""
    moved = []
    while isinstance(layer_of(graph, node), MOVING):
        moved.append(node)
        node = input_of(node)
    return moved, node


def combined(node: fx.Node, tensors: list[Tensor]) -> Tensor:
    """Return the sum, product or concatenation of ``tensors``."""
    return torch.cat(tensors, 1) if node.target is torch.cat else node.target(*tensors)  # type: ignore[operator]


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(input_of(node))
    graph.graph.erase_node(node)


def _fold(graph: fx.GraphModule, node: fx.Node, norm: Norm, shape: tuple[int, ...]) -> None:
    """Fold a batch norm into the layer in front of it, when nothing else reads that layer and it writes channels.

    Args:
        shape: of the network's input, without the batch.
    """
    source = input_of(node)
    layer = layer_of(graph, source)
    if len(source.users) > 1 or not isinstance(layer, Weighted) or over_length(graph, source, shape):
        return
    if isinstance(layer, nn.Linear):
        fused: nn.Module = fuse_linear_bn_eval(layer, norm)
    else:
        fused = fuse_conv_bn_eval(layer, norm)  # type: ignore[type-var]
    graph.set_submodule(str(source.target), fused)
    _remove(graph, node)
