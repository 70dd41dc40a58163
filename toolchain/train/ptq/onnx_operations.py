"""The layers of the operations of float ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.frontend.host_part import VIEWS
from toolchain.frontend.onnx_file import OnnxNode, text_of
from toolchain.frontend.qdq_parameters import type_attribute
from toolchain.frontend.written_norms import ALONE
from toolchain.train.own.kinds import ChannelNorm
from toolchain.train.own.twins import KNOWN, NoTwinError, clamped, hint_for, reshaped
from toolchain.train.ptq import onnx_arithmetic as arithmetic
from toolchain.train.ptq import onnx_moves as moves
from toolchain.train.ptq.curves import scaled
from toolchain.train.ptq.onnx_arithmetic import bias_of
from toolchain.train.ptq.onnx_builder import Builder
from toolchain.train.ptq.onnx_pools import axes_of, over_the_map, pads_of, pool, zeros
from toolchain.train.ptq.onnx_transposed import conv_transpose

_EVAL = "export the network in eval mode"
_SELU = {"alpha": 1.6732632, "gamma": 1.0507010}


def _conv(build: Builder, node: OnnxNode) -> None:
    weight, bias = build.constant(node, 1), build.constant(node, 2)
    _, x = build.value(node)
    if weight is None or weight.dim() not in (3, 4) or weight.dim() != x.dim():
        raise build.file.fault(node, f"a convolution of {x.dim() - 2} axes", "use Conv1d or Conv2d")
    axes = weight.dim() - 2
    stride, dilation = axes_of(node, "strides", axes), axes_of(node, "dilations", axes)
    kernel, groups = tuple(weight.shape[2:]), int(node.attributes.get("group", 1))
    before, after = pads_of(node, x, kernel, stride, dilation)
    layers: list[nn.Module] = []
    if before != after:
        layers.append(zeros(list(zip(before, after, strict=True))))
        before = (0,) * axes
    kind: Any = nn.Conv1d if axes == 1 else nn.Conv2d
    layer = kind(
        weight.shape[1] * groups, weight.shape[0], kernel, stride, before, dilation, groups, bias=bias is not None
    )
    _fill(layer, weight, bias)
    build.call(node, [*layers, layer], build.layer_name(node))


def _gemm(build: Builder, node: OnnxNode) -> None:
    weight, bias = build.constant(node, 1), build.constant(node, 2)
    if weight is None or weight.dim() != 2 or node.attributes.get("transA", 0):
        raise build.file.fault(node, "no product of features with constant weights", "use torch.nn.Linear")
    alpha, beta = (float(node.attributes.get(key, 1.0)) for key in ("alpha", "beta"))
    weight = alpha * (weight if node.attributes.get("transB", 0) else weight.T)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    each = None if bias is None else bias_of(beta * bias, len(weight), 2)
    if bias is not None and each is None:
        raise build.file.fault(node, f"a bias of the shape {tuple(bias.shape)}", "give one number an output")
    _fill(layer, weight, each)
    build.call(node, [layer], build.layer_name(node))


def _matmul(build: Builder, node: OnnxNode) -> None:
    weight = build.constant(node, 1)
    if weight is None or weight.dim() != 2 or build.value(node)[1].dim() not in (2, 3):
        raise build.file.fault(node, "no product of features with constant weights", "use torch.nn.Linear")
    layer = nn.Linear(weight.shape[0], weight.shape[1], bias=False)
    _fill(layer, weight.T, None)
    build.call(node, [layer], build.layer_name(node))
    if len(build.readers(node.outputs[0])) == 1 and node.outputs[0] != build.file.output:
        build.products[node.outputs[0]] = layer


def _concat(build: Builder, node: OnnxNode) -> None:
    found = [build.value(node, index) for index in range(len(node.inputs))]
    axis = int(node.attributes.get("axis", 1))
    if axis % found[0][1].dim() > 1 and moves.repeat(build, node, [at for at, _ in found]):
        return
    if axis % found[0][1].dim() != 1:
        raise build.file.fault(node, f"it concatenates along axis {axis}", "concatenate channels, axis 1")
    joined = build.graph.call_function(torch.cat, ([at for at, _ in found], 1))
    build.values[node.outputs[0]] = joined, torch.cat([value for _, value in found], 1)


def _norm(build: Builder, node: OnnxNode) -> None:
    _, x = build.value(node)
    scale, offset, mean, variance = (build.constant(node, index) for index in range(1, 5))
    if scale is None or offset is None or mean is None or variance is None:
        raise build.file.fault(node, "a batch norm without its tensors", "export the model again")
    if node.attributes.get("training_mode", 0):
        raise build.file.fault(node, "a batch norm in training mode", _EVAL)
    if any(tensor.shape != x.shape[1:2] for tensor in (scale, offset, mean, variance)):
        hint = "give one number a channel"
        raise build.file.fault(node, f"a batch norm of the shape {tuple(scale.shape)}", hint)
    kind: Any = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
    layer = kind(len(scale), eps=float(node.attributes.get("epsilon", 1e-5)))
    _fill(layer, scale, offset)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    build.call(node, [layer], build.layer_name(node))


def _layer_norm(build: Builder, node: OnnxNode) -> None:
    """Over the channels; of maps only where `Turned` or the reader of written norms says that they are the axis."""
    _, x = build.value(node)
    axis = int(node.attributes.get("axis", -1)) % x.dim()
    scale, offset = build.constant(node, 1), build.constant(node, 2)
    if axis != 1 or not (x.dim() == 2 or node.attributes.get(ALONE)):
        hint = "norm the channels: x.permute(0, 2, 3, 1), a LayerNorm of them, and back"
        raise build.file.fault(node, f"a norm of the axes from {axis} on of {tuple(x.shape)}", hint)
    layer = ChannelNorm(x.shape[1], eps=float(node.attributes.get("epsilon", 1e-5)))
    for own, given in ((layer.weight, scale), (layer.bias, offset)):
        if given is not None:
            own.copy_(given.flatten())
    build.call(node, [layer], build.layer_name(node))


def _clip(build: Builder, node: OnnxNode) -> None:
    bounds = [node.attributes.get(key, build.constant(node, index)) for key, index in (("min", 1), ("max", 2))]
    try:
        layer = clamped(*(None if bound is None else float(bound) for bound in bounds))
    except NoTwinError as error:
        raise build.file.fault(node, str(error), "give a minimum below the maximum") from error
    build.call(node, [layer])


def _hard_sigmoid(build: Builder, node: OnnxNode) -> None:
    """PyTorch's has one slope; of others, such as Keras', it is a line that is clamped."""
    alpha, beta = (float(node.attributes.get(key, default)) for key, default in (("alpha", 0.2), ("beta", 0.5)))
    if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
        line = scaled(build.value(node)[1], torch.tensor(alpha), torch.tensor(beta))
        build.call(node, [line, clamped(0, 1)])
        return
    build.call(node, [nn.Hardsigmoid()])


def _selu(build: Builder, node: OnnxNode) -> None:
    """PyTorch's has the constants of the paper."""
    alpha, gamma = (float(node.attributes.get(key, default)) for key, default in _SELU.items())
    if any(abs(found - default) > 1e-6 for found, default in zip((alpha, gamma), _SELU.values(), strict=True)):
        raise build.file.fault(node, f"a Selu of alpha {alpha:g} and gamma {gamma:g}", "leave both out")
    build.call(node, [nn.SELU()])


