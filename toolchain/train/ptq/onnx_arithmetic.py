"""Sums, differences, products and quotients of float ONNX files, of tensors or of a tensor and a constant."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.frontend.onnx_file import OnnxNode
from toolchain.train.own.kinds import Norm
from toolchain.train.own.twins import KNOWN, clamped, gated, hint_for
from toolchain.train.ptq.curves import scaled
from toolchain.train.ptq.onnx_builder import Builder


def add(build: Builder, node: OnnxNode) -> None:
    """A sum of tensors of one shape, or of a tensor and a constant."""
    tensors = [index for index, name in enumerate(node.inputs) if name not in build.constants]
    if len(tensors) == 1 and len(node.inputs) == 2:
        _with_constant(build, node)
        return
    found = [build.value(node, index) for index in tensors]
    if len(tensors) != len(node.inputs) or len({tuple(example.shape) for _, example in found}) != 1:
        raise build.file.fault(node, "it adds no tensors of one shape", "put constants into the bias of a layer")
    if len(found) == 2 and _written_prelu(build, node, *(at for at, _ in found)):
        return
    at, value = found[0]
    for other, example in found[1:]:
        at, value = build.graph.call_function(operator.add, (at, other)), value + example
    build.values[node.outputs[0]] = at, value


def prelu(build: Builder, node: OnnxNode) -> None:
    """A PRelu with one slope, or one a channel."""
    at, x = build.value(node)
    slope = build.constant(node, 1)
    each = None if slope is None else each_channel(slope.float(), x)
    if slope is None or each is None:
        what = "a PRelu without slopes" if slope is None else f"a PRelu with slopes of the shape {tuple(slope.shape)}"
        raise build.file.fault(node, what, "give one slope a channel, shared over the positions")
    build.append(node, [_prelu_of(each) if slope.numel() > 1 else nn.LeakyReLU(float(slope))], at, x)


def _prelu_of(slopes: Tensor) -> nn.Module:
    layer = nn.PReLU(len(slopes))
    layer.weight.copy_(slopes)
    return layer


def _written_prelu(build: Builder, node: OnnxNode, first: fx.Node, second: fx.Node) -> bool:
    """Make a PReLU of ``relu(x) + slopes * relu(-x)``, as tf2onnx writes Keras'; return whether it was one."""
    for positive, negative in ((first, second), (second, first)):
        slopes, folded = _factors(build, negative)
        if isinstance(build.layer(folded), nn.ReLU) and isinstance(build.layer(positive), nn.ReLU):
            signs, source = _factors(build, folded.args[0])
            if signs is not None and slopes is not None and (signs == -1).all() and positive.args == (source,):
                build.append(node, [_prelu_of(-slopes)], source, torch.zeros_like(build.value(node)[1]))
                return True
    return False


def _factors(build: Builder, at: Any) -> tuple[Tensor | None, Any]:
    """What ``at`` multiplies a tensor by, and that tensor; None and ``at`` where it does something else."""
    layer = build.layer(at)
    if isinstance(layer, Norm) and layer.running_mean is not None and layer.running_var is not None:
        only = not layer.bias.any() and not layer.running_mean.any() and (layer.running_var + layer.eps == 1).all()
        return (layer.weight, at.args[0]) if only else (None, at)
    return None, at


def _with_constant(build: Builder, node: OnnxNode) -> None:
    """A tensor and a constant: the bias of the layer in front, or a batch norm."""
    first = node.input(0) in build.constants
    at, x = build.value(node, int(first))
    constant = build.constant(node, 1 - int(first))
    assert constant is not None
    layer = build.products.get(node.input(int(first)))
    bias = bias_of(constant, layer.out_features, x.dim()) if layer is not None and node.op == "Add" else None
    if layer is not None and bias is not None:
        layer.bias = nn.Parameter(bias.float().clone())
        build.values[node.outputs[0]] = at, x + layer.bias
        return
    one, zero = torch.ones(()), torch.zeros(())
    each = each_channel(constant.float(), x)
    if each is None or (node.op == "Div" and first):
        how, where = {
            "Add": ("adds", "bias"), "Sub": ("subtracts", "bias"), "Mul": ("multiplies by", "weights")
        }.get(node.op, ("divides by", "weights"))  # fmt: skip
        what = f"it {how} a constant of the shape {tuple(constant.shape)}" if each is None else "it divides a constant"
        raise build.file.fault(node, what, f"give one number a channel, or put it into the {where} of a layer")
    scale, offset = {
        "Add": (one, each), "Sub": (-one, each) if first else (one, -each), "Mul": (each, zero), "Div": (1 / each, zero)
    }[node.op]  # fmt: skip
    build.append(node, [scaled(x, scale, offset)], at, x)


