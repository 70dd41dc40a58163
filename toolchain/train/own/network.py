"""A network of the user's own as a run trains it: with quantizers of its own, or converted from a float one."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from brevitas.proxy.parameter_quant import WeightQuantProxyFromInjectorBase
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from torch import Tensor, fx, nn

from toolchain.config.run import FLOAT_BITS, QuantConfig, RunConfig
from toolchain.errors import UserError, first_line
from toolchain.train.layers import Layers
from toolchain.train.methods import quant_method
from toolchain.train.own.convert import with_quantizers
from toolchain.train.own.kinds import Weighted
from toolchain.train.own.pads import check_pads
from toolchain.train.own.source import find_own, make
from toolchain.train.own.trace import call_behind, layer_graph
from toolchain.train.statistics import Shape

CLOSE = 1e-4
"""Share of the largest output by which two may differ: means and sums may be taken in another order."""
_BATCH = 2
_UNTRACED = "fpgaflow_untraced"


def build_own(config: RunConfig, shape: Shape, classes: int) -> nn.Module:
    """The network of ``model.name``, in training mode: (N, *shape) to (N, classes or more).

    One made of Brevitas layers keeps its quantizers, another one gets those of the run file. One whose first layer
    takes signals (N, channels, length) or features (N, count) gets a layer in front that leaves out axes.

    Raises:
        UserError: the network cannot be made, does not take such inputs, or cannot be built; names the layer.
    """
    own = find_own(config.model.name)
    model = make(own, shape, classes, config.model.options)
    if has_quantizers(model):
        _check_quantized(config, own.reference)
        _demand_own_quantizers(model)
        return _traced_if_possible(model.eval(), shape, classes, own.reference).train()
    plain = plain_network(model, shape, classes, own.reference)
    in_float = config.train.float or config.train.pretrain_epochs > 0
    if in_float and not any(parameter.requires_grad for parameter in plain.parameters()):
        what = f"all parameters of {own.reference} are frozen (requires_grad), and nothing learns in float"
        raise UserError(what, hint="let a layer learn, or leave float epochs out: the quantizers learn")
    layers = Layers(config.quant, quant_method(config.quant), not config.train.float, first="", last="")
    codes = config.data.normalize == "unit" or config.data.input is not None
    network = with_quantizers(plain, layers, codes=codes)
    layers.check_overrides()
    return network.train()


def plain_network(
    model: nn.Module, shape: Shape, classes: int | None, reference: str, *, copies: bool = False
) -> fx.GraphModule:
    """A float network as a graph of layers, in eval mode, that takes (N, *shape).

    Args:
        model: the user's; left alone.
        shape: of a sample.
        classes: outputs that it has at least; None for any, of maps too.
        reference: its name in an error.
        copies: as for `toolchain.train.own.trace.layer_graph`.

    Raises:
        UserError: it does not take such inputs, or cannot be built; names the layer.
    """
    with in_eval_mode(model):
        view = view_of(model, shape, classes, reference)
        example = _example(view)
        plain = layer_graph(model, example, copies=copies)
        _demand_same(model, plain, example)
    demand_weights(plain, reference)
    _look_from(plain, view, shape)
    return plain


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into eval mode, and each of its layers back into its own."""
    training = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for layer, mode in training.items():
            layer.training = mode


def demand_weights(network: nn.Module, name: str) -> None:
    """Raise UserError where ``network``, called ``name``, has no layer with weights."""
    if not any(isinstance(layer, Weighted) for layer in network.modules()):
        raise UserError(f"{name} has no convolution and no fully connected layer", hint="nothing to build")


def not_prunable(network: nn.Module) -> str:
    """The line that tells why the channels of a network of Brevitas layers stay; empty where they can be followed."""
    where = getattr(network, _UNTRACED, None)
    return f"the network can be trained, not pruned: its channels cannot be followed [{where}]" if where else ""


def has_quantizers(model: nn.Module) -> bool:
    """Return whether a network was made of Brevitas layers."""
    return any(isinstance(layer, QuantProxyFromInjector) for layer in model.modules())


def brings_quantizers(config: RunConfig, shape: Shape, classes: int) -> bool:
    """Return whether a run file names a network of the user's own that was made of Brevitas layers."""
    model = config.model
    return model.own and has_quantizers(make(find_own(model.name), shape, classes, model.options))


def bits_in_use(model: nn.Module) -> tuple[int, int]:
    """The commonest bit widths of the weights and of the activations of a network with quantizers; 32 for none."""
    kinds = (WeightQuantProxyFromInjectorBase, ActQuantProxyFromInjectorBase)
    found = []
    for kind in kinds:
        proxies = [proxy for proxy in model.modules() if isinstance(proxy, kind) and proxy.is_quant_enabled]
        counts = Counter(int(proxy.bit_width()) for proxy in proxies)
        found.append(counts.most_common(1)[0][0] if counts else FLOAT_BITS)
    return found[0], found[1]


