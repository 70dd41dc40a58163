"""Our quantizers as Brevitas layers take them: a class that its dependency injection reads."""

from __future__ import annotations

from collections.abc import Callable

from brevitas.inject import ExtendedInjector, value
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import Tensor, nn

from toolchain.train.methods.base import Granularity
from toolchain.train.quantizers import Levels


def weight_injector(
    levels: Levels, granularity: Granularity, make: Callable[[tuple[int, ...], Tensor], nn.Module]
) -> type:
    """Make an injector for weights of ``levels``; ``make`` is given the scale's shape and the present weight."""
    codes = levels

    class WeightQuant(ExtendedInjector):  # type: ignore[misc] # Brevitas is not typed
        proxy_class = WeightQuantProxyFromInjector
        levels = codes
        signed = True
        narrow_range = True
        float_to_int_impl_type = "ROUND"

        @value
        def tensor_quant(tracked_parameter_list):  # type: ignore[no-untyped-def] # the injector's calling rule
            weight = tracked_parameter_list[0]
            shape = (weight.shape[0],) + (1,) * (weight.dim() - 1) if granularity == "channel" else ()
            return make(shape, weight)

    return WeightQuant


def act_injector(levels: Levels, make: Callable[[], nn.Module]) -> type:
    """Make an injector for activations of ``levels``, with one scale a tensor."""
    codes = levels

    class ActQuant(ExtendedInjector):  # type: ignore[misc] # Brevitas is not typed
        proxy_class = ActQuantProxyFromInjector
        levels = codes
        signed = codes.signed
        narrow_range = codes.narrow
        float_to_int_impl_type = "ROUND"

        @value
        def tensor_quant():  # type: ignore[no-untyped-def] # the injector's calling rule
            return make()

    return ActQuant
