"""Refusals of what hls4ml 1.3.0 is known to get wrong, before anything is built; docs/decisions/0009 has the runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from importlib.metadata import version

from toolchain.errors import UserError
from toolchain.hls4ml_backend.network import has_form, is_depthwise, onnx_shape, quant_form
from toolchain.hls4ml_backend.precision import average_precisions
from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Clamp, LeakyRelu, MultiThreshold, Quantize, RealConv, RealPool
from toolchain.ir.ops.node import Node
from toolchain.ir.rounding import Rounding

ROUNDINGS = frozenset({Rounding.ROUND, Rounding.FLOOR})


def refusals(model: Graph) -> Iterator[tuple[Node, str]]:
    """The nodes of the MODEL graph that hls4ml has no right form of, and why."""
    for node in model.nodes:
        reason = refusal(node, model)
        if reason:
            yield node, reason


def demand_no_refusal(model: Graph) -> None:
    """Raise UserError for several outputs, or the first node of the MODEL graph that hls4ml gets wrong."""
    if len(model.outputs) > 1:
        names = ", ".join(f"'{output.name}'" for output in model.outputs)
        raise UserError(
            f"the backend hls4ml is compared on one output, the network has {len(model.outputs)}: {names}",
            hint="export without --backend hls4ml",
        )
    for node, reason in refusals(model):
        raise UserError(
            f"hls4ml {version('hls4ml')} {reason}",
            where=f"{node.name}, ONNX {', '.join(node.origin)}",
            hint="export without --backend hls4ml",
        )


@singledispatch
def refusal(node: Node, model: Graph) -> str:
    """Return why hls4ml has no right form for ``node``, or "" if it has one."""
    return "" if has_form(node) else f"is given no {type(node).__name__}"


@refusal.register
def _(node: MultiThreshold, model: Graph) -> str:
    return "has no MultiThreshold"


@refusal.register
def _(node: Clamp, model: Graph) -> str:
    return "has no Clip"


@refusal.register
def _(node: ArgMax, model: Graph) -> str:
    return "has no argmax: end the network at its logits"


@refusal.register
def _(node: Reshape, model: Graph) -> str:
    return "" if node.output.shape[:2] == (1, 1) else "is given no Reshape that keeps a map"


@refusal.register
def _(node: LeakyRelu, model: Graph) -> str:
    return "has no PRelu with a slope a channel that compiles" if len(node.slope) > 1 else ""


@refusal.register
def _(node: Quantize, model: Graph) -> str:
    quantizer = node.quantizer
    if quantizer.bipolar:
        return "gets a bipolar activation wrong"
    if quantizer.grid > 1 or quantizer.step:
        return "has no Trunc"
    form = quant_form(quantizer)
    if form is None:
        return f"has no quantizer with the codes {quantizer.low}..{quantizer.high}"
    if form[1:] == (0, 1):
        return "has no narrow unsigned quantizer"
    if quantizer.rounding not in ROUNDINGS:
        return f"does not round by {quantizer.rounding}"
    return ""


@refusal.register
def _(node: RealConv, model: Graph) -> str:
    if node.dilation != (1, 1):
        return "gets the shape of a dilated convolution wrong"
    source = model.value(node.inputs[0])
    if len(onnx_shape(source)) == 2 and node.codes.shape[1:3] != (1, 1):
        return "has no convolution of a single position"
    if len(onnx_shape(source)) == 2 and node.groups > 1:
        return "has no grouped linear layer" if is_depthwise(node, source) else ""
    return ""


@refusal.register
def _(node: RealPool, model: Graph) -> str:
    if any(node.pads):
        return "aborts on a pool with pads"
    if node.kind == "average" and node.name not in average_precisions(model):
        return "cuts an average of what is not quantized to the bits of its input"
    whole = node.kernel == model.value(node.inputs[0]).shape[:2]
    if node.kernel != node.stride and not whole:
        return "aborts on a pool whose stride is not its kernel"
    return "has no dilated pool" if node.dilation != (1, 1) else ""
