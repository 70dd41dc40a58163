"""The maker of layers that a change of structure and a network of blocks are given."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class LayerMaker(Protocol):
    """Makes layers by name, quantized as the network's are."""

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

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
        """A fully connected layer."""

    def norm(self, name: str, channels: int) -> nn.Module:
        """A batch norm of maps."""

    def relu(self, name: str, *, added: bool = False) -> nn.Module:
        """ReLU and an unsigned quantizer; ``added`` if what leaves it is an operand of an add."""

    def signed(self, name: str, least: int = 0) -> nn.Module:
        """A signed quantizer of ``least`` bits or more."""
