"""A float network and calibration images to a quantized network, in one walk over the layers.

Float and quantized network run side by side on all images. At each layer what the quantized network has computed so
far is at hand, so that weights, bias and step are fitted to it and make up for errors of the layers before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import brevitas.nn as qnn
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from toolchain.errors import UserError, unknown_name
from toolchain.ir.names import Names
from toolchain.train.methods.base import Granularity
from toolchain.train.methods.lsq import Lsq
from toolchain.train.own.kinds import AVERAGING, SMOOTH, Values, Weighted
from toolchain.train.own.pads import check_pads
from toolchain.train.own.trace import call_behind, layer_of
from toolchain.train.ptq.factors import codes_into, mean_step, quantized_layer, regular_steps, shorten_factors
from toolchain.train.ptq.graph import RELU, combined, input_of, is_sum, layer_graph, places
from toolchain.train.ptq.parts import Parts, Store
from toolchain.train.ptq.rounding import Moments, round_weights
from toolchain.train.quantizers import LeaningStep, LearnedStep, leaning_levels, least_squares_step, nearest, sample

_MAX_BITS = 8
_BATCH = 8  # images at a time: the patches of a convolution are its input times the kernel's area
_STEP_SAMPLES = 1 << 16  # values of a tensor that its step is searched on
_POSITIONS = 128  # positions of an image from which the moments of a convolution's input are taken
_RELU6_MAX = 6.0
_RATIO_BITS, _STEP_BITS = 4, 16  # a step of 16 bits times a ratio of 4 is exact in float32
_ROOM = 1 << 30  # bytes of the layers' outputs for all images that are kept in memory, the rest in files


@dataclass(frozen=True)
class Bits:
    """Bits of the weights and activations; one with values below zero gets one more, up to eight.

    The codes of what reaches further above zero than below, as SiLU's results do, have a zero point.

    Args:
        weights, acts: of the whole network.
        layers: exceptions: of a layer's weights, or of what a ReLU or a quantizer of its own puts out, by name.
        per_channel: each output channel has its own weight step; else a layer has one.
        input: of an input that does not hold pixels.
        factors: of the factors of all requantizers, see `toolchain.train.ptq.factors`; None leaves the steps free.
        tables: quantize in front of smooth functions such as SiLU too: each is a table of codes, which engines have.

    Raises:
        UserError: bits out of 1..8, of factors out of 8..24.
    """

    weights: int = 8
    acts: int = 8
    layers: Mapping[str, int] = field(default_factory=dict)
    per_channel: bool = True
    input: int = _MAX_BITS
    factors: int | None = None
    tables: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        own = {f"layer '{name}'": bits for name, bits in self.layers.items()}
        for what in ("weights", "acts", "input"):
            own[what] = getattr(self, what)
        for what, bits in own.items():
            if not 1 <= bits <= _MAX_BITS:
                raise UserError(f"{bits} bits for {what}", hint=f"give 1 to {_MAX_BITS}")
        if self.factors is not None and not 8 <= self.factors <= 24:
            raise UserError(f"{self.factors} bits for factors", hint="give 8 to 24")

    def act(self, name: str, *, negative: bool) -> int:
        """Return the bits of the quantizer ``name``; ``negative``: of values below zero too."""
        return self.layers.get(name, min(self.acts + negative, _MAX_BITS))


def quantize(
    model: nn.Module,
    images: Tensor,
    bits: Bits,
    *,
    pixels: bool,
    pixel_step: float = 1.0,
    room: int = _ROOM,
) -> fx.GraphModule:
    """The quantized network of a float ``model``, in eval mode; ``model`` is left alone.

    Args:
        model: see `toolchain.train.ptq.graph`.
        images: the network's input values (N, C, ...).
        bits: of weights and activations.
        pixels: the input holds pixels, which need no quantizer.
        pixel_step: what a pixel's step is worth.
        room: bytes of memory for what the layers put out.

    Raises:
        UserError: the network holds something that cannot be quantized, or ``bits`` names an unknown layer.
    """
    plain = layer_graph(model, images[:1].expand(2, *images.shape[1:]))
    network = with_quantizers(plain, bits, pixels=pixels)
    steps = {node: pixel_step for node in network.graph.nodes if pixels and node.op == "placeholder"}
    with torch.no_grad():
        _walk(plain, network, images, steps, Store(room), short=bits.factors is not None)
        if bits.factors is not None:
            shorten_factors(network, steps, bits.factors)
    return network


def with_quantizers(plain: fx.GraphModule, bits: Bits, *, pixels: bool) -> fx.GraphModule:
    """A copy of ``plain`` with quantized layers whose steps are not set yet.

    A ReLU takes in the quantizer behind it; other quantizers are layers of their own, named after what they quantize.
    """
    kinds = {node.name: kind for node, kind in places(plain, pixels, bits.tables).items()}
    network = copy.deepcopy(plain)
    names = set()
    for node in list(network.graph.nodes):
        layer, name = layer_of(network, node), str(node.target)
        if isinstance(layer, Weighted):
            names.add(name)
            width = bits.layers.get(name, bits.weights)
            granularity: Granularity = "channel" if bits.per_channel else "tensor"
            weight_quant = Lsq().weight_quantizer(width, scale="float", granularity=granularity)
            network.set_submodule(name, _quantized(layer, weight_quant))
        if isinstance(layer, RELU) and node.name in kinds:
            names.add(name)
            network.set_submodule(name, Lsq().relu(bits.act(name, negative=False), scale="float"))
        elif node.name in kinds:
            names.add(_insert_quantizer(network, node, kinds[node.name], bits))
    for name in bits.layers:
        if name not in names:
            raise unknown_name("layer", name, names)
    check_pads(network)
    network.recompile()
    return network.eval()


def _insert_quantizer(network: fx.GraphModule, node: fx.Node, kind: Values, bits: Bits) -> str:
    """Put a quantizer behind ``node``; returns its name."""
    taken = Names((name for name, _ in network.named_modules()), first=2)
    name = taken.fresh(f"{node.target if node.op == 'call_module' else node.name}_codes")
    if node.op == "placeholder":
        width = bits.input
    elif _curve_of(network, node) is not None:
        width = bits.layers.get(name, _MAX_BITS)  # a table's input costs little: its results have the bits
    else:
        width = bits.act(name, negative=kind is not Values.POSITIVE)
    if kind is Values.LEANING:
        act_quant = Lsq().leaning_quantizer(width, scale="float")
    else:
        act_quant = Lsq().act_quantizer(width, signed=kind is Values.SIGNED, scale="float")
    network.add_submodule(name, qnn.QuantIdentity(act_quant=act_quant))
    call_behind(network, node, name, list(node.users))
    return name


def _quantized(layer: Weighted, weight_quant: type) -> nn.Module:
    """The layer with a weight quantizer and always a bias."""
    if isinstance(layer, nn.Linear):
        made: Any = qnn.QuantLinear(layer.in_features, layer.out_features, bias=True, weight_quant=weight_quant)
    else:
        kind = qnn.QuantConv1d if isinstance(layer, nn.Conv1d) else qnn.QuantConv2d
        made = kind(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            groups=layer.groups, bias=True, weight_quant=weight_quant,
        )  # fmt: skip
    made.weight.data.copy_(layer.weight.data)
    made.bias.data.copy_(layer.bias.data) if layer.bias is not None else made.bias.data.zero_()
    return made  # type: ignore[no-any-return]


def _walk(
    plain: fx.GraphModule,
    network: fx.GraphModule,
    images: Tensor,
    steps: dict[fx.Node, float],
    store: Store,
    *,
    short: bool,
) -> None:
    """Set weights, biases and steps of ``network`` in the order of its layers; ``steps`` gets those of quantizers.

    Args:
        short: take steps that give short factors.
    """
    floats = dict(plain.named_modules())
    last_use = {source: node for node in network.graph.nodes for source in node.all_input_nodes}
    values: dict[fx.Node, tuple[Parts, Parts]] = {}  # values in the quantized and in the float network
    sizes: dict[fx.Node, int] = {}  # positions of a channel
    for node in network.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            values[node] = store.keep(images.split(_BATCH)), store.keep(images.split(_BATCH))
            sizes[node] = images.shape[2:].numel()
            continue
        layer, before = layer_of(network, node), floats.get(str(node.target), nn.Identity())
        sources = [values[source] for source in operands(node)]
        if layer is None:
            ours, others = zip(*sources, strict=True)
            values[node] = _joined(store, node, ours), _joined(store, node, others)
        else:
            own, theirs = sources[0]
            if isinstance(before, Weighted):
                _fit_weights(layer, before, own, theirs)
            elif isinstance(layer, qnn.QuantReLU | qnn.QuantIdentity):
                allowed = _short(network, node, steps, sizes) if short else _plain(_added_to(node, steps))
                steps[node] = _fit_step(layer, before, own, allowed, _curve_of(network, node) or nn.Identity())
            values[node] = store.keep(map(layer, own)), store.keep(map(before, theirs))
        sizes[node] = values[node][0][0].shape[2:].numel()
        for source in node.all_input_nodes:
            if last_use[source] is node:
                for parts in values.pop(source):
                    parts.drop()


def operands(node: fx.Node) -> list[fx.Node]:
    """The tensors that a node reads, in order; one twice where it is read twice."""
    listed = node.args[0] if isinstance(node.args[0], list | tuple) else node.args
    return [source for source in listed if isinstance(source, fx.Node)]


def _joined(store: Store, node: fx.Node, parts: Sequence[Parts]) -> Parts:
    """Return the sum, product or concatenation of tensors that lie in parts."""
    return store.keep(combined(node, list(tensors)) for tensors in zip(*parts, strict=True))


def _fit_weights(layer: Any, plain: Weighted, own: Parts, theirs: Parts) -> None:
    """Round the weights of ``plain`` into ``layer`` and correct its bias."""
    weight, moments = layer_moments(plain, own, theirs)
    quantizer = _step_of(layer.weight_quant)
    rounded = round_weights(weight, moments, quantizer.levels, per_channel=quantizer.step.dim() > 0)
    layer.weight.copy_(rounded.weight.reshape(plain.weight.shape))
    step = rounded.step.reshape(-1)
    quantizer.step.copy_(step.reshape(quantizer.step.shape) if quantizer.step.dim() else step[0])
    layer.bias.add_(rounded.shift.reshape(-1))


def layer_moments(plain: Weighted, own: Iterable[Tensor], theirs: Iterable[Tensor]) -> tuple[Tensor, Moments]:
    """Return the weights of ``plain`` (groups, rows, columns) and the moments of its inputs.

    ``own`` are the inputs in the quantized network, ``theirs`` in the float one, both in the same parts (N, C, ...).
    """
    groups = 1 if isinstance(plain, nn.Linear) else plain.groups
    weight = plain.weight.reshape(groups, plain.weight.shape[0] // groups, -1)
    moments = Moments.empty(groups, weight.shape[2])
    generator = torch.Generator().manual_seed(0)
    for a, b in zip(own, theirs, strict=True):
        chosen = torch.randint(1 << 30, (_POSITIONS,), generator=generator)
        moments.add(_patches(plain, a, chosen), _patches(plain, b, chosen))
    return weight, moments


def _patches(layer: Weighted, x: Tensor, chosen: Tensor) -> Tensor:
    """Return the inputs of ``layer``'s outputs at the positions ``chosen``: (groups, columns, samples)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).t()[None]
    if any(layer.padding):
        x = functional.pad(x, [int(pad) for pad in layer.padding[::-1] for _ in range(2)])
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer, nn.Conv1d):  # a map of one row
        x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    height, width = ((n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True))
    at = chosen % (height * width) if height * width > len(chosen) else torch.arange(height * width)
    corners = at // width * stride[0], at % width * stride[1]
    rows, columns = (
        corner[:, None] + torch.arange(k) * d for corner, k, d in zip(corners, kernel, dilation, strict=True)
    )
    patches = x[:, :, rows[:, :, None], columns[:, None, :]]
    return patches.permute(1, 3, 4, 0, 2).reshape(layer.groups, -1, len(x) * len(at))


