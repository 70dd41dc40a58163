"""Accuracy of FQ-Conv networks under the noise of the hardware, trained without and with it."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import mean

import torch

from benchmarks.common import Row, print_rows, standard_error
from benchmarks.figures import lines_svg
from benchmarks.schemas import NOISE
from toolchain.config.run import FqconvConfig, RunConfig, parse_config
from toolchain.files import write_text
from toolchain.flow.training import train
from toolchain.train.data import Dataset
from toolchain.train.methods.fqconv import noisy
from toolchain.train.runs import load_run

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "fqconv-noise.svg"
KINDS_FIGURE = FIGURE.with_name("fqconv-noise-kinds.svg")
ALL = "all"
KINDS = {"weights": "weight_noise", "activations": "act_noise", "sums": "mac_noise"}
Y_TITLE = "top-1 %, lenet5 W4A4 on fashion-mnist"
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINED = (0.0, 0.5)
SEEDS = 3
EPOCHS = 3
BATCH = 500


def measure_noise(runs: Path) -> None:
    """Train lenet5 on Fashion-MNIST at four bits twice, and write rows and figure.

    A level is the standard deviation of the noise in steps of the quantizer, on weights, activations and sums alike; of
    the network that was trained without noise also on each of them alone.
    """
    rows: list[Row] = []
    for trained in TRAINED:
        model, _, data = load_run(train(_config(trained), runs / f"fqconv-noise-{trained:g}", resume=True))
        for kind, level in product((ALL, *KINDS) if not trained else (ALL,), LEVELS):
            found = [_top1(model, data, levels_of(kind, level), seed) for seed in range(SEEDS)]
            row: Row = {"data": data.name, "model": "lenet5", "method": "fqconv", "weight_bits": 4, "act_bits": 4}
            row |= {"epochs": 2 * EPOCHS, "trained_noise": trained, "kind": kind, "noise": level, "seeds": SEEDS}
            rows.append(row | {"top1": round(mean(found), 5), "error": round(standard_error(found), 5)})
    NOISE.replace(rows)
    draw()
    print_rows("noise", rows, {key: key for key in ("trained_noise", "noise", "top1", "error")})


def draw() -> None:
    """The figures of the rows that are there."""
    rows = NOISE.rows()

    def curve(trained: float, kind: str) -> list[tuple[float, float, float]]:
        of_curve = [row for row in rows if (row["trained_noise"], row["kind"]) == (trained, kind)]
        return [(row["noise"], 100 * row["top1"], 100 * row["error"]) for row in of_curve]

    series = {f"trained with noise of {t:g}" if t else "trained without noise": curve(t, ALL) for t in TRAINED}
    write_text(FIGURE, lines_svg(series, "noise on weights, activations and sums, in steps", Y_TITLE))
    kinds = {f"on {kind} alone": curve(0.0, kind) for kind in KINDS}
    write_text(KINDS_FIGURE, lines_svg(kinds, "noise in steps, none in training", Y_TITLE))


def levels_of(kind: str, level: float) -> FqconvConfig:
    """Noise of ``level`` on ``kind``, one of `KINDS` or `ALL`."""
    return FqconvConfig.model_validate({name: level if kind in (ALL, shown) else 0.0 for shown, name in KINDS.items()})


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
def _top1(model: torch.nn.Module, data: Dataset, levels: FqconvConfig, seed: int) -> float:
    """Accuracy on the test images with noise of ``levels``."""
    images, correct = torch.from_numpy(data.test_x), 0
    with noisy(model, levels, seed):
        for start in range(0, len(images), BATCH):
            logits = model(images[start : start + BATCH].float() / data.pixel_levels)
            correct += int((logits.argmax(1).numpy() == data.test_y[start : start + BATCH]).sum())
    return correct / len(images)
