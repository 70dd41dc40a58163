"""Networks of the kinds that users bring, in Brevitas layers with seeded weights: detector, U-net, MobileNetV3.

Weights and activations have 4 bits, gates and inputs of heads 6; what follows the last quantizer is the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from brevitas.nn import QuantConv2d, QuantConvTranspose2d, QuantIdentity, QuantLinear
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn
from torch.nn import functional

BITS, FINE_BITS, SEED, CALIBRATION = 4, 6, 0, 8
WEIGHTS = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": BITS}
POSITIVE = (nn.ReLU, nn.Hardsigmoid, nn.Sigmoid)
BOXES = 18
"""Channels of a head: three anchors of a box, a score and a class."""


def codes(bits: int = BITS, *, signed: bool = True) -> QuantIdentity:
    """A quantizer of activations."""
    return QuantIdentity(act_quant=Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat, bit_width=bits)


def quantized(act: type[nn.Module], bits: int = BITS) -> nn.Sequential:
    """The function ``act`` and the quantizer of what it gives."""
    return nn.Sequential(act(), codes(bits, signed=not issubclass(act, POSITIVE)))


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: type[nn.Module] = nn.ReLU, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ``act`` and its quantizer."""
    conv = QuantConv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False, **WEIGHTS)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), quantized(act))


