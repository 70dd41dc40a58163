"""The networks, each one definition for its quantized and its float version.

Layer names are attribute paths, so that a name in ``[quant.layers]``, in the state dict and in an error are the same.
Pixels go straight into the first layer (``normalize = "unit"``, or rounded to ``data.input`` by the host) or through a
signed input quantizer (``"standard"``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import prod

from torch import nn

from toolchain.config.run import RunConfig
from toolchain.errors import UserError
from toolchain.train.blocks import Inverted, Residual, block_layers
from toolchain.train.layers import Layers
from toolchain.train.methods import quant_method
from toolchain.train.own.kinds import Norm
from toolchain.train.own.network import build_own
from toolchain.train.statistics import Shape

Conv = tuple[int, int]  # output channels, padding


def build(config: RunConfig, dataset_shape: Shape, classes: int) -> nn.Module:
    """The network a run file asks for, in training mode; its input is (N, *dataset_shape), its output (N, classes).

    Raises:
        UserError: an override for a layer the model has not, or a sample it cannot take.
    """
    if config.model.own:
        return build_own(config, dataset_shape, classes)
    make = layers_of(config)
    _check_axes(config.model.name, dataset_shape)
    layers = OrderedDict()
    if config.data.normalize == "standard" and config.data.input is None:
        layers["input"] = make.input("input")
    try:
        if config.model.blocks is not None:
            layers.update(block_layers(make, dataset_shape, classes, config.model.blocks))
        else:
            layers.update(_BUILDERS[config.model.name](make, dataset_shape, classes, config.model.width))
    except _TooSmall as error:
        raise UserError(f"model '{config.model.name}' needs larger images than {dataset_shape}: {error}") from error
    make.check_overrides()
    if config.model.plain:
        layers = _without_norms(config, layers)
    return nn.Sequential(layers)


def _check_axes(model: str, shape: Shape) -> None:
    axes = _AXES.get(model, 3)
    if axes in (None, len(shape)):
        return
    kinds = {1: "rows of features", 2: "signals (channels, length)", 3: "pictures (channels, height, width)"}
    able = [name for name in _BUILDERS if _AXES.get(name, 3) in (None, len(shape))]
    what = f"model '{model}' takes {kinds[axes or 3]}, and the samples are {kinds[len(shape)]}: {shape}"
    raise UserError(what, hint=f"{', '.join(able)} take such")


def _without_norms(config: RunConfig, layers: OrderedDict[str, nn.Module]) -> OrderedDict[str, nn.Module]:
    """The network without batch norms and without the bias of the classifier.

    Residual ones train so in integers alone, where every layer's exponent follows its largest value.
    """
    able = Inverted if config.quant.method == "niti" else Residual | Inverted
    if any(isinstance(layer, able) for layer in layers.values()):
        what = f"model '{config.model.name}' does not train without its batch norms"
        raise UserError(what, hint="set model.plain = false")
    layers["fc"].register_parameter("bias", None)
    for layer in layers.values():
        for name, part in list(layer.named_modules()):
            if name and isinstance(part, Norm):
                layer.set_submodule(name, nn.Identity())
    return OrderedDict((name, layer) for name, layer in layers.items() if not isinstance(layer, Norm))


def layers_of(config: RunConfig) -> Layers:
    """Return the maker of the layers that a run file asks for."""
    first = _FIRST.get(config.model.name, "conv1")
    return Layers(config.quant, quant_method(config.quant), not config.train.float, first=first, last="fc")


class _TooSmall(ValueError):
    """The feature map has shrunk to nothing."""


def _mlp(make: Layers, shape: Shape, classes: int, hidden: list[int]) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(shape)
    for i, outputs in enumerate(hidden, 1):
        layers[f"fc{i}"] = make.linear(f"fc{i}", inputs, outputs)
        layers[f"bn{i}"] = nn.BatchNorm1d(outputs)
        layers[f"act{i}"] = make.relu(f"act{i}")
        inputs = outputs
    layers["fc"] = make.linear("fc", inputs, classes, bias=True)
    return layers


def _tfc(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """784-64-64-64-10, the topology of FINN's TFC with ReLU."""
    return _mlp(make, shape, classes, [_scaled(64, width)] * 3)