def _gelu(build: Builder, node: OnnxNode) -> None:
    build.call(node, [nn.GELU(text_of(node, "approximate", "none"))])


def _reshape(build: Builder, node: OnnxNode) -> None:
    _, x = build.value(node)
    if node.op == "Reshape":
        wanted = build.integers(node, "shape", 1) or []
        if wanted == [-1] and {reader.op for reader in build.readers(node.outputs[0])} == {"Gather"}:
            build.view(node.outputs[0], node.input(0))
            build.listed.add(node.outputs[0])
            return
        sizes = build.sizes(x.shape, wanted)
    elif node.op == "Flatten":
        sizes = [x.shape[: int(node.attributes.get("axis", 1))].numel(), -1]
    else:
        axes = build.integers(node, "axes", 1)
        alone = (
            [axis for axis, size in enumerate(x.shape) if size == 1] if axes is None else [a % x.dim() for a in axes]
        )
        sizes = [size for axis, size in enumerate(x.shape) if axis not in alone]
    try:
        after = tuple(x.reshape(sizes).shape)
        if build.unflatten(node, after):
            return
        layers = reshaped(tuple(x.shape), after)
    except (RuntimeError, NoTwinError) as error:
        if isinstance(error, NoTwinError) and moves.group(build, node, after):
            return
        how = error if isinstance(error, NoTwinError) else f"from {tuple(x.shape)} to {tuple(sizes)}"
        hint = hint_for("channel_shuffle") if len(sizes) > x.dim() > 2 else "flatten to (N, features) only"
        raise build.file.fault(node, f"it reshapes {how}", hint) from error
    build.call(node, layers)


def _gather(build: Builder, node: OnnxNode) -> None:
    """Of all numbers of a tensor in their order and its shape, as torch's exporter writes a pool that is permuted."""
    (_, x), places = build.value(node), build.constant(node, 1)
    if node.input(0) not in build.listed:
        moves.gather(build, node)
        return
    same = places is not None and places.shape[1:] == x.shape[1:]
    if not same or not torch.equal(places.flatten(), torch.arange(places.numel())):  # type: ignore[union-attr]
        raise build.file.fault(node, f"{node.op} cannot be quantized after training", hint_for(node.op))
    build.view(node.outputs[0], node.input(0))


def _unsqueeze(build: Builder, node: OnnxNode) -> None:
    """Features as a map of one position, or as a signal of one channel."""
    _, x = build.value(node)
    given = build.integers(node, "axes", 1) or []
    axes = sorted(axis % (x.dim() + len(given)) for axis in given)
    if x.dim() == 2 and axes == [1]:
        build.call(node, reshaped(tuple(x.shape), (len(x), 1, x.shape[1])))
        return
    if {*x.shape[2:]} <= {1} and axes[:1] >= [2] and x.dim() + len(axes) < 5:
        after = (*x.shape, *[1] * len(axes))
        if x.dim() > 2 or not build.unflatten(node, after):
            build.call(node, reshaped(tuple(x.shape), after))
        return
    hint = "keep signals (N, channels, length) and maps as they are"
    raise build.file.fault(node, f"it adds the axes {axes} to {tuple(x.shape)}", hint)


