"""Pruning and factorization: rows in results/pruning.json.

    python benchmarks/pruning.py [--gpu] dst [--seeds 5] [--alphas 5e-4 1e-3] [--network lenet-300-100]
    python benchmarks/pruning.py [--gpu] budgets [--seeds 1] [--only NAME] [--runs FOLDER]

A row that is there is not made again, so a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pruned_networks
import sparse_training
import torch
from common import RESULTS, Row, conditions, print_rows

from toolchain.files import write_text

DONE = RESULTS / "pruning.json"
KEY = ("part", "data", "model", "method", "budget", "budget_kind", "seed", "epochs", "bits")
COLUMNS = {
    "data": "data", "model": "network", "method": "method", "budget_kind": "budget", "budget": "", "seed": "seed",
    "epochs": "epochs", "kept_params": "weights", "kept_macs": "MACs", "float_top1": "float", "top1": "top-1",
    "best_top1": "best", "bits": "bits", "fps": "fps", "lut": "LUT", "dsp": "DSP", "bram18": "BRAM18",
}  # fmt: skip


def rows() -> list[Row]:
    """What has been measured."""
    return list(json.loads(DONE.read_text())) if DONE.is_file() else []


def measure(key: Row, make: Callable[[], Row]) -> None:
    """Add the row of ``key`` unless it is there."""
    if any(all(row.get(name) == key.get(name) for name in KEY) for row in rows()):
        return
    found = key | make() | conditions()
    write_text(DONE, json.dumps([*rows(), found], indent=1) + "\n")


def dst(options: argparse.Namespace) -> None:
    """Dynamic sparse training beside its paper."""
    for seed in range(options.seeds):
        for alpha in options.alphas:
            key: Row = {
                "part": "dst", "data": "mnist", "model": options.network, "method": "dst", "budget": alpha,
                "budget_kind": "alpha", "seed": seed, "epochs": options.epochs,
            }  # fmt: skip
            arguments = (options.network, alpha, seed, options.epochs, options.accelerator)
            measure(key, lambda arguments=arguments: sparse_training.run(*arguments))


def budgets(options: argparse.Namespace) -> None:
    """Every method at the same budgets of MACs, from the same float networks."""
    for run in pruned_networks.budgets(options.accelerator, options.seeds):
        if options.only in run.name:
            measure({"part": "budgets"} | run.key, lambda run=run: pruned_networks.row(run, options.runs))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", dest="accelerator", action="store_const", const="gpu", default="cpu")
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("dst", help="dynamic sparse training beside its paper")
    part.add_argument("--seeds", type=int, default=5)
    part.add_argument("--epochs", type=int, default=20)
    part.add_argument("--alphas", type=float, nargs="+", default=[5e-4, 1e-3])
    part.add_argument("--network", choices=["lenet-300-100", "lenet-5-caffe"], default="lenet-300-100")
    part.set_defaults(run=dst)
    part = parts.add_parser("budgets", help="every method at the same budgets")
    part.add_argument("--seeds", type=int, default=1)
    part.add_argument("--only", default="", help="names of runs that contain this")
    part.add_argument("--runs", type=Path, default=Path("runs/pruning"))
    part.set_defaults(run=budgets)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)
    print_rows("Pruning", rows(), COLUMNS)


if __name__ == "__main__":
    main()