def scaler(build: Builder, node: OnnxNode) -> None:
    """The Scaler of skl2onnx: features less their offsets, times their scales."""
    at, x = build.value(node)
    offset, scale = (each_channel(torch.tensor(node.attributes[key]), x) for key in ("offset", "scale"))
    if offset is None or scale is None or x.dim() != 2:
        raise build.file.fault(node, f"a Scaler of {tuple(x.shape)}", "scale features")
    build.append(node, [scaled(x, scale, -offset * scale)], at, x)


def each_channel(constant: Tensor, x: Tensor) -> Tensor | None:
    """A constant as one number for each channel of ``x``; None where others have numbers too."""
    shape = (1,) * (x.dim() - constant.dim()) + tuple(constant.shape)
    if len(shape) > x.dim() or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return constant.flatten().expand(x.shape[1]) if shape[1] in (1, x.shape[1]) else None


def subtract(build: Builder, node: OnnxNode) -> None:
    """A difference of a tensor and a constant, or of two tensors: a sum with the second one's negative."""
    if any(name in build.constants for name in node.inputs):
        _with_constant(build, node)
        return
    (first, x), (second, y) = (build.value(node, index) for index in (0, 1))
    if x.shape != y.shape:
        what = f"it subtracts {tuple(y.shape)} from {tuple(x.shape)}"
        raise build.file.fault(node, what, "subtract tensors of one shape")
    build.append(node, [scaled(y, -torch.ones(()), torch.zeros(()))], second, y)
    negative, _ = build.values[node.outputs[0]]
    build.values[node.outputs[0]] = build.graph.call_function(operator.add, (first, negative)), x - y


def power(build: Builder, node: OnnxNode) -> None:
    """The square of a tensor."""
    exponent = build.constant(node, 1)
    if exponent is None or exponent.numel() != 1 or float(exponent) != 2:
        raise build.file.fault(node, "a power that is no square", f"known: {KNOWN}")
    at, x = build.value(node)
    build.values[node.outputs[0]] = build.graph.call_function(operator.mul, (at, at)), x * x


def bound(build: Builder, node: OnnxNode) -> None:
    """The larger or the smaller one of a tensor and a number."""
    tensors = [index for index, name in enumerate(node.inputs) if name not in build.constants]
    numbers = [build.constant(node, index) for index in range(len(node.inputs)) if index not in tensors]
    limits = [float(number) for number in numbers if number is not None and number.numel() == 1]
    if len(tensors) != 1 or len(limits) != len(node.inputs) - 1:
        what = f"it takes the {node.op} of tensors"
        raise build.file.fault(node, what, f"clamp a tensor by numbers, or {hint_for('maximum')}")
    layer = clamped(max(limits), None) if node.op == "Max" else clamped(None, min(limits))
    build.append(node, [layer], *build.value(node, tensors[0]))


def divide(build: Builder, node: OnnxNode) -> None:
    """A tensor over a constant."""
    if not any(name in build.constants for name in node.inputs):
        raise build.file.fault(node, "it divides tensors", f"known: {KNOWN}")
    _with_constant(build, node)


def multiply(build: Builder, node: OnnxNode) -> None:
    """The product of two tensors; one with its own Sigmoid is a SiLU."""
    if any(name in build.constants for name in node.inputs):
        _with_constant(build, node)
        return
    (first, x), (second, y) = (build.value(node, index) for index in (0, 1))
    for at, gate in ((first, second), (second, first)):
        if gate.args == (at,):
            layer = gated(build.layer(gate))
            if layer is not None:
                build.append(node, [layer], at, x if at is first else y)
                return
    apart = x.shape[2:] != y.shape[2:] and 1 not in (x.shape[2:].numel(), y.shape[2:].numel())
    if x.shape[:2] != y.shape[:2] or x.dim() != y.dim() or apart:
        hint = "multiply maps of one shape, or a map and a value a channel"
        raise build.file.fault(node, f"it multiplies {tuple(x.shape)} and {tuple(y.shape)}", hint)
    build.values[node.outputs[0]] = build.graph.call_function(operator.mul, (first, second)), x * y


def bias_of(constant: Tensor, outputs: int, rank: int) -> Tensor | None:
    """What is added to each of the ``outputs``, the last axis of ``rank`` axes; None where others have numbers too."""
    if (
        constant.dim() > rank
        or constant.numel() not in (1, *constant.shape[-1:])
        or constant.numel() not in (1, outputs)
    ):
        return None
    return constant.flatten().expand(outputs)