def _pad(build: Builder, node: OnnxNode) -> None:
    _, x = build.value(node)
    given = build.integers(node, "axes", 3)
    axes = range(x.dim()) if given is None else [axis % x.dim() for axis in given]
    pads = build.integers(node, "pads", 1) or []
    value = node.attributes.get("value", build.constant(node, 2))
    sides = dict(zip(axes, zip(pads, pads[len(axes) :], strict=False), strict=False))
    if len(pads) == 2 * len(axes) and not any(pads):
        _pass(build, node)
        return
    around = len(pads) == 2 * len(axes) and x.dim() in (3, 4) and not any(any(sides.get(axis, ())) for axis in (0, 1))
    if text_of(node, "mode", "constant") != "constant" or (value is not None and float(value) != 0) or not around:
        hint = "pad with zeros, the height and width of maps or the length of signals"
        raise build.file.fault(node, "a Pad that is no zeros around a map or a signal", hint)
    build.call(node, [zeros([sides.get(axis, (0, 0)) for axis in range(2, x.dim())])])


def _pass(build: Builder, node: OnnxNode) -> None:
    build.values[node.outputs[0]] = build.value(node)


def _expand(build: Builder, node: OnnxNode) -> None:
    """Of one position, which a product repeats by itself."""
    readers = {reader.op for reader in build.readers(node.outputs[0])}
    if build.value(node)[1].shape[2:].numel() != 1 or readers != {"Mul"}:
        what = "it repeats something else than one position for a product"
        raise build.file.fault(node, what, hint_for("expand"))
    _pass(build, node)


def _dropout(build: Builder, node: OnnxNode) -> None:
    training = build.constant(node, 2)
    if training is not None and bool(training):
        raise build.file.fault(node, "a dropout in training mode", _EVAL)
    _pass(build, node)


def _cast(build: Builder, node: OnnxNode) -> None:
    """Between float types that hold every float32."""
    kind = type_attribute(node, "to")
    if kind not in ("float", "double"):
        raise build.file.fault(node, f"it casts to {kind or 'no known type'}", "export the network in float32")
    _pass(build, node)


def _softmax(build: Builder, node: OnnxNode) -> None:
    """Leave a softmax at the end, or in front of views there, to the host, since it changes no class."""
    name = node.outputs[0]
    while name != build.file.output:
        readers = build.readers(name)
        if len(readers) != 1 or readers[0].op not in VIEWS:
            raise build.file.fault(node, f"{node.op} inside the network", f"known: {KNOWN}")
        name = readers[0].outputs[0]
    build.left_out = node.op
    _pass(build, node)


def _fill(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)


def _layer(make: Callable[[OnnxNode], nn.Module]) -> Callable[[Builder, OnnxNode], None]:
    return lambda build, node: build.call(node, [make(node)])


OPERATIONS: dict[str, Callable[[Builder, OnnxNode], None]] = {
    "Conv": _conv,
    "ConvTranspose": conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": arithmetic.add,
    "Sum": arithmetic.add,
    "Sub": arithmetic.subtract,
    "Pow": arithmetic.power,
    "ai.onnx.ml.Scaler": arithmetic.scaler,
    **dict.fromkeys(("Max", "Min"), arithmetic.bound),
    "Div": arithmetic.divide,
    "Concat": _concat,
    "BatchNormalization": _norm,
    "LayerNormalization": _layer_norm,
    "Relu": _layer(lambda node: nn.ReLU()),
    "LeakyRelu": _layer(lambda node: nn.LeakyReLU(float(node.attributes.get("alpha", 0.01)))),
    "PRelu": arithmetic.prelu,
    "Sigmoid": _layer(lambda node: nn.Sigmoid()),
    "Tanh": _layer(lambda node: nn.Tanh()),
    "Mish": _layer(lambda node: nn.Mish()),
    "HardSwish": _layer(lambda node: nn.Hardswish()),
    "Elu": _layer(lambda node: nn.ELU(float(node.attributes.get("alpha", 1.0)))),
    "Selu": _selu,
    "Celu": _layer(lambda node: nn.CELU(float(node.attributes.get("alpha", 1.0)))),
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Mul": arithmetic.multiply,
    "Clip": _clip,
    "MaxPool": pool,
    "AveragePool": pool,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceSum"), over_the_map),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), _reshape),
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Split": moves.split,
    "Slice": moves.cut,
    **dict.fromkeys(("Resize", "Upsample"), moves.resize),
    "DepthToSpace": moves.depth_to_space,
    "SpaceToDepth": moves.space_to_depth,
    "Pad": _pad,
    "Expand": _expand,
    "Identity": _pass,
    "Dropout": _dropout,
    "Cast": _cast,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
}
"""The operations that are known; each adds its layers to the network."""
