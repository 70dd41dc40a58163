"""How the learning rate goes, when a run is evaluated, and where its first convolution begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import Int8WeightPerChannelFloat
from torch import nn

from toolchain.config.pruning import DstConfig
from toolchain.config.run import RunConfig, TrainConfig, parse_config
from toolchain.errors import UserError
from toolchain.train.data import Dataset, input_map, load
from toolchain.train.methods.dst import Dst
from toolchain.train.module import Classifier, evaluated, rate_factor
from toolchain.train.stages import run_stages
from toolchain.train.whiten import whiten


def _config(**train: object) -> RunConfig:
    table = {
        "name": "t",
        "model": {"name": "cnn", "width": 0.5},
        "train": {"epochs": 3, "float": True, "lr": 0.1, "optimizer": "sgd", "accelerator": "cpu", **train},
    }
    return parse_config(table, where="test")


def test_one_cycle_goes_up_to_the_rate_and_down_to_nothing_on_two_lines() -> None:
    train = TrainConfig(schedule="one-cycle", warm_up=0.25)

    assert [rate_factor(train, p) for p in (0, 0.125, 0.25, 0.625, 1)] == [0, 0.5, 1, 0.5, 0]
    assert rate_factor(TrainConfig(schedule="constant"), 0.9) == 1
    assert [rate_factor(TrainConfig(), p) for p in (0, 1)] == [1, 0]


class _PerChannel(Int8WeightPerChannelFloat):  # type: ignore[misc] # Brevitas is not typed
    scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS


def test_weights_and_thresholds_decay_and_no_scale_does() -> None:
    """The thresholds of DST do in its authors' code; a scale a channel has as many axes as the weight."""
    network = nn.Sequential(qnn.QuantConv2d(1, 4, 3, weight_quant=_PerChannel), nn.BatchNorm2d(4), nn.Linear(4, 2))
    method = Dst(DstConfig())
    method.prepare(network, None)  # type: ignore[arg-type] # it asks nothing
    config = parse_config({"name": "t", "train": {"weight_decay": 0.1}}, where="test")
    module = Classifier(network, load("digits"), config, [method])
    module._trainer = SimpleNamespace(estimated_stepping_batches=1)  # type: ignore[assignment]
    names = {parameter: name for name, parameter in module.named_parameters()}
    groups = module.configure_optimizers()["optimizer"].param_groups
    decay = {names[p].removeprefix("model."): group["weight_decay"] for group in groups for p in group["params"]}
    thresholds = [name for name in decay if name.endswith("threshold")]
    weights = [name for name in decay if name.endswith("original")]
    assert len(thresholds) == len(weights) == 2 and all(decay[name] == 0.1 for name in (*thresholds, *weights))
    rest = {name: value for name, value in decay.items() if name not in (*thresholds, *weights)}
    assert rest == dict.fromkeys(
        ["0.bias", "0.weight_quant.tensor_quant.scaling_impl.value", "1.weight", "1.bias", "2.bias"], 0.0
    )


def test_every_third_epoch_and_the_ends_of_both_phases_are_evaluated() -> None:
    train = TrainConfig(epochs=8, pretrain_epochs=4, evaluate_every=3)

    assert [epoch + 1 for epoch in range(8) if evaluated(train, epoch)] == [3, 4, 6, 8]


def test_a_run_counts_its_evaluations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With Nesterov's momentum, smoothed labels, one cycle and a whitened beginning; three epochs learn the digits."""
    torch.set_num_threads(1)
    config = _config(
        schedule="one-cycle", nesterov=True, label_smoothing=0.1, whiten=True, evaluate_every=2, weight_decay=5e-4
    )
    with caplog.at_level("INFO", logger="toolchain.train.module"):
        done = run_stages(config, load("digits"), tmp_path)

    assert [line.getMessage()[:10] for line in caplog.records] == ["epoch 2 of", "epoch 3 of"]
    assert done.top1 > 0.85


def test_whitened_outputs_have_no_covariance_and_come_in_pairs() -> None:
    """Channels in turns a direction and its negative; before a batch norm, which makes their deviations one."""
    torch.manual_seed(0)
    mixed = torch.randn(200, 2, 9, 9) @ torch.randn(9, 9)
    layer = nn.Conv2d(2, 8, 3, bias=False)
    length = layer.weight.flatten(1).norm(dim=1).mean()
    whiten(layer, mixed)
    out = layer(mixed).detach().transpose(0, 1).flatten(1).double()
    covariance = torch.cov(out[::2])
    spread = covariance.diagonal()

    assert torch.equal(layer.weight[::2], -layer.weight[1::2])
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), length.expand(8))
    assert (covariance - spread.diag()).abs().max() < 1e-4 * spread.max()  # the weights are float32
    assert (spread.diff() < 0).all()


def test_a_network_that_begins_with_no_convolution_is_not_whitened() -> None:
    with pytest.raises(UserError, match="train.whiten needs a network that begins with a convolution"):
        whiten(nn.Linear(4, 4), torch.zeros(1, 4, 1, 1))


def test_a_signal_is_whitened_as_the_first_convolution_reads_it(tmp_path: Path) -> None:
    """In one row; the directions are those of the standardized numbers, whatever the input's quantizer begins with."""
    torch.manual_seed(0)
    x = (torch.randn(300, 2, 16) @ torch.randn(16, 16)).numpy()
    data = Dataset("signals", x, np.arange(300) % 3, x, np.arange(300) % 3, 3, 0)
    table = {
        "name": "t",
        "data": {"normalize": "standard"},
        "model": {"name": "cnn1d"},
        "train": {"epochs": 1, "lr": 1e-30, "whiten": True, "accelerator": "cpu", "batch_size": 64},
    }
    config = parse_config(table, where="test")
    weight = run_stages(config, data, tmp_path).model.get_submodule("conv1").weight
    expected = nn.Conv2d(2, 16, (1, 5), bias=False)
    whiten(expected, torch.from_numpy(input_map(data, "standard").apply(x))[:, :, None])
    assert isinstance(weight, torch.Tensor)
    cosines = nn.functional.cosine_similarity(weight.flatten(1), expected.weight.flatten(1))
    torch.testing.assert_close(cosines.abs(), torch.ones(16))


def test_a_whitened_beginning_follows_from_images_of_all_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of a folder come class by class; those of each class have one shade here."""
    data = load("digits")
    labels = np.repeat(np.arange(10), 300)
    shades = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (3000, 1, 8, 8))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr("toolchain.train.stages.whiten", lambda _, images: seen.append(images[:, 0, 0, 0]))
    run_stages(_config(epochs=1, whiten=True), replace(data, train_x=shades.copy(), train_y=labels), tmp_path)
    shades_seen, counts = seen[0].unique(return_counts=True)
    assert len(seen[0]) == 2000 and len(shades_seen) == 10 and counts.min() > 150
