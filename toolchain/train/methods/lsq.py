"""Learned Step Size Quantization (Esser et al., ICLR 2020) with clip-then-round gradients: the others' baseline."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from toolchain.train.methods.base import Granularity, QuantMethod, Scale
from toolchain.train.methods.injectors import act_injector, weight_injector
from toolchain.train.quantizers import LeaningStep, LearnedStep, Levels


class Lsq(QuantMethod):
    """One learned step a tensor or an output channel; one-bit weights are the sign times the learned scale."""

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas weight quantizer of 1..8 bits."""

        levels, pot = Levels.weight(bits), scale == "pot"
        return weight_injector(levels, granularity, lambda shape, w: LearnedStep(levels, shape, pot, True, initial=w))

    def act_quantizer(self, bits: int, *, signed: bool, scale: Scale) -> type:
        """A Brevitas activation quantizer of 1..8 bits."""
        levels = Levels.activation(bits, signed=signed)
        return act_injector(levels, lambda: LearnedStep(levels, (), scale == "pot", False))

    def leaning_quantizer(self, bits: int, *, scale: Scale) -> type:
        """A Brevitas quantizer of 1..8 bits, about a zero point."""
        levels = Levels.activation(bits, signed=False)
        return act_injector(levels, lambda: LeaningStep(levels, scale == "pot"))

    def relu(self, bits: int, *, scale: Scale) -> nn.Module:
        """The unsigned quantizer, whose lowest code is the ReLU's zero; a ReLU while it is off."""
        return in_one_pass(super().relu(bits, scale=scale), Clamped)


class Clamped(nn.Module):
    """A replacement of Brevitas' pair; in training the quantizer runs alone, since it does what the ReLU would do."""

    def __init__(self, activation_impl: nn.Module, tensor_quant: nn.Module) -> None:
        super().__init__()
        self.activation_impl, self.tensor_quant = activation_impl, tensor_quant

    def at_once(self, x: Tensor) -> tuple[Tensor, ...]:
        """Function and quantizer in one."""
        return self.tensor_quant(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The quantized activation with its scale, zero point and bit width."""
        return self.at_once(x) if self.training else self.tensor_quant(self.activation_impl(x))


def in_one_pass(layer: nn.Module, pair: type[Clamped]) -> nn.Module:
    """``layer``, a function and its quantizer, with ``pair`` in place of the two."""
    proxy: Any = layer.act_quant
    both = proxy.fused_activation_quant_proxy
    proxy.fused_activation_quant_proxy = pair(both.activation_impl, both.tensor_quant)
    return layer