def _lenet300(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """784-300-100-10 (LeCun et al., Gradient-Based Learning Applied to Document Recognition)."""
    return _mlp(make, shape, classes, [_scaled(300, width), _scaled(100, width)])


def _plain(
    make: Layers, shape: Shape, classes: int, convs: list[Conv | None], kernel: int, hidden: list[int]
) -> OrderedDict[str, nn.Module]:
    """Convolutions with batch norm and ReLU, 2x2 max pools where ``convs`` is None, then an MLP."""
    channels, height, width = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    index = pools = 0
    for conv in convs:
        if conv is None:
            pools += 1
            height, width = height // 2, width // 2
            layers[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        index += 1
        outputs, padding = conv
        height, width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        layers[f"conv{index}"] = make.conv(f"conv{index}", channels, outputs, kernel, padding=padding)
        layers[f"bn{index}"] = nn.BatchNorm2d(outputs)
        layers[f"act{index}"] = make.relu(f"act{index}")
        channels = outputs
    if height < 1 or width < 1:
        raise _TooSmall(f"the last feature map would be {height} x {width}")
    head = _mlp(make, (channels, height, width), classes, hidden)
    layers["flatten"] = head.pop("flatten")
    renamed = {f"{kind}{i}": f"{kind}{i + index}" for kind in ("bn", "act") for i in range(1, len(hidden) + 1)}
    layers.update((renamed.get(name, name), layer) for name, layer in head.items())
    return layers


def _cnn(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """Two 3x3 convolutions and a classifier, for images as small as 8x8."""
    return _plain(make, shape, classes, [(_scaled(16, width), 1), None, (_scaled(32, width), 1), None], 3, [])


def _lenet5(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """LeNet-5 (LeCun et al.) for 28x28 images, with batch norm, ReLU and max pooling."""
    convs = [(_scaled(6, width), 2), None, (_scaled(16, width), 0), None]
    return _plain(make, shape, classes, convs, 5, [_scaled(120, width), _scaled(84, width)])


def _cnn1d(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """Three convolutions of 5 over a signal, each with a pool by two, the average over time and a classifier."""
    channels, length = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict(row=nn.Unflatten(2, (1, length)))
    for index, outputs in enumerate((16, 32, 64), 1):
        outputs = _scaled(outputs, width)
        layers[f"conv{index}"] = make.conv(f"conv{index}", channels, outputs, (1, 5), padding=(0, 2))
        layers[f"bn{index}"] = nn.BatchNorm2d(outputs)
        layers[f"act{index}"] = make.relu(f"act{index}")
        layers[f"pool{index}"] = nn.MaxPool2d((1, 2))
        channels, length = outputs, length // 2
    if length < 1:
        raise _TooSmall(f"the last feature map would have the length {length}")
    layers["mean"] = nn.AvgPool2d((1, length))
    layers["flatten"] = nn.Flatten()
    layers["fc"] = make.linear("fc", channels, classes, bias=True)
    return layers


def _lenet5_caffe(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """20-50-500-10, the larger LeNet-5 of the Caffe framework, with a ReLU behind each layer but the last."""
    convs = [(_scaled(20, width), 0), None, (_scaled(50, width), 0), None]
    return _plain(make, shape, classes, convs, 5, [_scaled(500, width)])


def _vgg_small(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
    """128, 128, pool, 256, 256, pool, 512, 512, pool and one classifier: the VGG-Small of the quantization papers."""
    convs: list[Conv | None] = []
    for outputs in (128, 256, 512):
        convs += [(_scaled(outputs, width), 1), (_scaled(outputs, width), 1), None]
    return _plain(make, shape, classes, convs, 3, [])


def _resnet(blocks: int) -> Callable[[Layers, Shape, int, float], OrderedDict[str, nn.Module]]:
    """CIFAR residual networks of 6 * blocks + 2 layers with 1x1 convolution shortcuts where the shape changes."""

    def make_layers(make: Layers, shape: Shape, classes: int, width: float) -> OrderedDict[str, nn.Module]:
        channels, height, columns = _scaled(16, width), shape[1], shape[2]
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=make.conv("conv1", shape[0], channels, 3, padding=1),
            bn1=nn.BatchNorm2d(channels),
            act1=make.relu("act1", added=True),
        )
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                outputs = _scaled(16 * 2**stage, width)
                name = f"stage{stage + 1}_{block + 1}"
                added = stage == 2 or block + 1 < blocks  # the next shortcut is the input itself, or the mean reads it
                layers[name] = Residual(make, name, channels, outputs, stride, added=added)
                height, columns, channels = -(-height // stride), -(-columns // stride), outputs
        layers["pool"] = nn.AvgPool2d((height, columns))
        layers["flatten"] = nn.Flatten()
        layers["fc"] = make.linear("fc", channels, classes, bias=True)
        return layers

    return make_layers


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


_BUILDERS: dict[str, Callable[[Layers, Shape, int, float], OrderedDict[str, nn.Module]]] = {
    "cnn": _cnn,
    "cnn1d": _cnn1d,
    "tfc": _tfc,
    "lenet300": _lenet300,
    "lenet5": _lenet5,
    "lenet5-caffe": _lenet5_caffe,
    "vgg-small": _vgg_small,
    "resnet8": _resnet(1),
    "resnet20": _resnet(3),
}
_FIRST = {"tfc": "fc1", "lenet300": "fc1"}
_AXES = {"tfc": None, "lenet300": None, "cnn1d": 2}
"""Axes of the samples that a network takes: None any, of the others three."""
