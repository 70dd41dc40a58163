"""The optimizer of a network: what decays, and what learns at a rate of its own."""

from __future__ import annotations

from typing import Any

import torch
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from torch import nn

from toolchain.config.run import TrainConfig
from toolchain.train.methods.base import own_rates


def optimizer_of(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """Adam or SGD for what learns in ``model``: weights and DST's thresholds decay, quantizers have their own rates."""
    rates = {parameter: module.rate(train.optimizer) for parameter, module in own_rates(model).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    rest, scales = [p for p in trained if p not in rates], _own_scales(model)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() > 1 and p not in scales], "weight_decay": train.weight_decay},
        {"params": [p for p in rest if p.dim() <= 1 or p in scales], "weight_decay": 0.0},
    ]
    for rate in sorted(set(rates.values())):
        own = [p for p in trained if rates.get(p) == rate]
        groups.append({"params": own, "weight_decay": 0.0, "lr": train.lr * rate})
    if train.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=train.lr, fused=True)
    return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=train.nesterov, fused=True)


def _own_scales(model: nn.Module) -> set[nn.Parameter]:
    """The parameters that Brevitas' quantizers alone hold: scales, one a channel too."""
    proxies = [part for part in model.modules() if isinstance(part, QuantProxyFromInjector)]
    inside = {part for proxy in proxies for part in proxy.modules()}
    others = {p for part in model.modules() if part not in inside for p in part.parameters(recurse=False)}
    return {p for part in inside for p in part.parameters(recurse=False)} - others
