"""Dynamic sparse training on the networks of its paper: no batch norm, float, SGD with a constant rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from benchmarks.common import Row
from toolchain.config.pruning import DstConfig
from toolchain.config.run import RunConfig, parse_config
from toolchain.train.data import load
from toolchain.train.methods.base import Context
from toolchain.train.methods.dst import Dst, keep_ratios
from toolchain.train.models import layers_of
from toolchain.train.module import Classifier
from toolchain.train.shrink import structure_of
from toolchain.train.statistics import named_weighted_layers

PUBLISHED = {
    ("lenet-300-100", 5e-4): "7.87 % kept, best 98.12 % (Fig. 3, 10 runs)",
    ("lenet-300-100", 1e-3): "2.48 ± 0.21 % kept, best 97.69 ± 0.14 % (Table 1, 5 runs, its alpha not read)",
    ("lenet-5-caffe", 5e-4): "1.64 ± 0.13 % kept, best 99.11 ± 0.07 % (Table 1, 5 runs, its alpha not read)",
}

_LAST = 5  # epochs that a share of weights is the mean of: after a layer has started over it is large for a while


def network(name: str) -> nn.Sequential:
    """LeNet-300-100 or the 20-50-500 LeNet-5 with PyTorch's default initialisation, as the authors' code has them."""
    if name == "lenet-300-100":
        head = OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(784, 300), act1=nn.ReLU(), fc2=nn.Linear(300, 100))
        return nn.Sequential(head | OrderedDict(act2=nn.ReLU(), fc=nn.Linear(100, 10)))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5), act1=nn.ReLU(), pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5), act2=nn.ReLU(), pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(), fc1=nn.Linear(800, 500), act3=nn.ReLU(), fc=nn.Linear(500, 10),
        )
    )  # fmt: skip


class _Curve(Callback):
    """Accuracy and keep ratio after every epoch."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float]] = []

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        layers = named_weighted_layers(module).values()
        total = sum(layer.weight.numel() for layer in layers)
        alive = sum(int((layer.weight != 0).sum()) for layer in layers)
        self.rows.append((float(trainer.callback_metrics["top1"]), alive / total))


class _Falls(Callback):
    """The rate is a tenth from epoch ``first`` on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == self.first:
            (schedule,) = trainer.lr_scheduler_configs
            schedule.scheduler.base_lrs = [rate / 10 for rate in schedule.scheduler.base_lrs]  # a step multiplies these


def method_name(fall: int | None) -> str:
    """Return the method's name in a row whose rate is a tenth from epoch ``fall`` on, or constant."""
    return "dst" if fall is None else f"dst, rate falls at {fall}"


def config(seed: int, epochs: int, accelerator: str) -> RunConfig:
    """Batch 64, SGD with momentum 0.9, rate 0.01 throughout."""
    train = {"epochs": epochs, "batch_size": 64, "lr": 0.01, "optimizer": "sgd", "momentum": 0.9, "float": True}
    section: dict[str, Any] = train | {"schedule": "constant", "seed": seed, "accelerator": accelerator}
    return parse_config({"name": "dst", "data": {"name": "mnist"}, "train": section}, where="benchmark")


def run(name: str, alpha: float, seed: int, epochs: int, accelerator: str, fall: int | None = None) -> Row:
    """Train and return one row: the last epoch's figures and those of the epoch that was best on the test set.

    An alpha of 0 trains the dense network, without thresholds. The rate is a tenth from epoch ``fall`` on.
    """
    settings, data = config(seed, epochs, accelerator), load("mnist")
    L.seed_everything(seed, verbose=False)
    model, method, curve = network(name), Dst(DstConfig(alpha=alpha)), _Curve()
    methods = [method] if alpha else []
    for one in methods:
        one.prepare(model, Context(settings, data, None, layers_of(settings), Path()))
    module = Classifier(model, data, settings, methods)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator=accelerator, devices=1, logger=False,
        callbacks=[curve] if fall is None else [curve, _Falls(fall)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    start = time.monotonic()
    trainer.fit(module)
    seconds = time.monotonic() - start
    assert trainer.optimizers[0].param_groups[0]["lr"] == settings.train.lr / (1 if fall is None else 10)
    for one in methods:
        one.finalize(model)
    structure = structure_of(model.cpu(), data.shape)
    ratios, total = keep_ratios(model), sum(layer.weight.numel() for layer in named_weighted_layers(model).values())
    alive = sum(int((layer.weight != 0).sum()) for layer in named_weighted_layers(model).values())
    best = max(top1 for top1, _ in curve.rows)
    return {
        "part": "dst", "data": "mnist", "model": name, "method": method_name(fall), "budget": alpha,
        "budget_kind": "alpha",
        "kept_params": alive, "kept_share": alive / total,
        "kept_share_last": sum(kept for _, kept in curve.rows[-_LAST:]) / len(curve.rows[-_LAST:]),
        "kept_share_least": min(kept for _, kept in curve.rows),
        "kept_macs": sum(round(layer.macs(structure.counts) * ratios[layer.name]) for layer in structure.layers),
        "seed": seed, "epochs": epochs, "float_top1": None, "top1": round(curve.rows[-1][0], 4),
        "best_top1": round(best, 4), "layers": " / ".join(f"{share:.4f}" for share in ratios.values()),
        "curve": " ".join(f"{top1:.4f}@{kept:.4f}" for top1, kept in curve.rows),
        "published": PUBLISHED.get((name, alpha)) if fall is None else None,
        "seconds": round(seconds),
    }  # fmt: skip
