"""Integer-only training beside float training of the same networks; rows in results/niti.json.

    python -m benchmarks niti [--only NAME]... [--epochs N] [--runs DIR] [--builds DIR]

A training row has an integer-only run and a float run (SGD) of the same network with the same epochs and batches, and
the time and memory of a step of both. The export row takes the MNIST network to zu3eg and puts the network of 8-bit
quantization-aware training (LSQ) beside it. A finished run in --runs is not trained again and a killed one is resumed,
so the script goes on where it stopped; rows of other names are kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common import Row, print_rows
from benchmarks.schemas import NITI
from toolchain.config.run import RunConfig, find_config, load_config
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.flow.training import train
from toolchain.train.batches import Batches
from toolchain.train.data import load
from toolchain.train.module import Classifier
from toolchain.train.niti.loss import error
from toolchain.train.niti.network import float_twin
from toolchain.train.niti.trainer import IntegerClassifier
from toolchain.train.runs import saved_metrics

FLOAT = ["train.float=true", "train.optimizer=sgd"]
FLOAT_RATES = {"cifar10": 0.03}  # better than 0.01, which the others have
QAT = ["quant.method=lsq", "train.lr=1e-3"]
QAT_EPOCHS = 1  # only its resources are shown
_SHORT = ["model.width=0.25", "train.batch_size=128", "train.threads=1"]
RUNS = {
    "mnist": ("niti-mnist", list[str]()),
    "fashion-mnist": ("niti-mnist", ["data.name=fashion-mnist"]),
    "fashion-mnist-16": (
        "niti-mnist",
        ["data.name=fashion-mnist", "niti.fraction_bits=8", "niti.mu=[11, 10, 9, 8]"],
    ),
    "fashion-mnist-bias": ("niti-mnist", ["data.name=fashion-mnist", "niti.bias=true"]),
    "cifar10": ("niti-cifar10", [*_SHORT, "niti.milestones=[6, 8]"]),
    "cifar10-16": (
        "niti-cifar10",
        [*_SHORT, "niti.fraction_bits=8", "niti.mu=[12, 11, 10]", "niti.milestones=[5, 8]"],
    ),
}
"""Recipe and settings: -16 adds weight updates up in 16 bits, -bias gives biases; CIFAR-10 is narrow and short."""
DEFAULT_EPOCHS = {"cifar10": 10, "cifar10-16": 10}
STEPS = 30
TRAINING_COLUMNS = {
    "name": "row",
    "epochs": "epochs",
    "float_top1": "float",
    "top1": "integer",
    "frozen_top1": "frozen",
    "step_seconds": "s/step",
    "float_step_seconds": "float s/step",
    "step_mb": "MB",
    "float_step_mb": "float MB",
}
EXPORT_COLUMNS = {
    "name": "row",
    "csim_mismatches": "C-sim mismatches",
    "lut": "LUT",
    "dsp": "DSP",
    "bram18": "BRAM18",
    "fps": "fps",
}


def config_of(name: str, epochs: int, more: list[str]) -> RunConfig:
    """The recipe with the settings of a row."""
    recipe, settings = RUNS[name]
    return load_config(find_config(recipe), [f"name={name}", *settings, f"train.epochs={epochs}", *more])


def trained(config: RunConfig, folder: Path) -> dict[str, float]:
    """The metrics of a run, trained or resumed where it is not finished."""
    if not (folder / "metrics.json").is_file():
        train(config, folder, resume=folder.is_dir())
    return saved_metrics(folder)


def integer_step(config: RunConfig) -> Callable[[], None]:
    """One training step of the integer network on one batch of its data."""
    data = load(config.data.name)
    module = IntegerClassifier(data, config)
    pixels, labels = next(iter(Batches(module.train_x, module.train_y, config.train.batch_size, seed=0)))
    optimizer = module.configure_optimizers()

    def step() -> None:
        module.model.backward(error(module.model(module.input(pixels)), labels, module.generator))
        optimizer.step()

    return step


def float_step(config: RunConfig) -> Callable[[], None]:
    """One training step of the same network in float32, as its own run does it."""
    data = load(config.data.name)
    module = Classifier(float_twin(config, data.shape, data.classes).train(), data, config)
    pixels, labels = next(iter(Batches(module.train_x, module.train_y, config.train.batch_size, seed=0)))
    optimizer = torch.optim.SGD(module.model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(pixels), labels).backward()
        optimizer.step()

    return step


def step_seconds(config: RunConfig) -> tuple[float, float]:
    """Median processor seconds of an integer and of a float step, taken in turns; other programs do not count."""
    torch.set_num_threads(config.train.threads)
    steps = integer_step(config), float_step(config)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(STEPS):
        for step, taken in zip(steps, seconds, strict=True):
            start = time.process_time()
            step()
            taken.append(time.process_time() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def peak_megabytes(make: Callable[[RunConfig], Callable[[], None]], config: RunConfig) -> float:
    """Return by how many MB the steps in a process of their own raise its peak; data and weights are there before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (make, config))


