"""Learned Step Size Quantization (Esser et al., ICLR 2020) with clip-then-round gradients: the others' baseline."""

from __future__ import annotations

from brevitas.inject import ExtendedInjector, value
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector

from toolchain.train.methods.base import Granularity, QuantMethod, Scale
from toolchain.train.quantizers import LearnedStep, Levels


class Lsq(QuantMethod):
    """One learned step a tensor or an output channel; one-bit weights are the sign times the learned scale."""

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas weight quantizer of 1..8 bits."""

        class LsqWeightQuant(ExtendedInjector):  # type: ignore[misc] # Brevitas is not typed
            proxy_class = WeightQuantProxyFromInjector
            levels = Levels.weight(bits)
            signed = True
            narrow_range = True
            float_to_int_impl_type = "ROUND"

            @value
            def tensor_quant(levels, tracked_parameter_list):  # type: ignore[no-untyped-def] # the injector's calling rule
                weight = tracked_parameter_list[0]
                shape = (weight.shape[0],) + (1,) * (weight.dim() - 1) if granularity == "channel" else ()
                return LearnedStep(levels, shape, scale == "pot", True, initial=weight)

        return LsqWeightQuant

    def act_quantizer(self, bits: int, *, signed: bool, scale: Scale) -> type:
        """A Brevitas activation quantizer of 1..8 bits."""
        codes, is_signed = Levels.activation(bits, signed=signed), signed

        class LsqActQuant(ExtendedInjector):  # type: ignore[misc] # Brevitas is not typed
            proxy_class = ActQuantProxyFromInjector
            levels = codes
            signed = is_signed
            narrow_range = codes.narrow
            float_to_int_impl_type = "ROUND"

            @value
            def tensor_quant(levels):  # type: ignore[no-untyped-def] # the injector's calling rule
                return LearnedStep(levels, (), scale == "pot", False)

        return LsqActQuant
