"""Processor time of a training step of each method beside Brevitas' own quantizers, turn by turn in one process.

In float32 and in bfloat16 (``train.precision``), the second beside the first.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch
from torch import nn

from benchmarks.common import Row, print_rows
from benchmarks.schemas import STEP_TIMES
from toolchain.config.run import parse_config
from toolchain.train.data import Dataset, load
from toolchain.train.methods import quant_method
from toolchain.train.methods.base import Context, QuantMethod
from toolchain.train.models import build, layers_of
from toolchain.train.module import set_memory_format, set_quantized

METHODS = ("brevitas", "lsq", "qil", "fqconv", "symog", "sgm")
NETWORKS = (("lenet5", "fashion-mnist", 256), ("resnet8", "cifar10", 64))
PRECISIONS = (torch.float32, torch.bfloat16)
TURNS, WARM_UP = 15, 3
BITS = 4


class _Trainer:
    """One network in quantized training on one batch."""

    def __init__(self, model: str, method: str, data: Dataset, batch: int) -> None:
        table = {
            "name": "steps",
            "data": {"name": data.name},
            "model": {"name": model},
            "quant": {"method": method, "weight_bits": BITS, "act_bits": BITS},
        }
        config = parse_config(table, where=method)
        torch.manual_seed(0)
        self.model = build(config, data.shape, data.classes)
        set_memory_format(self.model, torch.channels_last)
        self.method: QuantMethod = quant_method(config.quant)
        self.method.prepare(self.model, Context(config, data, None, layers_of(config), Path()))
        set_quantized(self.model, True)
        self.method.start_epoch(self.model, 0, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.x = torch.from_numpy(data.train_x[:batch]).float() / data.pixel_levels
        self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.y = torch.from_numpy(data.train_y[:batch])

    def step(self, precision: torch.dtype) -> float:
        """Milliseconds of processor time of a step."""
        started = time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = nn.functional.cross_entropy(self.model(self.x), self.y)
        penalty = self.method.penalty(self.model)
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()
        self.method.after_step(self.model, 0.5)
        return 1000 * (time.process_time() - started)


def measure_steps() -> None:
    """Write the medians over turns in which every method does one step."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    for model, name, batch in NETWORKS:
        data = load(name)
        trainers = {method: _Trainer(model, method, data, batch) for method in METHODS}
        times: dict[tuple[str, torch.dtype], list[float]] = {(m, p): [] for m in METHODS for p in PRECISIONS}
        for turn in range(WARM_UP + TURNS):
            for method, precision in times:
                spent = trainers[method].step(precision)
                if turn >= WARM_UP:
                    times[method, precision].append(spent)
        medians = {key: median(spent) for key, spent in times.items()}
        for (method, precision), spent in medians.items():
            row: Row = {"model": model, "data": name, "batch": batch, "method": method, "bits": BITS, "threads": 1}
            row |= {"precision": str(precision).removeprefix("torch."), "ms": round(spent, 2)}
            row["over_brevitas"] = round(spent / medians["brevitas", precision], 3)
            row["over_float32"] = round(spent / medians[method, torch.float32], 3)
            rows.append(row)
    STEP_TIMES.replace(rows)
    columns = ("model", "method", "precision", "batch", "ms", "over_brevitas", "over_float32")
    print_rows("training steps", rows, {key: key for key in columns})
