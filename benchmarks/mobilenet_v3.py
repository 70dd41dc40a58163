"""MobileNetV3-Small in float with seeded weights; its norms hold the statistics of photographs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.efficientnet import images
from benchmarks.user_models import SMALL, rounded
from toolchain.flow.ptq import Images, quantize_to
from toolchain.train.inputs import PixelMap
from toolchain.train.places import cache_folder
from toolchain.train.ptq.quantize import Bits
from toolchain.train.ptq.source import Sample, find_source

SEED = 0


class Excite(nn.Module):
    """Squeeze and excite: each channel times a function of the averages of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = rounded(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1),
            nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """Expansion, depthwise filter, squeeze and excite, projection, and a sum where it fits."""

    def __init__(
        self, inputs: int, kernel: int, inner: int, outputs: int, excited: bool, act: type[nn.Module], stride: int
    ) -> None:
        super().__init__()
        expand = block(inputs, inner, 1, 1, act) if inner != inputs else nn.Identity()
        excite = Excite(inner) if excited else nn.Identity()
        project = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.layers = nn.Sequential(expand, block(inner, inner, kernel, stride, act, inner), excite, *project)
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.added else y  # type: ignore[no-any-return]


def block(inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.Module], groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ``act``."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


def mobilenet_v3_small(pictures: Tensor) -> nn.Module:
    """The network for 1,000 classes, in eval mode; ``pictures`` (N, 3, H, W) from 0 to 1 give its norms' statistics."""
    torch.manual_seed(SEED)
    layers, inputs = [block(3, 16, 3, 2, nn.Hardswish)], 16
    blocks = []
    for kernel, inner, outputs, excited, act, stride in SMALL:
        blocks.append(Inverted(inputs, kernel, inner, outputs, excited, act, stride))
        inputs = outputs
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 1000))
    model = nn.Sequential(*layers, *blocks, block(inputs, 576, 1, 1, nn.Hardswish), *head)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over the passes
    with torch.no_grad():
        for part in pictures.split(4):
            model.train()(part)
    return model.eval()


def quantized(bits: Bits, calibration: int, judges: int) -> Path:
    """The folder of the network quantized after training on so many photographs, made on first use."""
    name = f"mobilenet-v3-small-w{bits.weights}a{bits.acts}-f{bits.factors}-{calibration}-{judges}"
    folder = cache_folder() / "benchmarks" / name
    if not (folder / "metrics.json").is_file():
        x = images()[0]
        data = Images("imagenet_sample200_224", x[:calibration], x[len(x) - judges :])
        model = mobilenet_v3_small(torch.from_numpy(x[:calibration]) / 255)
        source = find_source(model, Sample(x.shape[1:], 1000, PixelMap((Fraction(1, 255),), (Fraction(0),))))
        quantize_to(folder, source, data, bits)
    return folder
