"""Bits of what each layer multiplies and writes: of its quantizers, or of those that the run file gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brevitas.proxy.parameter_quant import WeightQuantProxyFromInjectorBase
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from torch import fx, nn

from toolchain.config.run import LayerQuant, QuantConfig
from toolchain.train.own.kinds import Weighted
from toolchain.train.shrink import layer_at, traced


@dataclass(frozen=True)
class LayerBits:
    """Bits of a layer's weights, of what it reads, and of its outputs behind the next quantizer."""

    weights: int
    reads: int
    writes: int


def layer_bits(model: nn.Module, quant: QuantConfig, inputs: int) -> dict[str, LayerBits]:
    """The bits of every convolution and fully connected layer of ``model``, by name.

    Args:
        model: its quantizers are on, where it has any.
        quant: says what a network without quantizers would get.
        inputs: bits of the network's input.
    """
    nodes = {node: layer for node in traced(model).nodes if isinstance(layer := layer_at(model, node), Weighted)}
    names = list(dict.fromkeys(str(node.target) for node in nodes))
    special = {names[-1]: quant.last_weight_bits, names[0]: quant.first_weight_bits}
    found = {}
    for node, layer in nodes.items():
        name = str(node.target)
        own = quant.layers.get(name, LayerQuant()).weight_bits or special.get(name) or quant.weight_bits
        reads = _nearest(model, node, quant, lambda node: node.all_input_nodes[:1], inputs)
        writes = _nearest(model, node, quant, lambda node: list(node.users), quant.act_bits)
        found[name] = LayerBits(_of_quantizer(layer, WeightQuantProxyFromInjectorBase) or own, reads, writes)
    return found


def _nearest(
    model: nn.Module, node: fx.Node, quant: QuantConfig, ahead: Callable[[fx.Node], list[fx.Node]], end: int
) -> int:
    """Bits of the next activation in the direction of ``ahead``; ``end`` where the network ends before one."""
    places = ahead(node)
    while places:
        place, *places = places
        part = layer_at(model, place)
        if isinstance(part, Weighted):
            return quant.act_bits
        own = part and quant.layers.get(str(place.target), LayerQuant()).act_bits
        bits = part and (_of_quantizer(part, ActQuantProxyFromInjectorBase) or own)
        if bits:
            return bits
        if isinstance(part, nn.ReLU):
            return quant.act_bits
        places += ahead(place)
    return end


def _of_quantizer(part: nn.Module, kind: type[nn.Module]) -> int | None:
    """Bits of a quantizer of ``kind`` inside ``part`` that is on."""
    proxies = [proxy for proxy in part.modules() if isinstance(proxy, kind) and proxy.is_quant_enabled]
    return next((int(proxy.bit_width()) for proxy in reversed(proxies)), None)  # type: ignore[operator]
