"""A one-dimensional network for raw audio, written with functions in place of layers where PyTorch has both."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class AudioNet(nn.Module):
    """Signals (N, 1, length) to logits (N, classes).

    Args:
        classes: set by the run from its data.
        channels: of the first convolution.
    """

    def __init__(self, classes: int, channels: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, channels, 9, stride=4, padding=4, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, 2 * channels, 5, padding="same", bias=False)
        self.norm2 = nn.BatchNorm1d(2 * channels)
        self.conv3 = nn.Conv1d(2 * channels, 2 * channels, 3, padding="same", bias=False)
        self.norm3 = nn.BatchNorm1d(2 * channels)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        x = F.max_pool1d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool1d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.relu(self.norm3(self.conv3(x)))
        return self.head(x.mean(-1))