class Bottleneck(nn.Module):
    """Two convolutions whose result is added to what they read."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner, self.outer = block(channels, channels, 1, act=nn.SiLU), block(channels, channels, 3, act=nn.SiLU)
        self.operand, self.sum = codes(BITS + 1), codes(BITS + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(self.operand(x) + self.operand(self.outer(self.inner(x))))


class Detector(nn.Module):
    """A YOLO in small: Focus, SiLU, residual blocks, pooled pyramid, enlarged and joined maps, two heads of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.focus = block(12, 8, 3, act=nn.SiLU)
        self.fine = nn.Sequential(
            block(8, 16, 3, 2, nn.SiLU), Bottleneck(16), block(16, 32, 3, 2, nn.SiLU), Bottleneck(32)
        )
        self.coarse = nn.Sequential(block(32, 64, 3, 2, nn.SiLU), block(64, 32, 1, 1, nn.SiLU))
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.neck = block(128, 64, 1, 1, nn.SiLU)
        self.lateral, self.up = block(64, 32, 1, 1, nn.SiLU), nn.Upsample(scale_factor=2, mode="nearest")
        self.join, self.joined = codes(), block(64, 32, 3, 1, nn.SiLU)
        self.small, self.large = (QuantConv2d(n, BOXES, 1, **WEIGHTS) for n in (32, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        fine = self.fine(self.focus(torch.cat(corners, 1)))
        maps = [self.coarse(fine)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        coarse = self.neck(torch.cat(maps, 1))
        raised = self.up(self.lateral(coarse))
        joined = self.joined(torch.cat([self.join(raised), self.join(fine)], 1))
        return self.small(joined), self.large(coarse)


class UNet(nn.Module):
    """Three levels; transposed convolutions of stride 2 enlarge, and skips join, by kernels of 2 and of 4."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b), block(b, b)) for a, b in zip([3, *sizes], sizes, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.Sequential(
                QuantConvTranspose2d(b, a, kernel, 2, (kernel - 2) // 2, bias=False, **WEIGHTS),
                nn.BatchNorm2d(a),
                quantized(nn.ReLU),
            )
            for a, b, kernel in zip(sizes[:-1], sizes[1:], (4, 2, 2), strict=True)
        )
        self.join = nn.ModuleList(codes(signed=False) for _ in sizes[:-1])
        self.merge = nn.ModuleList(block(2 * a, a) for a in sizes[:-1])
        self.mask = QuantConv2d(width, 2, 1, **WEIGHTS)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, layer in enumerate(self.down):
            x = layer(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(3)):
            join = self.join[level]
            x = self.merge[level](torch.cat([join(self.up[level](x)), join(skips[level])], 1))
        return self.mask(x)


class Excite(nn.Module):
    """Squeeze and excite: each channel times a function of the averages of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = rounded(channels / 4)
        self.squeeze = codes(FINE_BITS, signed=False)
        self.reduce = nn.Sequential(QuantConv2d(channels, inner, 1, **WEIGHTS), quantized(nn.ReLU, FINE_BITS))
        self.expand = nn.Sequential(QuantConv2d(inner, channels, 1, **WEIGHTS), quantized(nn.Hardsigmoid, FINE_BITS))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(self.reduce(self.squeeze(functional.adaptive_avg_pool2d(x, 1))))


def rounded(channels: float) -> int:
    """``channels`` as a multiple of 8, at most a tenth below."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


class Inverted(nn.Module):
    """MobileNetV3's block: expansion, depthwise filter, squeeze and excite, projection, and a sum where it fits."""

    def __init__(
        self, inputs: int, kernel: int, inner: int, outputs: int, excited: bool, act: type[nn.Module], stride: int
    ) -> None:
        super().__init__()
        self.expand = block(inputs, inner, 1, 1, act) if inner != inputs else nn.Identity()
        self.filter = QuantConv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False, **WEIGHTS)
        self.norm = nn.BatchNorm2d(inner)
        self.before = quantized(nn.ReLU, FINE_BITS) if excited else nn.Identity()
        self.excite = Excite(inner) if excited else nn.Identity()
        self.act = quantized(act)
        self.project = nn.Sequential(
            QuantConv2d(inner, outputs, 1, bias=False, **WEIGHTS), nn.BatchNorm2d(outputs), codes(BITS + 1)
        )
        self.added = stride == 1 and inputs == outputs
        self.operand = codes(BITS + 1) if self.added else None
        self.sum = codes(BITS + 1) if self.added else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.act(self.excite(self.before(self.norm(self.filter(self.expand(x)))))))
        if self.operand is None or self.sum is None:
            return y
        return self.sum(self.operand(x) + self.operand(y))


SMALL = (
    (3, 16, 16, True, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 2), (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2), (5, 240, 40, True, nn.Hardswish, 1), (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1), (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2), (5, 576, 96, True, nn.Hardswish, 1), (5, 576, 96, True, nn.Hardswish, 1),
)  # fmt: skip
"""The blocks of MobileNetV3-Small (Howard et al. 2019): kernel, inner and outer channels, excited, function,
stride."""


class MobileNetV3(nn.Module):
    """MobileNetV3-Small of a ``width``, for ten classes."""

    def __init__(self, width: float = 0.5) -> None:
        super().__init__()
        inputs = rounded(16 * width)
        layers: list[nn.Module] = [block(3, inputs, 3, 2, nn.Hardswish)]
        for kernel, inner, outputs, excited, act, stride in SMALL:
            sizes = (inputs, kernel, rounded(inner * width), rounded(outputs * width))
            layers.append(Inverted(*sizes, excited, act, stride))
            inputs = sizes[-1]
        last, hidden = rounded(576 * width), rounded(1024 * width)
        self.features = nn.Sequential(*layers, block(inputs, last, 1, 1, nn.Hardswish))
        self.pooled = codes(FINE_BITS)
        self.hidden = nn.Sequential(QuantLinear(last, hidden, **WEIGHTS, bias=True), quantized(nn.Hardswish))
        self.classes = QuantLinear(hidden, 10, **WEIGHTS, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classes(self.hidden(self.pooled(torch.flatten(pooled, 1))))


@dataclass(frozen=True)
class Brought:
    """A network, the rows and columns of its pictures, and what it stands for."""

    make: Callable[[], nn.Module]
    size: int
    what: str


NETWORKS = {
    "detector": Brought(Detector, 320, "Focus, SiLU, residual sums, pooled pyramid, Resize, Concat, two heads"),
    "unet": Brought(UNet, 128, "transposed convolutions of kernels 2 and 4, skips"),
    "mobilenet_v3": Brought(MobileNetV3, 64, "width 0.5: 11 blocks, squeeze and excite, HardSwish"),
}


def seeded(name: str) -> tuple[nn.Module, Tensor]:
    """The network in eval mode and its calibration pictures; norms and scales are those of seeded pixels."""
    torch.manual_seed(SEED)
    brought = NETWORKS[name]
    model = brought.make()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over the passes
    coarse = torch.rand(CALIBRATION, 3, brought.size // 8, brought.size // 8)
    x = (
        functional.interpolate(coarse, scale_factor=8, mode="bilinear")
        + torch.randn(CALIBRATION, 3, *[brought.size] * 2) / 16
    )
    x = (x.clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        for image in x.split(2):
            model.train()(image)
    return model.eval(), x
