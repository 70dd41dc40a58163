"""A small MobileNetV2 of plain PyTorch layers: inverted residual blocks with depthwise convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4


class ConvNormActivation(nn.Sequential):
    """A convolution that keeps the size at a stride of 1, its batch norm, and ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; the input is added where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = inputs * EXPANSION
        self.conv = nn.Sequential(
            ConvNormActivation(inputs, inner, 1),
            ConvNormActivation(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet(nn.Module):
    """(N, C, H, W) to (N, num_classes).

    Args:
        num_classes: set by the run from its data.
        shape: (C, H, W), set by the run from its data.
        width: channels of the first blocks.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int], width: int = 16) -> None:
        super().__init__()
        self.stem = ConvNormActivation(shape[0], width, 3)
        self.blocks = nn.Sequential(
            InvertedResidual(width, width, 1),
            InvertedResidual(width, 2 * width, 2),
            InvertedResidual(2 * width, 2 * width, 1),
        )
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        x = self.blocks(self.stem(x))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.classifier(self.dropout(x))
