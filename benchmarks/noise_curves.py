"""Accuracy of FQ-Conv networks under the noise of the hardware, trained without and with it."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, pstdev

import torch

from benchmarks.common import Row, print_rows
from benchmarks.figures import lines_svg
from benchmarks.schemas import NOISE
from toolchain.config.run import FqconvConfig, RunConfig, parse_config
from toolchain.files import write_text
from toolchain.flow.training import train
from toolchain.train.data import Dataset
from toolchain.train.methods.fqconv import noisy
from toolchain.train.runs import load_run

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "fqconv-noise.svg"
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINED = (0.0, 0.5)
SEEDS = 3
EPOCHS = 3
BATCH = 500


def measure_noise(runs: Path) -> None:
    """Train lenet5 on Fashion-MNIST at four bits twice, and write rows and figure.

    A level is the standard deviation of the noise on weights, activations and sums alike, in steps of the quantizer.
    """
    rows: list[Row] = []
    for trained in TRAINED:
        model, _, data = load_run(train(_config(trained), runs / f"fqconv-noise-{trained:g}", resume=True))
        for level in LEVELS:
            found = [_top1(model, data, level, seed) for seed in range(SEEDS)]
            row: Row = {"data": data.name, "model": "lenet5", "method": "fqconv", "weight_bits": 4, "act_bits": 4}
            row |= {"epochs": 2 * EPOCHS, "trained_noise": trained, "noise": level, "seeds": SEEDS}
            rows.append(row | {"top1": round(mean(found), 5), "deviation": round(pstdev(found), 5)})
    NOISE.replace(rows)
    draw()
    print_rows("noise", rows, {key: key for key in ("trained_noise", "noise", "top1", "deviation")})


def draw() -> None:
    """The figure of the rows that are there."""
    rows = NOISE.rows()
    series = {
        f"trained with noise of {trained:g}" if trained else "trained without noise": [
            (row["noise"], 100 * row["top1"], 100 * row["deviation"]) for row in rows if row["trained_noise"] == trained
        ]
        for trained in TRAINED
    }
    title = "noise on weights, activations and sums, in steps"
    write_text(FIGURE, lines_svg(series, title, "top-1 %, lenet5 W4A4 on fashion-mnist"))


def _config(noise: float) -> RunConfig:
    levels = {"weight_noise": noise, "act_noise": noise, "mac_noise": noise}
    stages = [{"name": "float", "epochs": EPOCHS, "quantized": False}, {"name": "quantized", "epochs": EPOCHS}]
    table = {
        "name": "noise",
        "data": {"name": "fashion-mnist"},
        "model": {"name": "lenet5"},
        "quant": {"method": "fqconv", "weight_bits": 4, "act_bits": 4, "fqconv": levels},
        "train": {"batch_size": 256, "lr": 3e-3, "threads": 1},
        "stage": stages,
    }
    return parse_config(table, where="noise")


@torch.no_grad()
def _top1(model: torch.nn.Module, data: Dataset, level: float, seed: int) -> float:
    """Accuracy on the test images with noise of ``level`` everywhere."""
    images, correct = torch.from_numpy(data.test_x), 0
    with noisy(model, FqconvConfig(weight_noise=level, act_noise=level, mac_noise=level), seed):
        for start in range(0, len(images), BATCH):
            logits = model(images[start : start + BATCH].float() / data.pixel_levels)
            correct += int((logits.argmax(1).numpy() == data.test_y[start : start + BATCH]).sum())
    return correct / len(images)
