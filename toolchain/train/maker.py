"""What makes the layers that a change of structure adds."""

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
