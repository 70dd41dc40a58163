"""The layers a network is built from, quantized or in float from one definition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from toolchain.config.run import FLOAT_BITS, LayerQuant, QuantConfig
from toolchain.errors import UserError, unknown_name
from toolchain.train.methods.base import QuantMethod
from toolchain.train.own.kinds import Weighted
from toolchain.train.quantizers import Quantizer

_MAX_BITS = 8


@dataclass
class Layers:
    """Makes layers by name, applying the network's bit widths and the overrides of single layers.

    Args:
        quant: the bit widths and scales.
        method: makes the quantizers.
        quantized: False makes plain float layers with the same names.
        first, last: names of the layers that ``first_weight_bits`` and ``last_weight_bits`` apply to.
    """

    quant: QuantConfig
    method: QuantMethod
    quantized: bool
    first: str
    last: str
    names: list[str] = field(default_factory=list)

    def conv(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
    ) -> nn.Module:
        """A convolution without bias (a batch norm follows)."""
        shape = (inputs, outputs, kernel, stride, padding, 1, groups)
        return self._weighted(name, nn.Conv2d, qnn.QuantConv2d, shape, bias=False)

    def norm(self, name: str, channels: int) -> nn.Module:
        """A batch norm of maps."""
        return nn.BatchNorm2d(channels)

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
        """A fully connected layer."""
        return self._weighted(name, nn.Linear, qnn.QuantLinear, (inputs, outputs), bias=bias)

    def like(self, name: str, layer: Weighted) -> nn.Module:
        """``layer`` itself where nothing is quantized; else a quantized layer of its shape, with its weights."""
        if not self.quantized:
            self._layer(name)
            return layer
        if isinstance(layer, nn.Linear):
            shape: tuple[Any, ...] = (layer.in_features, layer.out_features)
        else:
            window = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
            shape = (layer.in_channels, layer.out_channels, *window)
        kinds = {nn.Conv1d: qnn.QuantConv1d, nn.Conv2d: qnn.QuantConv2d, nn.Linear: qnn.QuantLinear}
        plain, made = next((plain, made) for plain, made in kinds.items() if isinstance(layer, plain))
        return self._weighted(name, plain, made, shape, bias=layer.bias is not None, weights=layer)

    def relu(self, name: str, *, added: bool = False) -> nn.Module:
        """ReLU, then an unsigned quantizer; ``added`` if what leaves it is an operand of an add."""
        bits = self._layer(name).act_bits or self.quant.act_bits
        if not self.quantized or bits == FLOAT_BITS:
            return nn.ReLU()
        relu = self.method.relu(bits, scale=self.quant.scale)
        return _in_float32(relu) if added else relu

    def signed(self, name: str, least: int = 0, *, leaning: bool = False) -> nn.Module:
        """A quantizer of values below zero too, one bit wider than the activations unless configured.

        The extra bit is the sign: an operand of an add that is an activation already keeps its resolution.

        Args:
            name: of the layer.
            least: bits that it has at least where the layer itself is not configured.
            leaning: the values reach much further above zero than below: codes about a zero point, if the method can.
        """
        bits = self.quant.act_bits
        default = self.quant.residual_bits or (bits if bits == FLOAT_BITS else min(bits + 1, _MAX_BITS))
        return self._identity(name, self._layer(name).act_bits or max(default, least), leaning=leaning)

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

    def _identity(self, name: str, bits: int, *, leaning: bool = False) -> nn.Module:
        if not self.quantized or bits == FLOAT_BITS:
            return nn.Identity()
        if leaning:
            act_quant = self.method.leaning_quantizer(bits, scale=self.quant.scale)
        else:
            act_quant = self.method.act_quantizer(bits, signed=True, scale=self.quant.scale)
        return _in_float32(qnn.QuantIdentity(act_quant=act_quant))

    def _layer(self, name: str) -> LayerQuant:
        self.names.append(name)
        return self.quant.layers.get(name, LayerQuant())

    def _weighted(
        self,
        name: str,
        plain: type[nn.Module],
        quantized: type[Any],
        shape: tuple[Any, ...],
        *,
        bias: bool,
        weights: nn.Module | None = None,
    ) -> nn.Module:
        """The plain layer, or the quantized one as the method completes it; with the ``weights`` of another.

        What is frozen there stays frozen.
        """
        quant, override = self.quant, self._layer(name)
        if not self.quantized:
            return plain(*shape, bias=bias)
        special = {self.first: quant.first_weight_bits, self.last: quant.last_weight_bits}.get(name)
        bits = override.weight_bits or special or quant.weight_bits
        granularity = override.weight_granularity or quant.weight_granularity
        refusal = self.method.refusal(bits, scale=quant.scale, granularity=granularity)
        if refusal:
            raise UserError(f"quant.method = '{quant.method}' {refusal}", where=f"layer {name}")
        weight_quant = self.method.weight_quantizer(bits, scale=quant.scale, granularity=granularity)
        layer: nn.Module = quantized(*shape, bias=bias, weight_quant=weight_quant)
        if weights is not None:
            with torch.no_grad():
                for parameter, value in weights.named_parameters():
                    layer.get_parameter(parameter).copy_(value).requires_grad_(value.requires_grad)
        self.method.attach(layer, bits)
        return layer


def _in_float32(quantizer: nn.Module) -> nn.Module:
    """``quantizer``, which gives float32 under autocast too.

    Sums of codes are few values, and the next quantizer may have a tie beside one of them: rounded to bfloat16 it would
    be on the other side, and what is trained another network than what is exported.
    """
    own = [part for part in quantizer.modules() if isinstance(part, Quantizer)]
    for part in own:
        part.widen = True
    quantizer.register_forward_pre_hook(_widened_in_use if own else _widened)
    return quantizer


def _widened(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() if x.dtype == torch.bfloat16 else x for x in inputs)


def _widened_in_use(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Widen the inputs, except in training, where our quantizers widen them in one pass."""
    return inputs if quantizer.training else _widened(quantizer, inputs)
