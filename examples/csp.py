"""A small network of plain PyTorch in the manner of YOLO's: pixels in blocks, split blocks, SiLU, a pooled pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormActivation(nn.Sequential):
    """A convolution that keeps the size at a stride of 1, its batch norm, and SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
        )


class SplitBlock(nn.Module):
    """Half of the channels pass by, half go through a residual bottleneck, and all are put side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = ConvNormActivation(inputs, outputs)
        self.inner = nn.Sequential(ConvNormActivation(half, half, 3), ConvNormActivation(half, half, 3))
        self.leave = ConvNormActivation(outputs + half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        parts = list(self.enter(x).chunk(2, dim=1))
        parts.append(parts[-1] + self.inner(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class PooledPyramid(nn.Module):
    """A map beside its maxima over growing windows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvNormActivation(channels, channels // 2)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.leave = ConvNormActivation(channels // 2 * 3, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        x = self.enter(x)
        near = self.pool(x)
        return self.leave(torch.cat([x, near, self.pool(near)], 1))


class CspNet(nn.Module):
    """(N, C, H, W) to (N, num_classes), H and W multiples of 4.

    Args:
        num_classes: set by the run from its data.
        shape: (C, H, W), set by the run from its data.
        width: channels of the first block.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int], width: int = 16) -> None:
        super().__init__()
        self.stem = ConvNormActivation(4 * shape[0], width, 3)
        self.fine = SplitBlock(width, width)
        self.down = ConvNormActivation(width, 2 * width, 3, stride=2)
        self.coarse = nn.Sequential(SplitBlock(2 * width, 2 * width), PooledPyramid(2 * width))
        self.joined = SplitBlock(3 * width, 2 * width)
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        blocks = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        fine = self.fine(self.stem(torch.cat(blocks, 1)))
        coarse = self.coarse(self.down(fine))
        joined = self.joined(torch.cat([fine, F.interpolate(coarse, scale_factor=2)], 1))
        return self.classifier(joined.mean((2, 3)))