def _curve_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the smooth function that alone reads ``node``, or None."""
    layers = [layer_of(network, user) for user in node.users]
    return layers[0] if len(layers) == 1 and isinstance(layers[0], SMOOTH) else None


def _fit_step(
    layer: Any, before: nn.Module, own: Parts, allowed: Callable[[float], Sequence[float]], seen: nn.Module
) -> float:
    """Set the step of an activation quantizer to that with the least squared error behind ``seen``; returns it.

    That of all steps, below what a ReLU6 in front bounds, tells which ones are ``allowed``; the best of these is taken.
    """
    quantizer = _step_of(layer.act_quant.fused_activation_quant_proxy)
    generator = torch.Generator().manual_seed(0)
    each = -(-_STEP_SAMPLES // len(own))
    values = torch.cat([sample(before(part).flatten(), each, generator) for part in own])
    values = values[:_STEP_SAMPLES]
    leaning = isinstance(quantizer, LeaningStep)
    levels = leaning_levels(values, quantizer.levels) if leaning else quantizer.levels
    step = float(least_squares_step(values, levels, (), seen))
    if isinstance(before, nn.ReLU6):
        step = min(step, _RELU6_MAX / levels.high)
    choices = [(s, levels.about(levels.zero_point * step / s) if leaning else levels) for s in allowed(step)]
    rounded = (nearest(values, torch.tensor(s), shifted) for s, shifted in choices)
    errors = [float((seen(values) - seen(codes)).square().sum()) for codes in rounded]
    step, levels = choices[errors.index(min(errors))]
    if isinstance(quantizer, LeaningStep):
        quantizer.shift(levels)
    quantizer.step.fill_(step)
    quantizer.ready.fill_(True)
    return float(quantizer.step)


def _plain(added_to: float | None) -> Callable[[float], Sequence[float]]:
    """Return a function that rounds a step to 16 bits.

    Where the tensor is added to one of the step ``added_to``, the ratio of the two is rounded to four bits, so that the
    sum is one of small multiples of the codes.
    """
    if added_to is None:
        return lambda step: [_rounded(step, _STEP_BITS, down=True)]
    return lambda step: [added_to * _rounded(step / added_to, _RATIO_BITS)]


def _short(
    network: fx.GraphModule, node: fx.Node, steps: Mapping[fx.Node, float], sizes: Mapping[fx.Node, int]
) -> Callable[[float], Sequence[float]]:
    """Steps that give short factors, see `toolchain.train.ptq.factors`."""
    source = quantized_layer(network, node)
    weighted = isinstance(layer_of(network, source), Weighted)
    if not weighted and not isinstance(layer_of(network, source), AVERAGING):
        return regular_steps
    codes = codes_into(network, source, steps)
    step_in = steps.get(codes)
    if step_in is None or (weighted and codes.op == "placeholder"):  # a pixel's step may be no float32
        return regular_steps
    if weighted:
        return lambda step: regular_steps(step, step_in)
    positions = sizes[input_of(source)] // sizes[source]
    return lambda step: [mean_step(step, step_in, positions)]


def _added_to(node: fx.Node, steps: Mapping[fx.Node, float]) -> float | None:
    """The step of a tensor that the quantizer ``node`` puts out is added to, where it is known already."""
    sums = [user for user in node.users if is_sum(user)]
    return next((steps[other] for user in sums for other in user.all_input_nodes if other in steps), None)


def _rounded(x: float, bits: int, *, down: bool = False) -> float:
    """A positive ``x`` with ``bits`` significant bits."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp((math.floor if down else round)(mantissa * 2**bits), exponent - bits)


def _step_of(proxy: Any) -> LearnedStep:
    quantizer = proxy.tensor_quant
    assert isinstance(quantizer, LearnedStep)
    return quantizer