def view_of(model: nn.Module, shape: Shape, classes: int | None, reference: str) -> tuple[int, ...]:
    """The axes of a sample that the network takes: all, without a height of one, or one axis of all values.

    Raises:
        UserError: it takes none of these, or does not put out at least ``classes`` features (None: anything).
    """
    row = [(shape[0], shape[2])] if len(shape) == 3 and shape[1] == 1 else []
    views = list(dict.fromkeys([shape, *row, (math.prod(shape),)]))
    raised, other = "", {}  # what the first view leads to, and the shapes of outputs that are no features
    for view in views:
        said, output = _attempt(model, view)
        if output is None:
            raised = raised or said
        elif output.dim() != 2 or len(output) != _BATCH:
            other[view] = tuple(output.shape)
        elif classes is not None and output.shape[1] < classes:
            what = f"{reference} has {output.shape[1]} outputs for {classes} classes"
            raise UserError(what, hint="let it take the argument classes, or set it in [model.options]")
        else:
            return view
    found = next((view for view, output in other.items() if output[:1] == (_BATCH,)), None)
    if classes is None and found is not None:
        return found
    problem = f"gives a tensor of the shape {next(iter(other.values()))}" if other else raised
    raise UserError(
        f"{reference} does not take inputs of the shape {shape} as a classifier: it {problem}",
        hint="it is called with (N, *shape), shape being an argument that it may take, and returns (N, classes)",
    )


def _attempt(model: nn.Module, view: tuple[int, ...]) -> tuple[str, Tensor | None]:
    """The output for zeros, or what went wrong, and in which layer."""
    inside: list[str] = []
    try:
        with ExitStack() as hooks, torch.no_grad():
            for name, layer in model.named_modules():
                if name and not list(layer.children()):
                    hooks.enter_context(layer.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
            output = model(torch.zeros(_BATCH, *view))
    except Exception as error:  # noqa: BLE001 - the forward of a network may raise anything
        place = f" in or behind layer '{inside[-1]}'" if inside else ""
        return f"raises {type(error).__name__}{place}: {first_line(error)}", None
    if not isinstance(output, Tensor):
        return f"returns a {type(output).__name__}, not one tensor", None
    return "", output


def _demand_same(model: nn.Module, plain: fx.GraphModule, example: Tensor) -> None:
    """Check that the traced network computes what the user's does.

    Raises:
        UserError: it does not.
    """
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"'{name}' holds NaN or infinity", where=type(model).__name__, hint="train it again")
    with torch.no_grad():
        theirs, ours = model(example), plain(example)
    if not (theirs - ours).abs().max() <= CLOSE * theirs.abs().max().clamp_min(1e-6):
        raise UserError(
            "the traced network computes something else than the network does",
            where=f"forward of {type(model).__name__}",
            hint="set inplace=False where the input is read again, and give functional dropout training=self.training",
        )


def _look_from(plain: fx.GraphModule, view: tuple[int, ...], shape: Shape) -> None:
    """Put a layer in front that makes ``view`` of (N, *shape), in place."""
    if len(view) == len(shape):
        return
    placeholder = next(iter(plain.graph.nodes))
    name = next(name for name in ("view", "input_view", "image_view") if not hasattr(plain, name))
    plain.add_submodule(name, nn.Flatten(len(view)))  # which leaves two axes or one
    call_behind(plain, placeholder, name, list(placeholder.users))
    plain.recompile()


def _check_quantized(config: RunConfig, reference: str) -> None:
    """Settings that do not reach quantizers of the user's own are refused rather than ignored."""
    what = f"{reference} is made of Brevitas layers, which have their own quantizers"
    if config.train.float:
        raise UserError(f"{what}: train.float = true", hint="make it of torch.nn layers; the run file quantizes them")
    set_here = [key for key in QuantConfig.model_fields if getattr(config.quant, key) != getattr(QuantConfig(), key)]
    if set_here:
        raise UserError(f"{what}: quant.{set_here[0]} is not theirs", hint="leave [quant] and the stages' bits out")


def _demand_own_quantizers(model: nn.Module) -> None:
    """Refuse what no file holds before it trains."""
    for name, proxy in model.named_modules():
        if isinstance(proxy, WeightQuantProxyFromInjectorBase) and len(proxy.tracked_module_list) > 1:
            raise UserError(
                "a weight quantizer shared by several layers cannot be exported",
                where=f"'{name}'",
                hint="give each layer one; train a QuantLSTM elsewhere, and export it with export_qonnx, dynamo=False",
            )


def _example(view: tuple[int, ...]) -> Tensor:
    return torch.rand(_BATCH, *view, generator=torch.Generator().manual_seed(0))


def _traced_if_possible(model: nn.Module, shape: Shape, classes: int, reference: str) -> nn.Module:
    """A graph of layers, whose channels can be followed; the network itself, marked, where it cannot be traced."""
    view = view_of(model, shape, classes, reference)
    example = _example(view)
    try:
        graph = layer_graph(model, example)
        _demand_same(model, graph, example)
    except UserError as error:
        front = nn.Flatten(len(view))
        network = model if len(view) == len(shape) else nn.Sequential(OrderedDict(view=front, network=model))
        setattr(network, _UNTRACED, error.where or reference)
        return network
    check_pads(graph, host=True)
    _look_from(graph, view, shape)
    return graph
