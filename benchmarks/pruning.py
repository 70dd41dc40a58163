"""Pruning and factorization: rows in results/pruning.json.

    python -m benchmarks pruning [--gpu] dst [--seeds 0 1] [--alphas 5e-4 1e-3] [--network lenet-300-100] [--fall 10]
    python -m benchmarks pruning [--gpu] budgets [--seeds 1] [--only NAME] [--runs FOLDER]
    python -m benchmarks pruning qcqp [--seconds 60]
    python -m benchmarks pruning [--gpu] combined [--only NAME] [--runs FOLDER]

A row that is there is not made again, so a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import channel_selection, pruned_networks, sparse_training
from benchmarks.common import Row, print_rows
from benchmarks.figures import bars_svg
from benchmarks.schemas import PRUNING
from benchmarks.shell import LUT, with_shell
from toolchain.errors import UserError
from toolchain.files import write_text

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
DESIGNS = ("whole network, 8 bits", "half of the MACs, 4 bits")
COLUMNS = {
    "data": "data", "model": "network", "method": "method", "budget_kind": "budget", "budget": "", "seed": "seed",
    "epochs": "epochs", "kept_params": "weights", "kept_macs": "MACs", "float_top1": "float", "top1": "top-1",
    "best_top1": "best", "bits": "bits", "fps": "fps", "lut": "LUT", "dsp": "DSP", "bram18": "BRAM18", "gap": "gap",
}  # fmt: skip


def measure(key: Row, make: Callable[[], Row]) -> None:
    """Add the row of ``key`` unless it is there."""
    if not PRUNING.has(key):
        PRUNING.record(key | make())


def dst(options: argparse.Namespace) -> None:
    """Dynamic sparse training beside its paper."""
    for seed in options.seeds:
        for alpha in options.alphas:
            key: Row = {
                "part": "dst", "data": "mnist", "model": options.network, "budget": alpha,
                "method": sparse_training.method_name(options.fall), "budget_kind": "alpha", "seed": seed,
                "epochs": options.epochs,
            }  # fmt: skip
            arguments = (options.network, alpha, seed, options.epochs, options.accelerator, options.fall)
            measure(key, partial(sparse_training.run, *arguments))


def budgets(options: argparse.Namespace) -> None:
    """Measure every method at the same budgets of MACs, from the same float networks."""
    for run in pruned_networks.budgets(options.accelerator, options.seeds):
        if options.only in run.name:
            measure({"part": "budgets"} | run.key, partial(_row_or_reason, run, options.runs))


def _row_or_reason(run: pruned_networks.Pruned, runs: Path) -> Row:
    """A row; why there is none, where the method cannot meet the budget."""
    try:
        return pruned_networks.row(run, runs)
    except UserError as error:
        return {"refused": str(error)}


def combined(options: argparse.Namespace) -> None:
    """Half of the MACs pruned and 4 bits, beside the whole network at 8 bits; a figure a network."""
    runs = list(pruned_networks.combined(options.accelerator))
    for run in runs:
        if options.only in run.name:
            measure({"part": "combined"} | run.key, partial(pruned_networks.row, run, options.runs))
    for data, model in dict.fromkeys((run.data, run.model) for run in runs):
        keys = [{"part": "combined"} | run.key for run in runs if (run.data, run.model) == (data, model)]
        pair = [row for key in keys for row in PRUNING.rows() if key.items() <= row.items()]
        if len(pair) == len(DESIGNS):
            write_text(FIGURES / f"pruning-{data}-{model}.svg", bars_svg(f"{model} on {data}", DESIGNS, _bars(pair)))


def _bars(pair: Sequence[Row]) -> dict[str, list[tuple[float, str]]]:
    """Metric by metric, the value of each row and its text."""
    kinds = {LUT: "lut", "DSP slices": "dsp", "BRAM18": "bram18", "frames a second": "fps"}
    metrics = {
        heading: [(value, f"{value:,.0f}") for row in map(with_shell, pair) for value in [float(row[key] or 0)]]
        for heading, key in kinds.items()
    }
    top1 = [100 * float(row["top1"] or 0) for row in pair]
    return metrics | {"top-1": [(value, f"{value:.2f} %") for value in top1]}


def qcqp(options: argparse.Namespace) -> None:
    """The channel selection on ResNet-20: objective, gap, seconds, cycles predicted and simulated."""
    for selection in channel_selection.selections(options.seconds):
        measure({"part": "qcqp"} | selection.key, partial(channel_selection.row, selection))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", dest="accelerator", action="store_const", const="gpu", default="cpu")
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("dst", help="dynamic sparse training beside its paper")
    part.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    part.add_argument("--epochs", type=int, default=20)
    part.add_argument("--alphas", type=float, nargs="+", default=[5e-4, 1e-3])
    part.add_argument("--fall", type=int, help="epoch from which on the rate is a tenth")
    part.add_argument("--network", choices=["lenet-300-100", "lenet-5-caffe"], default="lenet-300-100")
    part.set_defaults(run=dst)
    part = parts.add_parser("budgets", help="every method at the same budgets")
    part.add_argument("--seeds", type=int, default=1)
    part.add_argument("--only", default="", help="names of runs that contain this")
    part.add_argument("--runs", type=Path, default=Path("runs/pruning"))
    part.set_defaults(run=budgets)
    part = parts.add_parser("combined", help="half of the MACs at 4 bits beside the whole network at 8 bits")
    part.add_argument("--only", default="", help="names of runs that contain this")
    part.add_argument("--runs", type=Path, default=Path("runs/pruning"))
    part.set_defaults(run=combined)
    part = parts.add_parser("qcqp", help="the channel selection on ResNet-20")
    part.add_argument("--seconds", type=float, default=60.0, help="for the solver, each time")
    part.set_defaults(run=qcqp)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)
    for name in dict.fromkeys(row["part"] for row in PRUNING.rows()):
        print_rows(str(name), [row for row in PRUNING.rows() if row["part"] == name], COLUMNS)


if __name__ == "__main__":
    main()
