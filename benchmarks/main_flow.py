"""Train, export and C-simulate the reference networks on real data; rows in results/main_flow.json.

    python -m benchmarks main_flow [--only NAME]... [--runs DIR] [--builds DIR]

A finished run in --runs is not trained again and a killed one is resumed, so the script goes on where it stopped.
ResNet-8 and ResNet-20 are quantized from float networks as `benchmarks claims` does it. Every test image
goes through the C simulation of the generated C++.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.claims import Claim, config_of
from benchmarks.common import Row, print_rows
from benchmarks.schemas import MAIN_FLOW
from toolchain.config.run import RunConfig, find_config, load_config
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.flow.training import train
from toolchain.report.data import Report
from toolchain.train.runs import saved_metrics

COLUMNS = {
    "name": "network",
    "epochs": "epochs",
    "float_top1": "float",
    "top1": "top-1",
    "csim_top1": "C-sim top-1",
    "csim_images": "images",
    "csim_mismatches": "mismatches",
    "fps": "fps",
    "lut": "LUT",
    "dsp": "DSP",
    "bram18": "BRAM18",
}


def variants(recipe: str, stem: str, common: list[str]) -> dict[str, tuple[str, list[str]]]:
    """Float, W2A2, W4A4 and W8A8 runs of one recipe with equal epochs."""
    bits = {n: [f"quant.weight_bits={n}", f"quant.act_bits={n}"] for n in (2, 4, 8)}
    runs = {f"{stem}-w{n}a{n}": (recipe, [*common, *settings]) for n, settings in bits.items()}
    return {f"{stem}-float": (recipe, [*common, "train.float=true", "train.pretrain_epochs=0"]), **runs}


def lsq(bits: int) -> Claim:
    """Ten epochs of LSQ with weights and activations of ``bits`` bits."""
    stages = [{"name": "last", "epochs": 10}]
    quant = {"method": "lsq", "weight_bits": bits, "act_bits": bits}
    return Claim("quantize", "lsq", f"W{bits}A{bits}", seed=0, stages=stages, quant=quant)


RUNS = {
    "tfc-mnist-w2a2": ("tfc-mnist-w2a2", list[str]()),
    **variants("lenet5-fashion-w4a4", "lenet5-fashion", []),
    "resnet8-cifar10-float": (
        "float-resnet8", ["train.seed=1", "data.augment=true", "train.epochs=80", "train.weight_decay=5e-4",
                          "train.label_smoothing=0.1", "train.precision=bfloat16"]
    ),
    "resnet20-cifar10-float": ("float-resnet20", ["train.epochs=35"]),
}  # fmt: skip
FINE_TUNED = {
    **{f"resnet8-cifar10-w{bits}a{bits}": lsq(bits) for bits in (2, 4, 8)},
    "resnet20-cifar10-w4a4": lsq(4),
}


def trained(name: str, runs: Path) -> Path:
    """The run folder of ``name``, trained or resumed where it is not finished."""
    folder = runs / name
    if not (folder / "metrics.json").is_file():
        train(config(name, runs), folder, resume=folder.is_dir())
    return folder


def config(name: str, runs: Path) -> RunConfig:
    """The run file of ``name``; the float parent of a fine-tuned network is trained first."""
    if name in RUNS:
        recipe, settings = RUNS[name]
        return load_config(find_config(recipe), [f"name={name}", *settings])
    parent = trained(float_run(name), runs).resolve()
    return config_of(FINE_TUNED[name], load_config(parent / "run.toml"), parent)


def float_run(name: str) -> str:
    """The float run whose accuracy stands beside that of ``name``."""
    return f"{name.rsplit('-', 1)[0]}-float"


def row(name: str, metrics: dict[str, object], float_metrics: Path, report: Report | None) -> Row:
    """Accuracy, exactness and estimate of one network, flat."""
    equal_epochs = json.loads(float_metrics.read_text())["top1"] if float_metrics.is_file() else None
    facts: Row = {
        "name": name,
        "data": metrics["data"],
        "model": metrics["model"],
        "weight_bits": metrics["weight_bits"],
        "act_bits": metrics["act_bits"],
        "epochs": metrics["epochs"],
        "float_top1": equal_epochs,
        "top1": metrics["top1"],
        "train_seconds": metrics["seconds"],
    }
    if report is None:
        return facts
    verification, resources = report.verification, report.resources
    return facts | {
        "csim_top1": report.accuracy.top1 if report.accuracy else None,
        "csim_images": verification.images,
        "csim_mismatches": verification.csim_mismatches,
        "csim_seconds": round(verification.csim_seconds or 0.0, 1),
        "qonnx_code_mismatches": verification.qonnx_code_mismatches,
        "qonnx_top1_agreement": verification.qonnx_top1_agreement,
        "fps": round(report.estimate.fps),
        "latency_ms": round(report.estimate.latency_ms, 5),
        "bound_fps": round(report.bound.fps),
        "solver": report.solver.status,
        "gap": report.solver.gap,
        **{kind: usage.used for kind, usage in resources.items()},
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*RUNS, *FINE_TUNED], help="only these networks")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="training runs")
    parser.add_argument("--builds", type=Path, default=Path("build"), help="builds")
    parser.add_argument("--count", type=int, help="test images to simulate; all of them without it")
    options = parser.parse_args()
    for name in options.only or [*RUNS, *FINE_TUNED]:
        folder = trained(name, options.runs)
        metrics = saved_metrics(folder)
        report = None
        if (folder / "model.onnx").is_file():
            report = export(
                folder / "model.onnx", options.builds / name, Search(), Check(count=options.count or 0), overwrite=True
            )
        MAIN_FLOW.record(row(name, metrics, options.runs / float_run(name) / "metrics.json", report))
    print_rows("Trained, exported and simulated", MAIN_FLOW.rows(), COLUMNS)


if __name__ == "__main__":
    main()
