"""The layers a network is built from, quantized or in float from one definition."""

from __future__ import annotations

from dataclasses import dataclass, field

import brevitas.nn as qnn
from torch import nn

from toolchain.config import LayerQuant, QuantConfig
from toolchain.errors import unknown_name
from toolchain.train.quantizers import act_quantizer, weight_quantizer

_MAX_BITS = 8


@dataclass
class Layers:
    """Makes layers by name, applying the network's bit widths and the overrides of single layers.

    Args:
        quant: bit widths and scales.
        quantized: False makes plain float layers with the same names.
        first, last: names of the layers that ``first_weight_bits`` and ``last_weight_bits`` apply to.
    """

    quant: QuantConfig
    quantized: bool
    first: str
    last: str
    names: list[str] = field(default_factory=list)

    def conv(
        self, name: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
    ) -> nn.Module:
        """A convolution without bias (a batch norm follows)."""
        override = self._layer(name)
        if not self.quantized:
            return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        return qnn.QuantConv2d(  # type: ignore[no-any-return]
            inputs, outputs, kernel, stride, padding, bias=False, weight_quant=self._weight_quant(name, override)
        )

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
        """A fully connected layer."""
        override = self._layer(name)
        if not self.quantized:
            return nn.Linear(inputs, outputs, bias=bias)
        return qnn.QuantLinear(inputs, outputs, bias=bias, weight_quant=self._weight_quant(name, override))  # type: ignore[no-any-return]

    def relu(self, name: str) -> nn.Module:
        """ReLU, then an unsigned quantizer."""
        bits = self._layer(name).act_bits or self.quant.act_bits
        if not self.quantized:
            return nn.ReLU()
        return qnn.QuantReLU(act_quant=act_quantizer(bits, signed=False, scale=self.quant.scale))  # type: ignore[no-any-return]

    def signed(self, name: str) -> nn.Module:
        """A signed quantizer for the operands of an add, one bit wider than the activations unless configured.

        The extra bit is the sign: an operand that is an activation already keeps its resolution.
        """
        default = self.quant.residual_bits or min(self.quant.act_bits + 1, _MAX_BITS)
        return self._identity(name, self._layer(name).act_bits or default)

    def input(self, name: str) -> nn.Module:
        """A signed quantizer for an input that is normalised on the host."""
        return self._identity(name, self._layer(name).act_bits or self.quant.input_bits)

    def check_overrides(self) -> None:
        """Every override names a layer that was made.

        Raises:
            UserError: it does not.
        """
        for name in self.quant.layers:
            if name not in self.names:
                raise unknown_name("layer in [quant.layers]", name, self.names)

    def _identity(self, name: str, bits: int) -> nn.Module:
        if not self.quantized:
            return nn.Identity()
        return qnn.QuantIdentity(act_quant=act_quantizer(bits, signed=True, scale=self.quant.scale))  # type: ignore[no-any-return]

    def _layer(self, name: str) -> LayerQuant:
        self.names.append(name)
        return self.quant.layers.get(name, LayerQuant())

    def _weight_quant(self, name: str, override: LayerQuant) -> type:
        quant = self.quant
        special = {self.first: quant.first_weight_bits, self.last: quant.last_weight_bits}.get(name)
        return weight_quantizer(
            override.weight_bits or special or quant.weight_bits,
            scale=quant.scale,
            granularity=override.weight_granularity or quant.weight_granularity,
        )