def _grown(make: Callable[[RunConfig], Callable[[], None]], config: RunConfig) -> float:
    torch.set_num_threads(config.train.threads)
    step = make(config)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from here
    before = _resident("VmRSS")
    for _ in range(5):
        step()
    return _resident("VmHWM") - before


def _resident(key: str) -> float:
    """A size of this process in MiB, by its name in Linux."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def training_row(name: str, epochs: int, runs: Path) -> Row:
    """Accuracy of an integer-only run and of the float run beside it; time and memory of a step of both."""
    config = config_of(name, epochs, [])
    integer = trained(config, runs / f"{name}-niti")
    rate = FLOAT_RATES.get(config.data.name, 0.01)
    real = trained(config_of(name, epochs, [*FLOAT, f"train.lr={rate}"]), runs / f"{config.data.name}-float")
    if integer["epochs"] != epochs or real["epochs"] != epochs:
        raise SystemExit(f"{runs} holds runs of {name} with other epochs than {epochs}: give --epochs or other --runs")
    seconds = step_seconds(config)
    return {
        "data": config.data.name,
        "model": config.model.name,
        "width": config.model.width,
        "variant": config.niti.variant,
        "fraction_bits": config.niti.fraction_bits,
        "bias": config.niti.bias,
        "seed": config.train.seed,
        "epochs": epochs,
        "batch": config.train.batch_size,
        "threads": config.train.threads,
        "float_top1": real["top1"],
        "top1": integer["top1"],
        "frozen_top1": integer["frozen_top1"],
        "qonnx_top1": integer["qonnx_top1"],
        "step_seconds": round(seconds[0], 5),
        "float_step_seconds": round(seconds[1], 5),
        "step_mb": round(peak_megabytes(integer_step, config), 1),
        "float_step_mb": round(peak_megabytes(float_step, config), 1),
    }


def export_row(name: str, epochs: int, runs: Path, builds: Path) -> Row:
    """The accelerator of the MNIST network, trained with integers or, for "export-lsq", quantization-aware."""
    integer = name == "export-niti"
    config = config_of("mnist", epochs if integer else QAT_EPOCHS, [] if integer else QAT)
    folder = runs / ("mnist-niti" if integer else "mnist-lsq")
    trained(config, folder)
    report = export(folder / "model.onnx", builds / name, Search(), Check(data=config.data.name))
    verification = report.verification
    return {
        "data": config.data.name,
        "model": config.model.name,
        "method": config.quant.method,
        "board": report.board,
        "epochs": config.train.epochs,
        "csim_top1": report.accuracy.top1 if report.accuracy else None,
        "csim_images": verification.images,
        "csim_mismatches": verification.csim_mismatches,
        "qonnx_code_mismatches": verification.qonnx_code_mismatches,
        "fps": round(report.estimate.fps),
        **{kind: usage.used for kind, usage in report.resources.items()},
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*RUNS, "export-niti", "export-lsq"]
    parser.add_argument("--only", action="append", choices=names, help="only these rows")
    parser.add_argument("--epochs", type=int, help="instead of 20 (MNIST, Fashion-MNIST) and 10 (CIFAR-10)")
    parser.add_argument("--runs", type=Path, default=Path("runs/niti"), help="training runs")
    parser.add_argument("--builds", type=Path, default=Path("build/niti"), help="builds")
    options = parser.parse_args()
    for name in options.only or names:
        epochs = options.epochs or DEFAULT_EPOCHS.get(name, 20)
        found = (
            training_row(name, epochs, options.runs)
            if name in RUNS
            else export_row(name, epochs, options.runs, options.builds)
        )
        command = f"python -m benchmarks niti --only {name}" + (f" --epochs {epochs}" if options.epochs else "")
        NITI.record({"name": name} | found | {"command": command})
    print_rows("Integer-only training", [row for row in NITI.rows() if row["name"] in RUNS], TRAINING_COLUMNS)
    print_rows("On zu3eg", [row for row in NITI.rows() if row["name"] not in RUNS], EXPORT_COLUMNS)


if __name__ == "__main__":
    main()
