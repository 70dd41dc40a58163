"""Processor time of a training step: quantized beside float and beside Brevitas' own quantizers; rate of a recipe.

The steps take turns in one process of one thread, in float32 and in bfloat16 (``train.precision``); a ratio is of two
steps of one turn. The rate is that of the recipe in bfloat16, with its batches, augmentation and optimizer.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any

import lightning as L
import torch
from torch import nn

from benchmarks.common import Row, print_rows
from benchmarks.schemas import STEP_TIMES
from toolchain.config.run import find_config, load_config, parse_config
from toolchain.train.data import Dataset, load
from toolchain.train.methods import quant_method
from toolchain.train.methods.base import Context, QuantMethod
from toolchain.train.models import build, layers_of
from toolchain.train.module import set_memory_format, set_quantized
from toolchain.train.stages import run_stages

FLOAT, BREVITAS = "float", "brevitas"
METHODS = (FLOAT, BREVITAS, "lsq", "qil", "fqconv", "symog", "sgm")
RECIPE = "float-resnet8"
NETWORKS = (("lenet5", "fashion-mnist", 256), ("resnet8", "cifar10", 128))
PRECISIONS = (torch.float32, torch.bfloat16)
TURNS, WARM_UP = 15, 3
STEPS = 30
"""The steps of the recipe that are timed after the warm-up."""
BITS, FLOAT_BITS = 4, 32

Key = tuple[str, torch.dtype]


class _Trainer:
    """One network, in float or in quantized training, on one batch."""

    def __init__(self, model: str, method: str, data: Dataset, batch: int) -> None:
        table: Row = {"name": "steps", "data": {"name": data.name}, "model": {"name": model}}
        if method == FLOAT:
            table["train"] = {"float": True}
        else:
            table["quant"] = {"method": method, "weight_bits": BITS, "act_bits": BITS}
        config = parse_config(table, where=method)
        torch.manual_seed(0)
        self.model = build(config, data.shape, data.classes)
        set_memory_format(self.model, torch.channels_last)
        self.method: QuantMethod = quant_method(config.quant)
        self.method.prepare(self.model, Context(config, data, None, layers_of(config), Path()))
        set_quantized(self.model, True)
        self.method.start_epoch(self.model, 0, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
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


class _Steps(L.Callback):
    """Seconds of processor time from the end of each step to that of the next."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.process_time()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def measure_steps() -> None:
    """Write the rows of every network's steps and that of the recipe."""
    torch.set_num_threads(1)
    steps = [row for model, name, batch in NETWORKS for row in _rows(model, name, batch)]
    rate = _recipe_rate()
    STEP_TIMES.replace([*steps, rate])
    columns = ("model", "method", "precision", "batch", "ms", "over_float", "over_float_low", "over_float_high")
    print_rows("training steps", steps, {key: key for key in (*columns, "over_brevitas", "over_float32")})
    print_rows("recipe", [rate], {key: key for key in ("recipe", "precision", "images_per_second", "low", "high")})


def _rows(model: str, name: str, batch: int) -> list[Row]:
    """The steps of a network, every method doing one in each turn."""
    data = load(name)
    trainers = {method: _Trainer(model, method, data, batch) for method in METHODS}
    times: dict[Key, list[float]] = {(method, precision): [] for precision in PRECISIONS for method in METHODS}
    for turn in range(WARM_UP + TURNS):
        for method, precision in times:
            spent = trainers[method].step(precision)
            if turn >= WARM_UP:
                times[method, precision].append(spent)
    rows: list[Row] = []
    for (method, precision), seconds in times.items():
        low, over_float, high = _over(seconds, times[FLOAT, precision])
        row: Row = {"model": model, "data": name, "batch": batch, "method": method, "threads": 1, "turns": TURNS}
        row |= {"bits": FLOAT_BITS if method == FLOAT else BITS, "precision": str(precision).removeprefix("torch.")}
        row |= {"ms": round(quantiles(seconds)[1], 2), "over_float": over_float}
        row |= {"over_float_low": low, "over_float_high": high}
        row["over_brevitas"] = _over(seconds, times[BREVITAS, precision])[1]
        row["over_float32"] = _over(seconds, times[method, torch.float32])[1]
        rows.append(row)
    return rows


def _over(spent: list[float], other: list[float]) -> tuple[float, ...]:
    """Quartiles of the ratios of steps of the same turn."""
    return tuple(round(ratio, 3) for ratio in quantiles(a / b for a, b in zip(spent, other, strict=True)))


def _recipe_rate() -> Row:
    """Images a second of the recipe on as many images as its steps take."""
    settings = ("epochs=1", "evaluate_every=1", "accelerator=cpu", "precision=bfloat16")
    config = load_config(find_config(RECIPE), [f"train.{setting}" for setting in settings])
    data, batch, steps = load(config.data.name), config.train.batch_size, _Steps()
    images = batch * (WARM_UP + STEPS + 1)
    few = replace(data, train_x=data.train_x[:images], train_y=data.train_y[:images], test_x=data.test_x[:batch],
                  test_y=data.test_y[:batch], held=None)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run_stages(config, few, Path(folder), callbacks=[steps])
    low, rate, high = sorted(round(batch / seconds, 1) for seconds in quantiles(steps.seconds[WARM_UP:]))
    row: Row = {"recipe": RECIPE, "model": config.model.name, "data": config.data.name, "batch": batch, "threads": 1}
    row |= {"precision": config.train.precision, "steps": STEPS}
    return row | {"images_per_second": rate, "low": low, "high": high}
