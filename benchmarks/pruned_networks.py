"""Networks pruned to a budget and quantized, all from one float network: accuracy, size and cost on the zu3eg."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Row
from benchmarks.quantization import CPU, GPU, QONNX_IMAGES, Case, Schedule, board_costs, float_start
from toolchain.config.run import FLOAT_BITS, RunConfig, parse_config
from toolchain.flow.training import train
from toolchain.train.runs import saved_metrics

SHARES = (0.3, 0.5, 0.1)  # shares of the MACs that are left
NETWORKS = {
    "cpu": [("fashion-mnist", "lenet5"), ("cifar10", "resnet8")],
    "gpu": [("fashion-mnist", "lenet5"), ("cifar10", "vgg-small"), ("cifar10", "resnet20")],
}
"""Few on a CPU, where a run on CIFAR-10 takes four minutes."""

COMPARED = {0.3: ("transport-4",), 0.5: ("transport-4",)}
"""Variants, at these shares only: `transport` that leaves a multiple of four channels."""

METHODS = ("magnitude", "magnitude-layer", "slimming", "transport", "hfp", "qcqp", "nrmf")
SELECTION_SECONDS = 30.0  # for the solver of `qcqp`
EXPLORER_SECONDS = 120.0  # for each call of the explorer; on a busy machine ten find nothing


@dataclass(frozen=True)
class Epochs:
    """The epochs of a run's stages: pruning in float, tuning in float, and quantized."""

    prune: int
    tune: int
    quantize: int

    @property
    def total(self) -> int:
        """The epochs of all stages."""
        return self.prune + self.tune + self.quantize


EPOCHS = {"cpu": Epochs(1, 1, 1), "gpu": Epochs(40, 40, 40)}


@dataclass(frozen=True)
class Pruned:
    """A run: ``share`` of the MACs left by ``method``, then ``bits`` for weights and activations.

    The method "dense" prunes nothing; "dst" has no budget, its ``share`` is the alpha.
    """

    data: str
    model: str
    method: str
    share: float
    seed: int
    epochs: Epochs
    bits: int = 4

    @property
    def key(self) -> Row:
        """The columns that identify the row."""
        return {
            "data": self.data, "model": self.model, "method": self.method, "budget": self.share,
            "budget_kind": "alpha" if self.method == "dst" else "macs", "seed": self.seed,
            "epochs": self.epochs.total, "bits": f"{self.bits}/{self.bits}",
        }  # fmt: skip

    @property
    def name(self) -> str:
        """The name of the run folder."""
        parts = (self.data, self.model, self.method, f"{self.share:g}", f"w{self.bits}a{self.bits}")
        return "-".join(parts) + f"-e{self.epochs.total}-s{self.seed}"


def budgets(where: str, seeds: int) -> Iterator[Pruned]:
    """The runs that compare the methods, ``where`` is "cpu" or "gpu"."""
    epochs = EPOCHS[where]
    for data, model in NETWORKS[where]:
        for seed in range(seeds):
            yield Pruned(data, model, "dense", 1.0, seed, epochs)
            for share in SHARES:
                for method in (*METHODS, *COMPARED.get(share, ())):
                    yield Pruned(data, model, method, share, seed, epochs)
            for alpha in (5e-4, 1e-3):
                yield Pruned(data, model, "dst", alpha, seed, epochs)


def combined(where: str) -> Iterator[Pruned]:
    """A network as it is at 8 bits, and with half of its MACs at 4 bits."""
    for data, model in NETWORKS[where]:
        yield Pruned(data, model, "dense", 1.0, 0, EPOCHS[where], bits=8)
        yield Pruned(data, model, "transport-4", 0.5, 0, EPOCHS[where])


def row(run: Pruned, runs: Path) -> Row:
    """Train ``run`` and let the explorer find the fastest accelerator that fits."""
    schedule = (GPU if torch.cuda.is_available() else CPU)[run.data, run.model]
    first = Case(run.data, run.model, "float", FLOAT_BITS, FLOAT_BITS, run.seed, schedule.epochs)
    start = float_start(first, schedule, runs)
    out = train(_config(run, schedule, start), runs / run.name, resume=True, qonnx_images=QONNX_IMAGES)
    found, before = saved_metrics(out), saved_metrics(start)
    left = found["macs"] / before["macs"]
    by_stage = {stage["name"]: stage["top1"] for stage in found["stages"]}
    return {
        "kept_params": found["params"], "kept_macs": found["macs"], "kept_share": round(left, 6),
        "budget_error": round(abs(left - run.share), 6) if run.key["budget_kind"] == "macs" else None,
        "weight_sparsity": found["weight_sparsity"], "float_epochs": schedule.epochs, "float_top1": before["top1"],
        "precision": schedule.precision,
        "pruned_top1": by_stage["prune"], "tuned_top1": by_stage["tune"], "top1": found["top1"],
        "seconds": found["seconds"],
    } | board_costs(out, runs / f"{run.name}-build", EXPLORER_SECONDS)  # fmt: skip


def _config(run: Pruned, schedule: Schedule, start: Path) -> RunConfig:
    """Prune and tune in float, then quantize; each stage with a schedule of its own."""
    training = {
        "epochs": run.epochs.total, "batch_size": schedule.batch, "lr": schedule.lr, "seed": run.seed,
        "threads": 0 if torch.cuda.is_available() else 1, "start_from": str(start),
        "precision": schedule.precision,
    }  # fmt: skip
    stages: list[dict[str, object]] = [
        {"name": "prune", "epochs": run.epochs.prune, "quantized": False} | _table(run),
        {"name": "tune", "epochs": run.epochs.tune, "quantized": False},
        {"name": "quantize", "epochs": run.epochs.quantize},
    ]
    table = {
        "name": run.name, "data": {"name": run.data, "augment": schedule.augment}, "model": {"name": run.model},
        "quant": {"weight_bits": run.bits, "act_bits": run.bits}, "train": training, "stage": stages,
    }  # fmt: skip
    return parse_config(table, where=run.name)


def _table(run: Pruned) -> dict[str, Any]:
    """The method's part of the stage."""
    budget = {"macs": run.share, "least": 1}  # the rows were measured before layers kept four channels
    match run.method:
        case "dense":
            return {}
        case "dst":
            return {"dst": {"alpha": run.share}}
        case "magnitude-layer":
            return {"magnitude": budget | {"scope": "layer"}}
        case "qcqp":
            return {"qcqp": budget | {"seconds": SELECTION_SECONDS}}
        case "transport-4":
            return {"transport": budget | {"multiple": 4}}
        case "nrmf":
            return {"nrmf": {"macs": run.share, "energy": 1.0}}
    return {run.method: budget}
