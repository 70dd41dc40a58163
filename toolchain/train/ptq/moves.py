"""Batch norms and functions of one number behind moves, such as a pixel shuffle, put in front of them.

There a batch norm folds into a convolution, and hardware moves codes in place of sums.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, fx, nn

from toolchain.train.own.kinds import ACTIVATIONS, FLATTENS, MOVES, BlockShuffle, ChannelSlice, FeatureMap, Norm
from toolchain.train.own.trace import layer_of


def put_before_moves(graph: fx.GraphModule) -> None:
    """Put them in front of the moves that nothing else reads, in place."""
    for node in list(graph.graph.nodes):
        while isinstance(layer := layer_of(graph, node), (*ACTIVATIONS, nn.BatchNorm1d, nn.BatchNorm2d)):
            (move,) = node.all_input_nodes
            moved = layer_of(graph, move)
            if not isinstance(moved, MOVES) or len(move.users) > 1 or _ends(graph, node):
                break
            before = _before(layer, moved)
            if before is None:
                break
            graph.set_submodule(str(node.target), before)
            node.replace_all_uses_with(move)
            node.args, move.args = move.args, (node,)
            move.prepend(node)


def _ends(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether nothing but views stands behind ``node``, which the host may apply then."""
    views = [user for user in node.users if isinstance(layer_of(graph, user), (*FLATTENS, *MOVES))]
    return any(user.op == "output" for user in node.users) or any(_ends(graph, user) for user in views)


def _before(layer: nn.Module, move: nn.Module) -> nn.Module | None:
    """The layer that does in front of ``move`` what ``layer`` does behind it; None where there is none."""
    if not isinstance(layer, Norm | nn.PReLU) or (isinstance(layer, nn.PReLU) and layer.num_parameters == 1):
        return layer
    if isinstance(move, ChannelSlice | FeatureMap | nn.PixelUnshuffle):
        return None
    order = _channels(move, len(layer.weight))
    if isinstance(layer, nn.PReLU):
        slopes = nn.PReLU(len(order))
        slopes.weight.data = layer.weight.detach()[order]
        return slopes.eval()
    norm = type(layer)(len(order), layer.eps)
    numbers = {name: values[order] if values.dim() else values for name, values in layer.state_dict().items()}
    norm.load_state_dict(numbers)
    return norm.eval()


def _channels(move: nn.Module, count: int) -> Tensor:
    """For each channel in front of ``move``, its channel among the ``count`` behind it."""
    channels = torch.arange(count)
    if isinstance(move, nn.ChannelShuffle):
        return move(channels.reshape(1, -1, 1, 1)).flatten().argsort()
    if isinstance(move, nn.PixelShuffle):
        return channels.repeat_interleave(move.upscale_factor**2)
    return channels.repeat_interleave(prod(move.block)) if isinstance(move, BlockShuffle) else channels
