"""Stages whose weights are frozen: the quantizers' parameters alone learn."""

from __future__ import annotations

from torch import nn

from toolchain.errors import UserError
from toolchain.train.chain import Stage
from toolchain.train.methods.base import own_rates


def freeze_weights(model: nn.Module, stage: Stage) -> None:
    """Leave only the quantizers' parameters to be trained."""
    own = learned_by_quantizers(model, stage)
    model.requires_grad_(False)
    for parameter in own:
        parameter.requires_grad_(True)


def learned_by_quantizers(model: nn.Module, stage: Stage) -> list[nn.Parameter]:
    """The quantizers' parameters.

    Raises:
        UserError: there are none.
    """
    own = list(own_rates(model))
    if not own:
        raise UserError(
            f"stage '{stage.name}' freezes the weights, and nothing else learns with "
            f"quant.method = '{stage.config.quant.method}'"
        )
    return own
