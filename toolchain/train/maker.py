"""Makers of layers: those that a change of structure adds, and those of networks of blocks."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class LayerMaker(Protocol):
    """Makes layers by name, quantized as the network's are."""

    def conv(
        self, name: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
    ) -> nn.Module:
        """A convolution without bias."""

    def signed(self, name: str, least: int = 0) -> nn.Module:
        """A signed quantizer of ``least`` bits or more."""


class BlockMaker(LayerMaker, Protocol):
    """Makes all layers of networks of blocks."""

    def conv(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> nn.Module:
        """A convolution without bias."""

    def norm(self, name: str, channels: int) -> nn.Module:
        """A batch norm of maps."""

    def relu(self, name: str, *, added: bool = False) -> nn.Module:
        """ReLU and an unsigned quantizer."""

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
        """A fully connected layer."""
