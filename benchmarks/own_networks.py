"""Networks of others' making, by ``model.name``: trained in float, pruned, quantized, exported and simulated.

    python -m benchmarks own_networks [--only NAME ...] [--seed-list N ...]

The networks and run files are those of ``examples/``: a MobileNet and a network in the manner of YOLO's on digits, one
for raw audio on synthetic tones, and one for tables on synthetic sensor readings (`examples/make_data.py`). A row has
the accuracy behind every stage, the shares that pruning has left, and the codes in which the C simulation of all test
samples differs.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

import fpgaflow
from benchmarks.common import Row, print_rows
from benchmarks.schemas import OWN_NETWORKS
from examples.make_data import write
from toolchain.config.run import load_config
from toolchain.flow.training import train
from toolchain.train.data import load_for
from toolchain.train.models import build
from toolchain.train.runs import saved_metrics
from toolchain.train.statistics import macs, parameters

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SECONDS = 30.0
"""The seconds for each call of the solver."""


@dataclass(frozen=True)
class Case:
    """A run file of ``examples/`` and what it is changed in; ``{}`` stands for the folder of the data.

    Args:
        what: the network in words.
        data: their name in tables.
        pruned: the method and its budget in words.
        settings: ``KEY=VALUE``.
    """

    what: str
    data: str
    pruned: str
    settings: tuple[str, ...]


CASES = {
    "mobilenet": Case(
        "inverted residuals as in torchvision: depthwise, ReLU6, dropout", "digits", "magnitude, 50 % of the MACs",
        ("data.name=digits", "data.augment=false", "train.batch_size=32"),
    ),
    "csp": Case(
        "split blocks as in YOLO: pixels in blocks, SiLU, a pooled pyramid, upsampling", "digits",
        "magnitude, 70 % of the MACs", ("data.name=digits", "data.augment=false", "train.batch_size=32"),
    ),
    "audio": Case(
        "three one-dimensional convolutions, functions in place of layers", "tones", "transport, 50 % of the MACs",
        ("data.name=npy:{}/tone", "data.layout=NCW", "data.normalize=standard"),
    ),
    "tabular": Case(
        "three layers with LeakyReLU", "sensor readings", "slimming, 50 % of the weights",
        ("data.name=csv:{}/machine", "data.normalize=standard"),
    ),
}  # fmt: skip


def network_row(name: str, seed: int, folder: Path) -> Row:
    """Train the network ``name``, export it, and return its row; data, run and build go to ``folder``."""
    case = CASES[name]
    write(folder / "data")
    settings = [setting.format(folder / "data") for setting in case.settings]
    computer = ["train.accelerator=cpu", "train.threads=1"]
    config = load_config(EXAMPLES / f"{name}.toml", [*settings, *computer, f"train.seed={seed}"])
    data = load_for(config.data)
    whole = build(config, data.shape, data.classes).eval()
    run = train(config, folder / "run")
    report = fpgaflow.export(run / "model.onnx", out=folder / "build", count=0, time_limit=SECONDS)
    trained = saved_metrics(run)
    stages = {stage["name"]: stage["top1"] for stage in trained["stages"]}
    used, found = report.resources, report.verification
    assert found.csim_mismatches is not None
    return {
        "network": name, "what": case.what, "data": case.data, "pruned": case.pruned, "seed": seed,
        "bits": f"W{trained['weight_bits']}A{trained['act_bits']}", "epochs": trained["epochs"],
        "float_top1": stages["float"], "pruned_top1": stages["prune"], "top1": trained["top1"],
        "kept_macs": round(trained["macs"] / macs(whole, data.shape), 4),
        "kept_params": round(trained["params"] / parameters(whole), 4),
        "train_seconds": trained["seconds"],
        "csim_top1": report.accuracy.top1 if report.accuracy else None,
        "images": found.images, "vectors": found.vectors,
        "mismatches": found.csim_mismatches + found.vector_mismatches, "ties": found.qonnx_code_mismatches,
        "fps": report.estimate.fps,
        **{kind: getattr(used, kind).used for kind in ("lut", "ff", "dsp", "bram18")},
    }  # fmt: skip


def main() -> int:
    """Train, build and simulate them; 1 if a code differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seed-list", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seed_list:
        for name in arguments.only:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(network_row(name, seed, Path(folder)))
            OWN_NETWORKS.record(rows[-1])
    columns = ("network", "seed", "float_top1", "pruned_top1", "top1", "kept_macs", "kept_params", "mismatches", "fps")
    print_rows("Networks of others' making", rows, {key: key for key in (*columns, "lut", "train_seconds")})
    return int(any(row["mismatches"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
