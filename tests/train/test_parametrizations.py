"""What acts on single weights or on kernels also works behind other parametrizations: QIL's, and zeros that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toolchain.config.pruning import DstConfig, NrmfConfig, TransportConfig
from toolchain.config.run import RunConfig, parse_config
from toolchain.train.data import load
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.dst import Dst
from toolchain.train.methods.nrmf import Nrmf, tucker
from toolchain.train.methods.transport import TransportPruning
from toolchain.train.methods.weights import keep_masked
from toolchain.train.models import build, layers_of
from toolchain.train.module import set_quantized
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit, Tucker, apply_edits, trained_weight


def _network(quantizer: str, width: float = 0.5) -> tuple[RunConfig, nn.Module, Context]:
    torch.manual_seed(0)
    table: dict[str, Any] = {"name": "t", "model": {"name": "cnn", "width": width}, "quant": {"method": quantizer}}
    config, data = parse_config(table, where="test"), load("digits")
    return config, build(config, data.shape, data.classes), Context(config, data, None, layers_of(config), Path())


def _masked(model: nn.Module) -> list[Edit]:
    """Every third weight zero for good."""
    shapes = {name: weight.shape for name, weight in _weights(model).items()}
    return keep_masked(model, {name: torch.arange(s.numel()).reshape(s) % 3 > 0 for name, s in shapes.items()})


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in named_weighted_layers(model).items()}  # type: ignore[operator]


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked before"])
@pytest.mark.parametrize("quantizer", ["lsq", "qil"])
@pytest.mark.parametrize("kind", ["dst", "transport"])
def test_weights_that_go_leave_the_others_and_what_was_there_before(kind: str, quantizer: str, masked: bool) -> None:
    """The network of the evaluation is kept, and is rebuilt from its edits and its state."""
    config, model, context = _network(quantizer)
    edits = _masked(model) if masked else []
    method: Method = Dst(DstConfig(alpha=1e-3))
    if kind == "transport":
        method = TransportPruning(TransportConfig(params=0.3, granularity="weight"))
    method.prepare(model.train(), context)
    x = torch.from_numpy(context.data.train_x[:64]) / 16
    model(x)
    if isinstance(method, Dst):
        for layer in method.layers.values():
            layer.parametrizations.weight[-1].threshold.data.fill_(0.05)  # type: ignore[index,union-attr]
    with torch.no_grad():
        logits, kept = model.eval()(x), _weights(model)
        edits = [*edits, *method.finalize(model)]
        assert torch.equal(model(x), logits)
    for name, weight in _weights(model).items():
        assert torch.equal(weight, kept[name]) and 0 < weight.count_nonzero() < weight.numel()
    again = build(config, context.data.shape, context.data.classes)
    apply_edits(again, edits, context.make)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(x), logits)


@pytest.mark.parametrize("quantizer", ["lsq", "qil"])
def test_the_layers_of_a_factorized_kernel_have_its_factors(quantizer: str) -> None:
    _, model, context = _network(quantizer, width=2.0)
    set_quantized(model, False)
    kernels = _weights(model)
    method = Nrmf(NrmfConfig(macs=0.4))
    method.prepare(model, context)
    edits = method.finalize(model)
    assert edits
    for edit in edits:
        assert isinstance(edit, Tucker)
        parts = [trained_weight(model.get_submodule(f"{edit.layer}.{part}")) for part in ("reduce", "core", "restore")]
        for found, factor in zip(parts, tucker(kernels[edit.layer], edit.rank_in, edit.rank_out), strict=True):
            assert torch.equal(found, factor.reshape(found.shape))


def test_the_nuclear_norms_step_moves_kernels_whose_zeros_stay() -> None:
    _, model, context = _network("lsq", width=2.0)
    _masked(model)
    method = Nrmf(NrmfConfig(norm="nuclear", strength=0.1))
    method.prepare(model, context)
    before = _weights(model)["conv2"]
    method.after_step(model, 0.5)
    after = _weights(model)["conv2"]
    assert after.norm() < before.norm() and torch.equal(after == 0, before == 0)
