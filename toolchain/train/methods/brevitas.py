"""Brevitas' own integer quantizers, as its users first meet them: what the other methods are measured against."""

from __future__ import annotations

from typing import Any

from brevitas.inject.enum import RestrictValueType
from brevitas.quant import Int8ActPerTensorFloatMinMaxInit, Int8WeightPerTensorFloat, Uint8ActPerTensorFloatMaxInit

from toolchain.train.methods.base import Granularity, QuantMethod, Scale

_UNSIGNED_MAX, _SIGNED_MAX = 6.0, 10.0  # where learned activation ranges start, as in Brevitas' ImageNet examples


class Brevitas(QuantMethod):
    """Weights by their largest magnitude, activations by a learned range; both round first and clamp second."""

    def refusal(self, bits: int, *, scale: Scale, granularity: Granularity) -> str | None:
        """One bit would leave a single code, zero."""
        return "needs 2 weight bits or more" if bits < 2 else None

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """``Int8WeightPerTensorFloat`` with other bits."""
        per_channel = granularity == "channel"
        changes = {"bit_width": bits, "scaling_per_output_channel": per_channel, **_restricted(scale)}
        return Int8WeightPerTensorFloat.let(**changes)  # type: ignore[no-any-return]

    def act_quantizer(self, bits: int, *, signed: bool, scale: Scale) -> type:
        """``Int8ActPerTensorFloatMinMaxInit`` or ``Uint8ActPerTensorFloatMaxInit`` with other bits."""
        if not signed:
            changes = {"max_val": _UNSIGNED_MAX, **_restricted(scale)}
            return Uint8ActPerTensorFloatMaxInit.let(bit_width=bits, **changes)  # type: ignore[no-any-return]
        changes = {"min_val": -_SIGNED_MAX, "max_val": _SIGNED_MAX, **_restricted(scale)}
        return Int8ActPerTensorFloatMinMaxInit.let(bit_width=bits, **changes)  # type: ignore[no-any-return]


def _restricted(scale: Scale) -> dict[str, Any]:
    return {"restrict_scaling_type": RestrictValueType.POWER_OF_TWO} if scale == "pot" else {}
