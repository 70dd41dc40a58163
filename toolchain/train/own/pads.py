"""Zero pads of a network with quantizers: a convolution or a pool takes them over, no other unit has them."""

from __future__ import annotations

from collections.abc import Iterator

import brevitas.nn as qnn
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from torch import fx, nn

from toolchain.errors import UserError
from toolchain.train.own.kinds import AVERAGING, DROPOUTS, POOLS
from toolchain.train.own.trace import layer_of
from toolchain.train.quantizers import LeaningStep


def check_pads(network: fx.GraphModule, *, host: bool = False) -> None:
    """Demand that what reads a pad of zeros can take it over.

    Args:
        network: a graph of layers; with quantizers, or the layers that stand for them in float.
        host: the host computes what stands in front of the first quantizers, pads among it.

    Raises:
        UserError: a pad that nothing takes over; names its layer.
    """
    for node in network.graph.nodes:
        layer = layer_of(network, node)
        if isinstance(layer, nn.ZeroPad2d) and any(layer.padding) and not (host and _unquantized(network, node)):
            for reader in _readers(network, node):
                _check_reader(network, node, layer_of(network, reader))


def _check_reader(network: fx.GraphModule, node: fx.Node, reader: nn.Module | None) -> None:
    """Demand of a layer that reads the pad ``node`` that it can take it over."""
    where = f"layer '{node.target}'"
    if not isinstance(reader, (nn.Conv1d, nn.Conv2d, nn.ZeroPad2d, *POOLS, *AVERAGING)):
        hint = "pad only in front of a convolution or a pool"
        raise UserError("it pads what no convolution and no pool reads", where=where, hint=hint)
    if isinstance(reader, POOLS) and not _never_negative(_source(network, node)):
        hint = "pad in the pool (padding=...), or put a ReLU directly in front of the pad"
        raise UserError("it pads the input of a maximum with zeros, behind no ReLU", where=where, hint=hint)
    padding = getattr(reader, "padding", 0)
    own = any(padding) if isinstance(padding, tuple | list) else padding
    if isinstance(reader, AVERAGING) and own and not reader.count_include_pad:
        hint = "set count_include_pad=True, or pad in the pool alone"
        raise UserError("it pads for an average whose own pads do not count", where=where, hint=hint)


def _unquantized(network: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether no quantizer stands in front of ``node``."""
    own = layer_of(network, node)
    if own is not None and any(isinstance(part, QuantProxyFromInjector) for part in own.modules()):
        return False
    return all(_unquantized(network, source) for source in node.all_input_nodes)


def _readers(network: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Yield the readers of ``node``, also those behind a dropout, which is not in the file."""
    for user in node.users:
        if isinstance(layer_of(network, user), DROPOUTS):
            yield from _readers(network, user)
        else:
            yield user


def _source(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that makes what the pad ``node`` pads."""
    source = node.all_input_nodes[0]
    layer = layer_of(network, source)
    return _source(network, source) if isinstance(layer, (nn.ZeroPad2d, *DROPOUTS)) else layer


def _never_negative(layer: nn.Module | None) -> bool:
    unsigned = isinstance(layer, qnn.QuantIdentity) and not layer.act_quant.is_signed
    leaning = layer is not None and any(isinstance(part, LeaningStep) for part in layer.modules())
    return (unsigned and not leaning) or isinstance(layer, nn.ReLU | qnn.QuantReLU)
